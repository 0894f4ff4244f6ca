"""Metrics against their formulas written out, and against the packages that define them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hortus.errors import ConfigError
from hortus.evaluation.metrics import choice_scores, generation_scores
from hortus.evaluation.tasks import Document


@given(
    st.lists(
        st.tuples(
            st.lists(st.text(min_size=1, max_size=9), min_size=2, max_size=4),
            st.lists(st.floats(-50, 0), min_size=4, max_size=4),
            st.integers(0, 1),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_accuracies_are_their_formulas(rows: list[tuple[list[str], list[float], int]]) -> None:
    documents = [Document(n, "?", tuple(choices), (gold,)) for n, (choices, _, gold) in enumerate(rows)]
    sums = [np.array(values[: len(choices)]) for choices, values, _ in rows]
    scores = choice_scores(documents, sums, num_tokens=lambda choice: 2 * len(choice))
    lengths = {
        "acc": lambda c: 1,
        "acc_norm": len,
        "acc_bytes": lambda c: len(c.encode("utf-8", "surrogatepass")),
        "acc_tokens": lambda c: 2 * len(c),
    }
    for name, length in lengths.items():
        right = []
        for (choices, _, gold), values in zip(rows, sums, strict=True):
            ratios = [value / length(choice) for value, choice in zip(values, choices, strict=True)]
            right.append(float(ratios.index(max(ratios)) == gold))
        assert scores[name].value == pytest.approx(np.mean(right))


def test_generated_answers_are_compared_with_the_best_target() -> None:
    documents = [Document(0, "", targets=("a red fox", "the dog")), Document(1, "", targets=("yes",))]
    scores = generation_scores(documents, [" The Dog!", "no"], ["exact_match", "f1", "rougeL"], draws=0)
    assert scores["exact_match"].by_document == {0: 1.0, 1: 0.0}
    assert scores["f1"].value == 0.5 and scores["rougeL"].by_document[0] == pytest.approx(1.0)


def test_corpus_scores_are_sacrebleus() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    documents = [
        Document(n, "", targets=targets)
        for n, targets in enumerate([("the cat sat on a mat", "a cat sat there"), ("the dog ran off",)])
    ]
    answers = ["the cat sat on the mat", "a dog ran off"]
    scores = generation_scores(documents, answers, ["bleu", "chrf"], draws=50)
    references = [["the cat sat on a mat", "the dog ran off"], ["a cat sat there", None]]
    assert scores["bleu"].value == pytest.approx(sacrebleu.corpus_bleu(answers, references).score)
    assert scores["chrf"].value == pytest.approx(sacrebleu.corpus_chrf(answers, references).score)
    assert scores["bleu"].standard_error > 0


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(ConfigError, match="rougeL"):
        generation_scores([Document(0, "", targets=("a",))], ["a"], ["rougel"], draws=0)
