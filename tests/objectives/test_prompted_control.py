"""A positive control: a generated mixture whose held-out tasks are solvable at this size.

Training: copy a word, say whether two words are the same, classify by a rule that the prompt states. Held
out: the same three skills as other datasets, with other prompts.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from hortus.config import to_mapping
from hortus.evaluation import evaluate
from hortus.language import LanguageModel
from hortus.models.bloom import Bloom, BloomConfig
from hortus.objectives.finetune import finetune
from hortus.objectives.finetune_config import FinetuneConfig
from hortus.objectives.prompted_config import PromptedMixtureConfig
from hortus.prompts import DatasetConfig, TaskConfig, Template, TemplateSet
from hortus.tokenizer import TokenizerConfig, train_tokenizer

WORDS = ["red", "green", "blue", "white", "black", "grey", "cat", "dog", "fish", "bird", "horse", "sheep"]
PHRASES = "say : the word is . not repeat and nothing else same ? then as first means so rule to , with or"
PHRASES += " yes no it now"
Row = dict[str, Any]


def copy_row(draw: random.Random) -> Row:
    first, second = draw.sample(WORDS, 2)
    return {"a": first, "b": second, "label": draw.randrange(2)}


def compare_row(draw: random.Random) -> Row:
    first, other = draw.sample(WORDS, 2)
    same = draw.randrange(2)
    return {"a": first, "b": first if same else other, "label": same}


def rule_row(draw: random.Random) -> Row:
    first, second, other = draw.sample(WORDS, 3)
    label = draw.randrange(2)
    return {"x": first, "y": second, "a": draw.choice([first, second]) if label else other, "label": label}


AB, YES_NO = "{{a}} ||| {{b}}", "no ||| yes"
ANSWER = " ||| {{ answer_choices[label] }}"
TASKS: dict[str, tuple[str, Callable[[random.Random], Row], str, list[str]]] = {
    "copying": (
        "copy",
        copy_row,
        AB,
        [
            "say {{ answer_choices[label] }} :",
            "the word is {{ answer_choices[label] }} . not {{ answer_choices[1 - label] }} . the word is",
            "{{ answer_choices[label] }} {{ answer_choices[label] }} {{ answer_choices[label] }}",
            "repeat {{ answer_choices[label] }} and nothing else :",
            "first say {{ answer_choices[label] }} then {{ answer_choices[label] }} and then",
            "{{ answer_choices[label] }} is the word : say it",
        ],
    ),
    "comparing": (
        "compare",
        compare_row,
        YES_NO,
        [
            "same : {{a}} {{b}} ?",
            "{{a}} and {{b}} : same word ?",
            "first {{a}} then {{b}} . same ?",
            "is {{a}} the same as {{b}} ?",
            "{{a}} . {{b}} . same ?",
            "the word {{a}} , the word {{b}} : is it the same ?",
            "{{a}} {{b}} same or not ?",
        ],
    ),
    "ruling": (
        "rule",
        rule_row,
        YES_NO,
        [
            "rule : {{x}} means yes , {{y}} means yes . {{a}} means",
            "{{x}} and {{y}} : yes . else : no . {{a}} :",
            "say yes to {{x}} , yes to {{y}} . {{a}} ?",
            "yes is {{x}} or {{y}} . the word is {{a}} ?",
            "with {{x}} or {{y}} say yes , else no . so {{a}} :",
        ],
    ),
}
HELD_OUT: dict[str, tuple[str, Callable[[random.Random], Row], str, list[str]]] = {
    "echo": ("echo", copy_row, AB, ["repeat the word {{ answer_choices[label] }} :"]),
    "twins": ("twins", compare_row, YES_NO, ["{{a}} {{b}} . is it the same word ?"]),
    "sorting": (
        "sorting",
        rule_row,
        YES_NO,
        ["rule : yes to {{x}} and {{y}} , else no . the word {{a}} ?"],
    ),
}


def write_task(folder: Path, name: str, rows: int) -> TaskConfig:
    cluster, make, choices, jinjas = (TASKS | HELD_OUT)[name]
    draw = random.Random(name)
    (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(make(draw)) for _ in range(rows)))
    templates = [
        # No prompt begins with a variable: without a space before them words are other tokens.
        Template(f"p{n}", "now " + jinja + ANSWER, choices, id=f"{name}{n}")
        for n, jinja in enumerate(jinjas)
    ]
    TemplateSet(name, templates=templates).save(folder / name / "templates.yaml")
    data = DatasetConfig(source=str(folder / f"{name}.jsonl"))
    return TaskConfig(name=name, cluster=cluster, data=data, templates=str(folder / name))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_held_out_tasks_are_solved_after_training_on_prompts(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vocabulary = [*WORDS, *PHRASES.split(" ")]
    tokenizer = train_tokenizer([" " + " ".join(vocabulary)] * 20, TokenizerConfig(vocab_size=420))
    network = Bloom(BloomConfig(vocab_size=tokenizer.vocab_size, hidden_size=64, num_layers=3, num_heads=4))
    LanguageModel(network, tokenizer).save(tmp_path / "start")
    draw = random.Random(0)
    texts = [" ".join(draw.choices(vocabulary, k=40)) for _ in range(400)]
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    options: dict[str, Any] = {"device": "cpu", "compile": "off", "log_every": 100}
    pretraining = FinetuneConfig(steps=60, batch_size=8, learning_rate=3e-3, **options)
    finetune(tmp_path / "start", "lm", tmp_path / "texts.jsonl", tmp_path / "base", pretraining)

    held_out = tuple(write_task(tmp_path, name, 200) for name in HELD_OUT)
    mixture = PromptedMixtureConfig(
        training=tuple(write_task(tmp_path, name, 12_000) for name in TASKS),
        held_out=held_out,
        sequence_length=128,
        input_length=64,
        target_length=16,
        overlap_words=0,
        validation_examples=120,
    )
    (tmp_path / "mixture.yaml").write_text(yaml.safe_dump(to_mapping(mixture)))
    training = FinetuneConfig(
        steps=1200, batch_size=4, learning_rate=3e-3, warmup_samples=200, weight_decay=0.0, **options
    )
    finetune(
        tmp_path / "base" / "model", "prompted", tmp_path / "mixture.yaml", tmp_path / "trained", training
    )
    base, trained = (
        evaluate(LanguageModel.load(tmp_path / name / "model"), held_out) for name in ("base", "trained")
    )
    gains = trained.compare(base)
    print({name: (trained.tasks[name].spread().mean, gain) for name, gain in gains.items()})
    assert all(gain.difference > 0.2 and gain.beyond_two_errors for gain in gains.values())
