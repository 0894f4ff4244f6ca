"""Finetuning: tasks from rows of files, adapters, what is written."""

from __future__ import annotations

import doctest
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import hortus
from hortus.errors import ConfigError, DataError
from hortus.models import build_network, load_network, with_head
from hortus.models.bloom import Bloom, BloomConfig
from hortus.objectives.answering import token_span
from hortus.objectives.classification import Classification
from hortus.objectives.examples import Examples
from hortus.objectives.finetune import TASKS, finetune
from hortus.objectives.finetune_config import FinetuneConfig
from hortus.objectives.lora import AdaptedLinear
from hortus.objectives.masked import hide_tokens
from hortus.tokenizer import TokenizerConfig, train_tokenizer, windows_of_pair
from tests.language.families import encoder, t5

WORDS = {"good": "fun", "bad": "dull"}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_first_weights() -> None:
    torch.manual_seed(3)


def settings(**changes: Any) -> FinetuneConfig:
    usual: dict[str, Any] = {
        "epochs": None,
        "steps": 40,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "device": "cpu",
        "compile": "off",
        "log_every": 20,
    }
    return FinetuneConfig(**usual | changes)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def labelled(number: int = 40) -> list[dict[str, Any]]:
    words = list(WORDS)
    return [
        {"text": f"a {words[n % 2]} film" + " is fun" * (n % 3), "label": words[n % 2]} for n in range(number)
    ]


def saved(tmp_path: Path, model: Any) -> Path:
    model.save(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_classes_are_learned(kind: str, tmp_path: Path) -> None:
    base = saved(tmp_path, encoder(kind))
    data = write(tmp_path / "rows.jsonl", labelled())
    config = settings(steps=100, evaluate_every=20, metric="accuracy", metric_goal="highest")
    result, prepared = finetune(base, "classify", data, tmp_path / "out", config)
    assert result.best is not None and result.best["validation_accuracy"] == 1.0
    assert 0 < prepared.baselines["validation accuracy of the largest class"] < 1
    model = hortus.load(str(tmp_path / "out/model"), device="cpu")
    assert [label.label for label in model.classify(["a good film", "a bad film"])] == ["good", "bad"]
    assert model.card.results["validation accuracy"] == 1.0 and "all weights" in model.card.data
    assert not (tmp_path / "out/adapter").exists()


def test_adapters_open_in_peft_and_are_merged(tmp_path: Path) -> None:
    base = saved(tmp_path, encoder("distilbert"))
    data = write(tmp_path / "rows.jsonl", labelled())
    finetune(base, "classify", data, tmp_path / "out", settings(lora_rank=4, lora_alpha=8.0, steps=60))
    ours: Any = load_network(tmp_path / "out/model")
    before = load_file(base / "model.safetensors")
    after = load_file(tmp_path / "out/model/model.safetensors")
    changed = {name for name in after if name in before and not torch.equal(before[name], after[name])}
    assert changed and all(name.endswith(("q_lin.weight", "v_lin.weight")) for name in changed)
    assert set(after) - set(before) == {
        f"{head}.{kind}" for head in ("classifier", "pre_classifier") for kind in ("weight", "bias")
    }
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    peer = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    peer = peft.PeftModel.from_pretrained(peer, str(tmp_path / "out/adapter")).eval()
    ids = torch.randint(5, 60, (3, 9))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), peer(ids).logits, rtol=0, atol=1e-5)


def test_adapters_of_decoders_open_in_peft(tmp_path: Path) -> None:
    base = saved(tmp_path, small_bloom())
    data = write(tmp_path / "texts.jsonl", [{"text": "to be or not to be"}] * 30)
    finetune(base, "lm", data, tmp_path / "out", settings(lora_rank=2, steps=10, max_length=16))
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    peer = transformers.AutoModelForCausalLM.from_pretrained(base)
    peer = peft.PeftModel.from_pretrained(peer, str(tmp_path / "out/adapter")).eval()
    ids = torch.randint(5, 60, (3, 9))
    with torch.no_grad():
        expected = peer(ids).logits
        torch.testing.assert_close(load_network(tmp_path / "out/model")(ids), expected, rtol=0, atol=1e-5)
        assert not torch.allclose(load_network(base)(ids), expected, atol=1e-4)


def test_an_adapted_layer_starts_as_it_was_and_merges_to_itself() -> None:
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(6, 4), torch.randn(3, 6)
    adapted = AdaptedLinear(layer, rank=2, alpha=3.0, dropout=0.0)
    assert torch.equal(adapted(x), layer(x))
    torch.nn.init.normal_(adapted.lora_b)
    expected = layer(x) + 1.5 * x @ adapted.lora_a.T @ adapted.lora_b.T
    torch.testing.assert_close(adapted(x), expected)
    torch.testing.assert_close(adapted.merged()(x), expected)


def test_pairs_and_tables_without_a_header(tmp_path: Path) -> None:
    base = saved(tmp_path, encoder("bert"))
    rows = [f"the fox\t{word} film\t{n % 2}" for n, word in enumerate(["good", "bad"] * 20)]
    data = tmp_path / "rows.tsv"
    data.write_text("\n".join(rows) + "\n")
    config = settings(
        columns=("one", "two", "y"), text_column="one", second_text_column="two", label_column="y"
    )
    result, _ = finetune(base, "classify", data, tmp_path / "out", config, validation=data)
    assert result.metrics["validation_accuracy"] > 0.9
    model = hortus.load(str(tmp_path / "out/model"), device="cpu")
    assert model.classify("the fox", "bad film").label == "1"


def test_rare_classes_weigh_more(tmp_path: Path) -> None:
    base = saved(tmp_path, encoder("distilbert"))
    rows = [{"text": "a", "label": "few"}] * 5 + [{"text": "b", "label": "many"}] * 20
    data = write(tmp_path / "rows.jsonl", rows)
    network = with_head(load_network(base), "classify", ["few", "many"])
    batch = {
        "input_ids": torch.tensor([[2, 7, 3], [2, 8, 3]]),
        "attention_mask": torch.ones(2, 3),
        "token_type_ids": torch.zeros(2, 3, dtype=torch.long),
        "labels": torch.tensor([0, 1]),
    }
    plain, count, _ = Classification(network).loss(batch)
    weights = torch.tensor([2.5, 0.625])
    weighted, _, _ = Classification(network, weights).loss(batch)
    losses = torch.nn.functional.cross_entropy(network(batch["input_ids"]), batch["labels"], reduction="none")
    torch.testing.assert_close(weighted, (losses * weights).sum())
    torch.testing.assert_close(plain, losses.sum())
    assert count.item() == 2
    torch.testing.assert_close(Classification(network, weights).evaluate_loss(batch)[0], plain)
    config = settings(class_weights="balanced", steps=2, validation_share=0.0)
    _, prepared = finetune(base, "classify", data, tmp_path / "out", config)
    torch.testing.assert_close(prepared.task._weights, weights)  # type: ignore[attr-defined]


def test_answers_are_learned(tmp_path: Path) -> None:
    base = saved(tmp_path, encoder("distilbert", max_position_embeddings=64))
    rows = []
    for who in ("paris", "rome", "the fox", "the dog"):
        for rest in ("jumps", "is fun", "is quick", "is lazy"):
            context = f"{rest} over {who} is the capital"
            rows.append({"question": "who?", "context": context, "answer": who})
            rows.append(
                {
                    "question": "who?",
                    "context": context,
                    "answers": {"text": [who], "answer_start": [context.index(who)]},
                }
            )
    columns = ["question", "context", "answer", "answers"]
    data = write(tmp_path / "rows.jsonl", [dict.fromkeys(columns) | row for row in rows])
    config = settings(steps=120, stride=8)
    result, _ = finetune(base, "answer", data, tmp_path / "out", config, validation=data)
    assert result.metrics["validation_exact"] > 0.9 and result.metrics["validation_f1"] > 0.9
    model = hortus.load(str(tmp_path / "out/model"), device="cpu")
    assert model.answer("who?", "jumps over rome is the capital").text == "rome"


def test_token_spans_of_windows() -> None:
    tokenizer = encoder("bert").tokenizer
    # Long enough for several windows whichever merges the training of the tokenizer chose among equals.
    context = "the quick brown fox jumps over the lazy dog" + " and the lazy dog sleeps" * 3
    start, end = context.index("brown"), context.index(" jumps")
    windows = windows_of_pair(tokenizer, "who?", context, max_length=14, stride=4)
    assert len(windows) > 1
    found = 0
    for window in windows:
        first, last = token_span(window, start, end)
        if (first, last) != (0, 0):
            found += 1
            assert tokenizer.decode(window.input_ids[first : last + 1]) == "brown fox"
    assert found >= 1
    assert token_span(windows[0], 0, 0) == (0, 0)
    covered = {place for window in windows for span in window.spans if span for place in range(*span)}
    assert covered == {place for place, letter in enumerate(context) if letter != " "}


def small_bloom() -> Any:
    from hortus.language import LanguageModel

    torch.manual_seed(0)
    tokenizer = train_tokenizer(["to be or not to be"] * 9, TokenizerConfig(vocab_size=270))
    return LanguageModel(
        Bloom(BloomConfig(vocab_size=270, hidden_size=32, num_layers=1, num_heads=2)), tokenizer
    )


def test_language_modelling_of_every_family(tmp_path: Path) -> None:
    texts = [{"text": "the quick brown fox jumps over the lazy dog"} for _ in range(40)]
    pairs = [{"text": "who jumps", "target": "the fox"} for _ in range(40)]
    for name, model, rows in (
        ("bloom", small_bloom(), texts),
        ("bert", encoder("bert"), texts),
        ("t5", t5(), pairs),
    ):
        model.save(tmp_path / name)
        data = write(tmp_path / f"{name}.jsonl", rows)
        config = settings(max_length=24, evaluate_every=20, steps=60, mask_share=0.3)
        result, _ = finetune(tmp_path / name, "lm", data, tmp_path / f"{name}-out", config)
        losses = [record["validation_loss"] for record in result.history if "validation_loss" in record]
        assert losses[-1] < 0.9 * losses[0], name
    written = hortus.load(str(tmp_path / "t5-out/model"), device="cpu")
    assert written.rank("who jumps", ["the fox", "a film"]).argmax() == 0
    with pytest.raises(ConfigError, match="a t5 has no place for a head 'classify'"):
        finetune(
            tmp_path / "t5", "classify", write(tmp_path / "l.jsonl", labelled()), tmp_path / "x", settings()
        )


def test_early_stop_and_resume(tmp_path: Path) -> None:
    base = saved(tmp_path, encoder("distilbert"))
    data = write(tmp_path / "rows.jsonl", labelled())
    config = settings(evaluate_every=5, patience=2, steps=400, metric="accuracy", metric_goal="highest")
    result, _ = finetune(base, "classify", data, tmp_path / "out", config)
    assert result.stopped == "patience" and result.steps < 400


def test_hidden_tokens() -> None:
    torch.manual_seed(0)
    ids = torch.randint(5, 100, (40, 50))
    free = torch.ones_like(ids, dtype=torch.bool)
    free[:, 0] = False
    hidden, chosen = hide_tokens(ids, free, 4, 100, 0.15)
    assert not chosen[:, 0].any() and torch.equal(hidden[~chosen], ids[~chosen])
    share = chosen.float().sum() / free.sum()
    masked = (hidden[chosen] == 4).float().mean()
    kept = (hidden[chosen] == ids[chosen]).float().mean()
    assert 0.13 < share < 0.17 and 0.75 < masked < 0.85 and 0.06 < kept < 0.16
    _, one = hide_tokens(ids[:1, :3], free[:1, :3], 4, 100, 1e-9)
    assert one.sum() == 1


def test_batches_have_little_padding_and_resume_exactly() -> None:
    random = np.random.default_rng(0)
    rows = [{"x": [n] * int(size), "n": n} for n, size in enumerate(random.integers(1, 60, 500))]
    data = Examples(rows, {"x": -1}, batch_size=10, seed=3)
    data.set_epoch(1)
    batches = list(data)
    seen = [n for batch in batches for n in batch["n"].tolist()]
    assert sorted(seen) == list(range(500)) and seen != sorted(seen)
    cells = sum(batch["x"].numel() for batch in batches)
    real = sum(int((batch["x"] >= 0).sum()) for batch in batches)
    assert real / cells > 0.9
    data.set_epoch(1)
    walk = iter(data)
    for _ in range(7):
        next(walk)
    again = Examples(rows, {"x": -1}, batch_size=10, seed=3)
    again.load_state_dict(json.loads(json.dumps(data.state_dict())))
    assert [b["n"].tolist() for b in again] == [b["n"].tolist() for b in batches[7:]]
    data.set_epoch(2)
    assert [b["n"].tolist() for b in data] != [b["n"].tolist() for b in batches]


def test_a_new_head_keeps_the_encoder() -> None:
    base = build_network(
        {
            "model_type": "bert",
            "vocab_size": 30,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        }
    )
    other = with_head(base, "classify", ["a", "b"])
    assert other.embedding.weight is base.embedding.weight and other.pooler is not None
    assert other.config.labels == ("a", "b") and other.masked_head is None
    assert with_head(other, "classify", ["a", "b"]) is other
    more = with_head(other, "classify", ["a", "b", "c"])
    assert more.classifier.out_features == 3 and more.pooler.weight is other.pooler.weight


@pytest.mark.parametrize("name", ["encoder_decoder", "examples", "language_modeling", "lora"])
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"hortus.objectives.{name}"))
    assert result.attempted > 0 and result.failed == 0


def test_mistakes_are_named(tmp_path: Path) -> None:
    base = saved(tmp_path, encoder("distilbert"))
    good = write(tmp_path / "rows.jsonl", labelled())

    def run(task: str = "classify", data: Path = good, **changes: Any) -> None:
        finetune(base, task, data, tmp_path / "out", settings(**changes))

    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"task": "clasify"}, ConfigError, "task='clasify'.*did you mean 'classify'"),
        ({"label_column": "lable"}, DataError, "no column 'lable'; did you mean 'label'"),
        ({"lora_rank": 2, "lora_targets": ("query",)}, ConfigError, "lora_targets=query"),
        ({"max_length": 400}, DataError, "max_length=400; allowed: at most 48"),
        ({"metric": "acuracy", "evaluate_every": 1}, ConfigError, "acuracy.*accuracy"),
        (
            {
                "max_length": 8,
                "data": write(tmp_path / "l.jsonl", [{"text": "a " * 9, "label": x} for x in "ab"]),
            },
            DataError,
            "row 1 has 9 tokens; allowed: 6",
        ),
        ({"data": write(tmp_path / "o.jsonl", [{"text": "a", "label": 1}] * 9)}, DataError, "two classes"),
        (
            {"data": write(tmp_path / "n.jsonl", [{"text": 3, "label": x} for x in "ab"])},
            DataError,
            "text is 3",
        ),
        (
            {
                "task": "answer",
                "data": write(tmp_path / "q.jsonl", [{"question": "a", "context": "b", "answer": "c"}]),
            },
            DataError,
            "'c' does not stand in its context",
        ),
    ]
    for changes, kind, message in cases:
        with pytest.raises(kind, match=message):
            run(**{"validation_share": 0.0 if "data" in changes else 0.1, **changes})
    with pytest.raises(ConfigError, match="validation_share=1"):
        settings(validation_share=1.0)
    assert set(TASKS) >= {"lm", "classify", "answer"}
