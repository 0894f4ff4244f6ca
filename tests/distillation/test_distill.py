"""`distill` and `hortus distill` end to end: each family, each task, stored logits, bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hortus
from hortus.cli import main
from hortus.distillation import DistillationConfig, distill
from hortus.distillation.ranked import choice_scores, prepare_ranked
from hortus.distillation.store import network_hash
from hortus.errors import ArtifactError, ConfigError, DataError
from hortus.language import LanguageModel
from hortus.models import build_network
from hortus.objectives.finetune import finetune
from hortus.objectives.finetune_config import FinetuneConfig
from hortus.tokenizer import TokenizerConfig, train_tokenizer
from tests.language.families import TEXT, encoder, t5

QUICK: dict[str, Any] = {
    "epochs": None,
    "steps": 30,
    "batch_size": 8,
    "learning_rate": 3e-3,
    "device": "cpu",
    "compile": "off",
    "dtype": "float32",
    "log_every": 2,
    "layers": 1,
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def quick(**changes: Any) -> DistillationConfig:
    return DistillationConfig(**QUICK | changes)


def bloom() -> LanguageModel:
    tokenizer = train_tokenizer(TEXT * 3, TokenizerConfig(vocab_size=300))
    torch.manual_seed(0)
    shape = {"model_type": "bloom", "hidden_size": 24, "n_layer": 2, "n_head": 3, "initializer_range": 0.2}
    return LanguageModel(
        build_network(shape | {"vocab_size": tokenizer.vocab_size}), tokenizer, max_length=48
    )


def saved(model: LanguageModel, folder: Path) -> Path:
    model.save(folder)
    return folder


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return write(tmp_path / "texts.jsonl", [{"text": text, "target": text[:12]} for text in TEXT * 6])


def values_of(result: Any, name: str) -> list[float]:
    return [record[name] for record in result.training.history if name in record]


def falls(result: Any, name: str) -> bool:
    """Whether the last third is below the first; single values waver with dropout."""
    values = values_of(result, name)
    third = max(len(values) // 3, 1)
    return sum(values[-third:]) < sum(values[:third])


@pytest.mark.parametrize("kind", ["bert", "bloom", "t5"])
def test_students_come_closer_to_their_teachers(kind: str, tmp_path: Path, texts: Path) -> None:
    teacher = {"bert": lambda: encoder("bert"), "bloom": bloom, "t5": t5}[kind]()
    folder = saved(teacher, tmp_path / "teacher")
    result = distill(folder, texts, tmp_path / "out", quick(weight_hard=0.0))
    assert falls(result, "soft") and falls(result, "cosine")
    assert result.student_parameters < result.teacher_parameters
    student = hortus.load(str(result.model), device="cpu")
    assert student.network.config.num_layers == 1
    assert student.kind == {"bert": "distilbert"}.get(kind, kind)
    again = LanguageModel.load(folder, device="cpu")
    assert student.tokenizer.fingerprint() == again.tokenizer.fingerprint()
    assert network_hash(again.network) == network_hash(teacher.network)


@pytest.mark.parametrize("kind", ["bert", "bloom", "t5"])
def test_fewer_tokens_for_both(kind: str, tmp_path: Path) -> None:
    teacher = {"bert": lambda: encoder("bert"), "bloom": bloom, "t5": t5}[kind]()
    data = write(tmp_path / "texts.jsonl", [{"text": text, "target": text[:9]} for text in TEXT[:2] * 8])
    folder = saved(teacher, tmp_path / "teacher")
    result = distill(folder, data, tmp_path / "out", quick(trim_vocabulary=True, steps=4))
    student = hortus.load(str(result.model), device="cpu")
    trimmed = hortus.load(str(result.teacher), device="cpu")
    assert student.tokenizer.fingerprint() == trimmed.tokenizer.fingerprint()
    assert student.tokenizer.vocab_size == student.network.config.vocab_size < teacher.tokenizer.vocab_size
    assert student.tokenizer.decode(student.tokenizer.encode(TEXT[0])) == teacher.tokenizer.decode(
        teacher.tokenizer.encode(TEXT[0])
    )
    assert result.teacher_parameters == sum(p.numel() for p in trimmed.network.parameters())


def test_the_triple_loss_of_a_batch(tmp_path: Path) -> None:
    """Each term is the mean that the paper takes, weighed and added."""
    from hortus.distillation.masking import BatchMasking
    from hortus.distillation.student import make_student
    from hortus.distillation.task import Distillation

    teacher = encoder("bert").network.eval()
    settings = quick(weight_soft=5.0, weight_hard=2.0, weight_cosine=1.0)
    student = make_student(teacher, settings).eval()
    ids = torch.randint(5, 60, (3, 9))
    mask = (torch.arange(9) < torch.tensor([[9], [6], [8]])).long()
    targets = torch.where((torch.rand(3, 9) < 0.3) & (mask != 0), ids, -100)
    targets[0, 0] = ids[0, 0]
    task = Distillation(student, teacher, settings, BatchMasking(torch.ones(60), mask_id=4))
    total, count, metrics = task.loss({"input_ids": ids, "attention_mask": mask, "targets": targets})
    with torch.no_grad():
        sides = [network.hidden(ids, mask) for network in (student, teacher)]
        logits = [network.head(h) for network, h in zip((student, teacher), sides, strict=True)]
    real, asked = (mask != 0).numpy(), (targets != -100).numpy()
    log_s, log_t = ((z / 2).log_softmax(-1).double().numpy()[real] for z in logits)
    soft = 4 * (np.exp(log_t) * (log_t - log_s)).sum(1).mean()
    hard = -logits[0].log_softmax(-1).double().numpy()[asked, targets.numpy()[asked]].mean()
    a, b = (h.double().numpy()[real] for h in sides)
    cosine = (1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean()
    assert count == real.sum()
    np.testing.assert_allclose(total.item() / count, 5 * soft + 2 * hard + cosine, rtol=1e-5)
    for name, value in (("soft", soft), ("hard", hard), ("cosine", cosine)):
        np.testing.assert_allclose(metrics[name][0] / metrics[name][1], value, rtol=1e-5)


def test_frozen_positions_stay(tmp_path: Path, texts: Path) -> None:
    teacher = encoder("bert")
    result = distill(
        saved(teacher, tmp_path / "teacher"), texts, tmp_path / "out", quick(freeze_positions=True)
    )
    student = LanguageModel.load(result.model, device="cpu")
    assert torch.equal(student.network.position_embedding.weight, teacher.network.position_embedding.weight)
    assert not torch.equal(student.network.embedding.weight, teacher.network.embedding.weight)


@pytest.mark.parametrize("kind", ["bert", "bloom"])
def test_from_stored_logits(kind: str, tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hortus.distillation import store

    monkeypatch.setattr(store, "_BATCHES_A_PART", 2)
    model = encoder("bert") if kind == "bert" else bloom()
    teacher = saved(model, tmp_path / "teacher")
    settings = quick(steps=None, epochs=4, store_top=8, weight_hard=0.0)
    result = distill(teacher, texts, tmp_path / "out", settings)
    assert falls(result, "soft")
    logits = tmp_path / "out" / "logits"
    parts = sorted(logits.glob("part-*.parquet"))
    kept = [part.read_bytes() for part in parts]
    assert len(parts) >= 2 or kind == "bloom"
    # A run stopped while it stored leaves whole parts and an open index: the rest is made again, alike.
    index = json.loads((logits / "index.json").read_text())
    (logits / "index.json").write_text(json.dumps(index | {"parts": None}))
    parts[-1].unlink()
    shutil.rmtree(tmp_path / "out" / "run")
    again = distill(teacher, texts, tmp_path / "out", settings)
    assert [part.read_bytes() for part in parts] == kept
    assert values_of(again, "soft") == pytest.approx(values_of(result, "soft"), rel=1e-5)


@pytest.mark.parametrize("changed", ["teacher", "data", "settings"])
def test_stored_logits_of_something_else(changed: str, tmp_path: Path, texts: Path) -> None:
    teacher = saved(encoder("bert"), tmp_path / "teacher")
    distill(teacher, texts, tmp_path / "out", quick(steps=2, store_top=4))
    shutil.rmtree(tmp_path / "out" / "run")
    more: dict[str, Any] = {}
    if changed == "teacher":
        other = encoder("bert")
        with torch.no_grad():
            other.network.embedding.weight[7] += 1
        teacher = saved(other, tmp_path / "other")
    elif changed == "data":
        texts = write(tmp_path / "others.jsonl", [{"text": text} for text in TEXT * 5])
    else:
        more = {"temperature": 1.0}
    with pytest.raises(ArtifactError, match=f"stored with another {changed}.*delete the folder"):
        distill(teacher, texts, tmp_path / "out", quick(steps=2, store_top=4, **more))


def test_a_classifier(tmp_path: Path) -> None:
    rows = [{"text": f"a {['good', 'bad'][n % 2]} film", "label": ["yes", "no"][n % 2]} for n in range(40)]
    data = write(tmp_path / "rows.jsonl", rows)
    base = saved(encoder("bert"), tmp_path / "base")
    tuned = {key: value for key, value in QUICK.items() if key != "layers"} | {"steps": 80}
    finetune(base, "classify", data, tmp_path / "tuned", FinetuneConfig(**tuned))
    settings = quick(task="classify", steps=80, evaluate_every=20, metric="accuracy", metric_goal="highest")
    result = distill(tmp_path / "tuned/model", data, tmp_path / "out", settings)
    assert result.training.best is not None and result.training.best["validation_accuracy"] == 1.0
    student = hortus.load(str(result.model), device="cpu")
    assert [label.label for label in student.classify(["a good film", "a bad film"])] == ["yes", "no"]
    others = write(tmp_path / "others.jsonl", [row | {"label": "other" + row["label"]} for row in rows])
    with pytest.raises(ConfigError, match="classes otherno, otheryes.*teacher's: no, yes"):
        distill(tmp_path / "tuned/model", others, tmp_path / "out2", quick(task="classify"))


def test_answers(tmp_path: Path) -> None:
    row = {"question": "what is the capital of france", "context": TEXT[3], "answer": "paris"}
    data = write(tmp_path / "rows.jsonl", [row] * 16)
    teacher = saved(encoder("distilbert", "ForQuestionAnswering"), tmp_path / "teacher")
    settings = quick(task="answer", stride=4, steps=60, weight_hard=0.0, validation_share=0.2)
    result = distill(teacher, data, tmp_path / "out", settings)
    assert falls(result, "soft") and "validation_exact" in (result.training.best or {})
    assert hortus.load(str(result.model), device="cpu").network.config.head == "answer"


@pytest.mark.parametrize("kind", ["bloom", "t5"])
def test_ranked_answers(kind: str, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": text, "choices": ["the fox", "rome", "fun"][: 2 + n % 2], "label": n % 2}
        for n, text in enumerate(TEXT * 5)
    ]
    data = write(tmp_path / "rows.jsonl", rows)
    model = bloom() if kind == "bloom" else t5()
    teacher = saved(model, tmp_path / "teacher")
    settings = quick(task="ranked", weight_hard=0.0, steps=60, learning_rate=1e-3)
    _, examples, _, _ = prepare_ranked(model, model.network, data, None, settings)
    batch = next(iter(examples))
    scores = choice_scores(model.network, batch).detach().numpy()
    shown = {len(each): each for each in (model.rank(TEXT[0], row["choices"]) for row in rows[:2])}
    for line, groups in zip(scores, batch["groups"], strict=True):
        assert (line[: int((groups >= 0).sum())] > -1e8).all() and (
            line[int((groups >= 0).sum()) :] < -1e8
        ).all()
    assert (
        any(np.allclose(line[: len(each)], each, atol=1e-3) for line in scores for each in shown.values())
        or len(shown) == 2
    )
    result = distill(teacher, data, tmp_path / "out", settings)
    assert falls(result, "soft")
    assert (result.training.best or {})["validation_agreement"] >= 0


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"layers": 3}, ConfigError, "3 layers is larger than its teacher"),
        ({"layers": None, "layer_list": (0, 2)}, ConfigError, "layer 2.*0 to 1"),
        ({"student": "other"}, ArtifactError, "another vocabulary than the teacher"),
        ({"task": "classify"}, ConfigError, "head is masked_lm.*finetune the teacher"),
        ({"task": "ranked"}, ConfigError, "head is masked_lm|encoder"),
    ],
)
def test_bad_input(
    changes: dict[str, Any], error: type[Exception], words: str, tmp_path: Path, texts: Path
) -> None:
    teacher = saved(encoder("bert"), tmp_path / "teacher")
    if "student" in changes:
        changes = {"student": str(saved(bloom(), tmp_path / "other"))}
    with pytest.raises(error, match=words):
        distill(teacher, texts, tmp_path / "out", quick(**changes))


def test_a_student_larger_than_its_teacher(tmp_path: Path, texts: Path) -> None:
    model, deeper = encoder("bert"), encoder("bert", num_hidden_layers=3)
    deeper.tokenizer = model.tokenizer
    large, teacher = saved(deeper, tmp_path / "large"), saved(model, tmp_path / "teacher")
    with pytest.raises(ConfigError, match="parameters; allowed: at most the teacher's"):
        distill(teacher, texts, tmp_path / "out", quick(student=str(large)))


@pytest.mark.parametrize("changes", [{"soft_over": "hidden"}, {"mask_smoothing": 0.7}])
def test_masking_a_decoder(changes: dict[str, Any], tmp_path: Path, texts: Path) -> None:
    teacher = saved(bloom(), tmp_path / "teacher")
    with pytest.raises(ConfigError, match="masking for a bloom"):
        distill(teacher, texts, tmp_path / "out", quick(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperature": 0.0}, "temperature=0.0 is out of range"),
        ({"weight_soft": 0.0, "weight_hard": 0.0, "weight_cosine": 0.0}, "one of the three weights"),
        ({"store_top": 8, "weight_cosine": 1.0}, "hidden states are not stored"),
        ({"store_top": 8, "task": "classify"}, "allowed: task lm"),
        ({"lora_rank": 2}, "a student has no adapters"),
        ({"trim_vocabulary": True, "student": "other"}, "a student made from the teacher"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        quick(**changes)


def test_logits_that_are_not_whole(tmp_path: Path) -> None:
    from hortus.distillation.store import StoredLogits

    (tmp_path / "index.json").write_text('{"identity": {}, "parts": null}')
    with pytest.raises(DataError, match="not whole"):
        StoredLogits(tmp_path, {})


def test_the_command(tmp_path: Path, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = saved(encoder("bert"), tmp_path / "teacher")
    rows = "".join(f"a {['good', 'bad'][n % 2]} film\t{n % 2}\n" for n in range(24))
    (tmp_path / "films.tsv").write_text(rows)
    side = "{source: %s, names: [text, label]}" % (tmp_path / "films.tsv")
    tuned = "{epochs: 2, seeds: [0], latency_repeats: 1, device: cpu, compile: 'off', latency_batches: [1]}"
    (tmp_path / "report.yaml").write_text(
        f"labelled:\n  tasks: [{{name: films, train: {side}, test: {side}}}]\nproof: {tuned}\n"
    )
    arguments = ["distill", str(teacher), "--data", str(texts), "--output", str(tmp_path / "out")]
    arguments += [
        "--layers",
        "1",
        "--steps",
        "3",
        "--device",
        "cpu",
        "--report",
        str(tmp_path / "report.yaml"),
    ]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--json"])
    assert end.value.code == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["student_parameters"] < numbers["teacher_parameters"] and numbers["steps"] == 3
    figures = numbers["report"]["figures"]
    # Three steps teach nothing: the student may miss all twelve rows, so only the ratio is checked.
    assert 0 <= figures["student"] <= 1 and figures["kept"] == figures["student"] / figures["teacher"]
    assert "Test accuracy" in Path(numbers["report"]["page"]).read_text()
    with pytest.raises(SystemExit) as end:
        main([*arguments[:6], "--layers", "9"])
    assert end.value.code == 2 and "larger than its teacher" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main([*arguments[:6], "--on-device", str(tmp_path)])
    assert end.value.code == 2 and "allowed: --task classify" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main([*arguments[:6], "--task", "classify", "--on-device", str(tmp_path)])
    assert end.value.code == 2 and "npm install onnxruntime-web" in capsys.readouterr().err
