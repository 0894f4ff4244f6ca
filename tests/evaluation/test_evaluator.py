"""Evaluation from rows to results: what is asked, what is counted, what is kept."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hortus.errors import ConfigError, DataError
from hortus.evaluation import Document, Task, Variant, evaluate, prompted_task
from hortus.language import LanguageModel
from hortus.prompts import TaskConfig
from tests.evaluation.conftest import make_model


class Counting:
    """Counts what reaches the model."""

    def __init__(self, model: LanguageModel):
        self.network, self.tokenizer, self.max_length = model.network, model.tokenizer, model.max_length
        self._model, self.texts, self.choices = model, 0, 0

    def rank(self, texts: Any, choices: Any, truncate: bool = False) -> Any:
        self.texts += len(texts)
        self.choices += sum(map(len, choices))
        return self._model.rank(texts, choices, truncate=truncate)

    def generate(self, texts: Any, **settings: Any) -> Any:
        self.texts += len(texts)
        return self._model.generate(texts, **settings)


def test_prompts_become_variants_and_every_row_is_accounted_for(prompted: TaskConfig) -> None:
    task = prompted_task(prompted)
    plain, some, write = task.variants
    assert (plain.kind, some.kind, write.kind) == ("choice", "choice", "generate")
    assert len(plain.documents) == 12 and plain.documents[3].gold == (1,)
    assert len(some.documents) == 6 and some.counts["skipped"] == 6
    assert write.metrics == ("bleu", "exact_match", "f1")


def test_scores_are_those_of_rank(model: LanguageModel, prompted: TaskConfig) -> None:
    result = evaluate(model, [dataclasses.replace(prompted, template_names=("plain",))])
    values = [model.rank(f"fox {n} jumps?", ["no", "yes"]) for n in range(12)]
    expected = np.mean([float(np.argmax(v) == n % 2) for n, v in enumerate(values)])
    (part,) = result.tasks["foxes"].variants
    assert part.scores["acc"].value == expected
    assert np.allclose(np.stack(part.answers), np.stack(values), atol=1e-4)


def test_several_prompts_have_a_spread_and_a_group(model: LanguageModel, prompted: TaskConfig) -> None:
    result = evaluate(model, [prompted], generation={"max_new_tokens": 4})
    spread = result.tasks["foxes"].spread("acc")
    assert spread.num_prompts == 2 and 0 <= spread.lowest <= spread.median <= spread.highest <= 1
    whole = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert whole["group_subtasks"]["foxes"] == ["foxes/plain", "foxes/some", "foxes/write"]
    assert whole["groups"]["foxes"]["acc,none"] == pytest.approx(spread.mean)
    assert whole["results"]["foxes/plain"]["acc_stderr,none"] >= 0
    assert whole["n-samples"]["foxes/some"] == {"original": 12, "effective": 6}
    assert whole["prompts"]["foxes/some"]["skipped"] == 6
    assert len({prompt["hash"] for prompt in whole["prompts"].values()}) == 3
    samples = list(result.samples())
    assert len(samples) == 12 + 6 + 12 and samples[0]["choices"] == ["no", "yes"]


def test_each_distinct_question_is_asked_once(model: LanguageModel) -> None:
    counting = Counting(model)
    documents = tuple(Document(n, "the fox", ("yes", "no"), (0,)) for n in range(5))
    more = (Document(0, "the fox", ("no", "maybe"), (0,)),)
    tasks = [Task("a", (Variant("p", "choice", documents),)), Task("b", (Variant("p", "choice", more),))]
    result = evaluate(counting, tasks)
    assert (counting.texts, counting.choices) == (1, 3)
    assert result.num_asked == 3
    expected = model.rank("the fox", ["yes", "no"])
    assert np.allclose(result.tasks["a"].variants[0].answers[4], expected, atol=1e-4)


def test_a_second_run_is_answered_by_the_cache(
    model: LanguageModel, prompted: TaskConfig, tmp_path: Path
) -> None:
    counting = Counting(model)
    options = {"cache": tmp_path / "answers.sqlite", "generation": {"max_new_tokens": 4}}
    first = evaluate(counting, [prompted], **options)
    asked = counting.texts
    second = evaluate(counting, [prompted], **options)
    assert counting.texts == asked and second.num_asked == 0 and second.num_cached == first.num_asked
    assert str(second.rows()) == str(first.rows())
    other = evaluate(make_model(1), [prompted], **options)
    assert other.num_cached == 0


def test_a_file_that_is_no_cache_is_refused(
    model: LanguageModel, prompted: TaskConfig, tmp_path: Path
) -> None:
    (tmp_path / "notes.sqlite").write_text("these are notes, and more than a few words of them" * 30)
    with pytest.raises(DataError, match="no cache of answers"):
        evaluate(model, [prompted], cache=tmp_path / "notes.sqlite")


def test_examples_stand_before_the_prompt_and_never_include_the_row(prompted: TaskConfig) -> None:
    config = dataclasses.replace(prompted, template_names=("plain",))
    task, again = prompted_task(config, num_fewshot=3), prompted_task(config, num_fewshot=3)
    for document in task.variants[0].documents:
        *shown, last = document.input.split("\n\n")
        assert last == f"fox {document.index} jumps?" and len(set(shown)) == 3
        assert all(one.endswith((" yes", " no")) and not one.startswith(last) for one in shown)
    assert again.variants[0].documents == task.variants[0].documents
    with pytest.raises(DataError, match="num_fewshot=12"):
        prompted_task(config, num_fewshot=12)


def test_a_target_outside_the_choices_counts_as_wrong(model: LanguageModel, tmp_path: Path) -> None:
    document = Document(0, "the fox", ("yes", "no"), gold=())
    result = evaluate(model, [Task("t", (Variant("p", "choice", (document,)),))])
    assert result.tasks["t"].variants[0].scores["acc"].value == 0


def test_mutual_information_subtracts_the_choice_alone(model: LanguageModel) -> None:
    document = Document(0, "the quick", ("brown fox", "lazy", "dog."), (0,))
    task = Task("t", (Variant("p", "choice", (document,)),))
    scores = evaluate(model, [task], mutual_info=True).tasks["t"].variants[0].scores
    after = model.rank("the quick", list(document.choices))
    alone = model.score(list(document.choices)).log_probabilities
    assert scores["acc_mutual_info"].value == float(np.argmax(after - alone) == 0)
    assert "acc_mutual_info" not in evaluate(model, [task]).tasks["t"].metrics()


def test_perplexity_is_that_of_whole_texts(model: LanguageModel, tmp_path: Path) -> None:
    texts = ["The quick brown fox", "jumps é 狐狸 over"]
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts))
    scores = evaluate(model, tmp_path / "texts.jsonl").tasks["texts"].variants[0].scores
    nats = -model.score(texts).log_probabilities.sum()
    num_bytes = sum(len(text.encode()) for text in texts)
    assert scores["bits_per_byte"].value == pytest.approx(nats / num_bytes / math.log(2))
    assert scores["byte_perplexity"].value == pytest.approx(math.exp(nats / num_bytes))
    assert scores["word_perplexity"].value == pytest.approx(math.exp(nats / 8))
    assert not scores["bits_per_byte"].higher_is_better


def test_two_models_are_compared_on_the_same_documents(model: LanguageModel, prompted: TaskConfig) -> None:
    config = dataclasses.replace(prompted, without=("write",))
    ours, other = evaluate(model, [config]), evaluate(make_model(1), [config])
    means = [result.tasks["foxes"].spread().mean for result in (ours, other)]
    assert ours.compare(other)["foxes"].difference == pytest.approx(means[0] - means[1])
    assert ours.compare(ours)["foxes"].difference == 0
    with pytest.raises(DataError, match="same documents"):
        ours.compare(evaluate(model, [config], limit=4))


def test_what_cannot_be_evaluated_is_refused(model: LanguageModel, prompted: TaskConfig) -> None:
    with pytest.raises(ConfigError, match="limit=0"):
        evaluate(model, [prompted], limit=0)
    with pytest.raises(ConfigError, match="one or more"):
        evaluate(model, [prompted, prompted])
    with pytest.raises(DataError, match="no usable row"):
        prompted_task(dataclasses.replace(prompted, template_names=("some",)), limit=1)
    with pytest.raises(ConfigError, match="neither network nor fingerprint"):
        evaluate(object(), [prompted], cache="never-written.sqlite")
