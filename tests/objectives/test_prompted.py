"""Prompted finetuning: the loss against its formula, the stream's resumption, and what training reaches."""

from __future__ import annotations

import doctest
import importlib
import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from hortus.config import to_mapping
from hortus.errors import ConfigError
from hortus.language import LanguageModel
from hortus.models.bloom import Bloom, BloomConfig
from hortus.objectives.finetune import finetune
from hortus.objectives.finetune_config import FinetuneConfig
from hortus.objectives.prompted import PackedMixture, PromptedFinetuning
from hortus.objectives.prompted_config import PromptedMixtureConfig
from hortus.objectives.prompted_packing import Layout, TokenizedExample, pack
from hortus.objectives.prompted_preparation import layout_of, open_mixtures
from hortus.objectives.prompted_stage import one_prompt
from hortus.prompts import DatasetConfig, TaskConfig, Template, TemplateSet
from hortus.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer

WORDS = "red green blue white black Which word is it ? Say : a b yes no"


def network_of(vocabulary: int) -> Bloom:
    torch.manual_seed(0)
    return Bloom(BloomConfig(vocab_size=vocabulary, hidden_size=32, num_layers=2, num_heads=2))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    torch.set_num_threads(1)
    return train_tokenizer([WORDS] * 9, TokenizerConfig(vocab_size=300))


@pytest.fixture
def settings(tmp_path: Path) -> PromptedMixtureConfig:
    def task(name: str, cluster: str, rows: list[dict[str, Any]]) -> TaskConfig:
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        jinjas = ["Say: {{ word }} ||| {{ word }}", "{{ word }}? Which word is it? ||| {{ word }}"]
        templates = [Template(f"t{n}", jinja, id=f"{name}{n}") for n, jinja in enumerate(jinjas)]
        templates = [t.with_changes(metadata=type(t.metadata)(original_task=True)) for t in templates]
        TemplateSet(name, templates=templates).save(tmp_path / name / "templates.yaml")
        data = DatasetConfig(source=str(tmp_path / f"{name}.jsonl"))
        return TaskConfig(name=name, cluster=cluster, data=data, templates=str(tmp_path / name))

    colours = ["red", "green", "blue", "white", "black"]
    training = task("colours", "words", [{"word": colours[n % 5]} for n in range(40)])
    held_out = task("letters", "letters", [{"word": "ab"[n % 2]} for n in range(6)])
    return PromptedMixtureConfig(
        training=(training,),
        held_out=(held_out,),
        sequence_length=48,
        input_length=24,
        target_length=12,
        validation_examples=16,
    )


def plain_loss(
    network: Bloom, examples: list[TokenizedExample], by_example: bool
) -> tuple[float, float, int]:
    """Each example alone: sum of -log p of its target tokens, its weight, and whether it is greedy."""
    losses, exact = [], 0
    for example in examples:
        ids = torch.tensor([example.input + example.target])
        scores = network(ids)[0].log_softmax(-1)[len(example.input) - 1 : -1]
        target = torch.tensor(example.target)
        losses.append(-scores.gather(1, target[:, None]).sum().item() / (len(target) if by_example else 1))
        exact += bool((scores.argmax(-1) == target).all())
    count = len(examples) if by_example else sum(len(example.target) for example in examples)
    return sum(losses), count, exact


@pytest.mark.parametrize("by_example", [False, True])
def test_packed_loss_is_that_of_each_example_alone(by_example: bool) -> None:
    draw = np.random.default_rng(0)
    examples = [
        TokenizedExample(draw.integers(2, 50, draw.integers(1, 9)).tolist(), [*draw.integers(2, 50, n), 1])
        for n in (1, 3, 2, 5, 4, 1)
    ]
    examples = [TokenizedExample(e.input, list(map(int, e.target))) for e in examples]
    network = network_of(50).eval()
    shape = Layout(
        encoder_decoder=False,
        sequence_length=20,
        input_length=10,
        target_length=6,
        by_example=by_example,
        end_id=1,
    )
    task, batch = PromptedFinetuning(network), pack(examples, shape)
    loss, count, _ = task.loss(batch)
    expected, expected_count, exact = plain_loss(network, examples, by_example)
    assert loss.item() == pytest.approx(expected, rel=1e-5) and count.item() == expected_count
    again, _, metrics = task.evaluate_loss(batch)
    assert again.item() == pytest.approx(loss.item())
    assert [float(x) for x in metrics["exact"]] == [exact, len(examples)]


def test_inputs_get_no_loss_and_the_right_gradient() -> None:
    network = network_of(50)
    shape = Layout(
        encoder_decoder=False, sequence_length=20, input_length=10, target_length=6, by_example=True, end_id=1
    )
    examples = [TokenizedExample([5, 6, 7], [8, 9, 1]), TokenizedExample([9, 4], [3, 1])]
    PromptedFinetuning(network).loss(pack(examples, shape))[0].backward()
    ours = network.blocks[0].attention.query_key_value.weight.grad.clone()
    network.zero_grad()
    total = torch.zeros(())
    for example in examples:
        scores = network(torch.tensor([example.input + example.target]))[0].log_softmax(-1)
        target = torch.tensor(example.target)
        total = total - scores[len(example.input) - 1 : -1].gather(1, target[:, None]).mean()
    total.backward()
    torch.testing.assert_close(
        ours, network.blocks[0].attention.query_key_value.weight.grad, atol=1e-6, rtol=1e-4
    )


def test_the_stream_resumes_exactly(settings: PromptedMixtureConfig, tokenizer: Tokenizer) -> None:
    shape = layout_of(settings, network_of(300), tokenizer)

    def stream() -> PackedMixture:
        data = PackedMixture(open_mixtures(settings, 0.1)[0], tokenizer, shape, seed=3)
        data.batch_size = 7
        return data

    whole = list(islice(stream(), 40))
    first = stream()
    for position, batch in enumerate(islice(first, 23)):
        assert torch.equal(batch["labels"], whole[position]["labels"])
    state = json.loads(json.dumps(first.state_dict()))
    second = stream()
    second.load_state_dict(state)
    assert second.truncation == first.truncation
    for position, batch in enumerate(islice(second, 17), start=23):
        assert all(torch.equal(batch[name], whole[position][name]) for name in batch)
    first.set_epoch(0)
    assert torch.equal(next(iter(first))["labels"], whole[0]["labels"])


def test_validation_rows_are_not_trained_on(settings: PromptedMixtureConfig) -> None:
    training, validation = open_mixtures(settings, 0.25)
    assert len(training.tasks[0].dataset) == 30 and len(validation.tasks[0].dataset) == 10
    assert {task.dataset_name for task in validation.tasks} == {"colours"}


def test_one_prompt_is_drawn_by_the_seed(settings: PromptedMixtureConfig) -> None:
    drawn = {one_prompt(settings.training[0], seed).template_names for seed in range(8)}
    assert drawn == {("t0",), ("t1",)}
    assert one_prompt(settings.training[0], 3) == one_prompt(settings.training[0], 3)


def test_finetuning_from_a_mixture_file(
    settings: PromptedMixtureConfig, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    LanguageModel(network_of(tokenizer.vocab_size), tokenizer).save(tmp_path / "base")
    (tmp_path / "mixture.yaml").write_text(yaml.safe_dump(to_mapping(settings)))
    config = FinetuneConfig(
        steps=60,
        batch_size=4,
        learning_rate=1e-2,
        device="cpu",
        compile="off",
        validation_share=0.2,
        evaluate_every=30,
        metric="exact",
        metric_goal="highest",
    )
    result, prepared = finetune(
        tmp_path / "base", "prompted", tmp_path / "mixture.yaml", tmp_path / "out", config
    )
    assert result.best is not None and result.best["validation_exact"] == 1
    assert "2 prompted tasks of 1 datasets: colours" in prepared.description
    assert "letters" in prepared.description  # the overlap report names the held-out set
    model = LanguageModel.load(tmp_path / "out" / "model")
    assert model.generate("Say: blue", max_new_tokens=8).strip() == "blue"
    assert int(np.argmax(model.rank("Say: green", ["red", "green"]))) == 1


def test_a_mixture_needs_an_end_and_refuses_what_it_holds_out(
    settings: PromptedMixtureConfig, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    LanguageModel(network_of(tokenizer.vocab_size), tokenizer).save(tmp_path / "base")

    def run(content: dict[str, Any], **options: Any) -> None:
        (tmp_path / "mixture.yaml").write_text(yaml.safe_dump(content))
        finetune(
            tmp_path / "base",
            "prompted",
            tmp_path / "mixture.yaml",
            tmp_path / "out",
            FinetuneConfig(**options),
        )

    content = to_mapping(settings)
    with pytest.raises(ConfigError, match="has no end"):
        run(content)
    with pytest.raises(ConfigError, match="holds out"):
        run(content | {"held_out": content["training"]}, steps=1)
    with pytest.raises(ConfigError, match="cluster"):
        run(content | {"held_out_clusters": ["words"]}, steps=1)


def test_packed_encoder_decoder_loss_is_that_of_each_example_alone() -> None:
    from hortus.models.t5 import T5, T5Config

    torch.manual_seed(0)
    network = T5(T5Config(vocab_size=50, hidden_size=16, inner_size=32, num_layers=2, num_heads=2)).eval()
    pairs = [([5, 6, 7, 8], [9, 1]), ([4], [3, 2, 1]), ([30, 31], [1]), ([9, 9, 9], [7, 1])]
    examples = [TokenizedExample(source, target) for source, target in pairs]
    shape = Layout(
        encoder_decoder=True, sequence_length=9, input_length=7, target_length=6, by_example=False, end_id=1
    )
    batch = pack(examples, shape)
    assert len(batch["labels"]) < len(examples)
    loss, count, _ = PromptedFinetuning(network).loss(batch)
    expected = 0.0
    for source, target in pairs:
        scores = network(torch.tensor([source]), torch.tensor([[0, *target[:-1]]]))[0].log_softmax(-1)
        expected -= scores.gather(1, torch.tensor(target)[:, None]).sum().item()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert count.item() == sum(len(target) for _, target in pairs)


@pytest.mark.parametrize("name", ["prompted", "prompted_packing"])
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"hortus.objectives.{name}"))
    assert result.attempted > 0 and result.failed == 0
