"""hortus predict, finetune, convert and share as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import hortus
from hortus.cli import main
from hortus.errors import ArtifactError, ConfigError
from hortus.language.share import share
from tests.language.families import encoder, t5


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run_main(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return str(path)


def test_every_task_of_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {"id2label": {"0": "no", "1": "yes"}}
    models = {
        "rank": t5(),
        "embed": encoder("bert", "Model"),
        "fill_mask": encoder("bert"),
        "classify": encoder("distilbert", "ForSequenceClassification", **labels),
        "answer": encoder("bert", "ForQuestionAnswering"),
    }
    rows = {
        "rank": [{"text": "who?", "choices": ["the fox", "a film"], "id": 7}],
        "embed": [{"text": "a film"}, {"text": "the fox"}],
        "fill_mask": [{"text": "a [MASK] film"}],
        "classify": [{"text": "a film", "second": "fun"}],
        "answer": [{"question": "who?", "context": "the fox jumps"}],
    }
    for task, model in models.items():
        model.save(tmp_path / task)
        source = lines(tmp_path / f"{task}.jsonl", rows[task])
        arguments = ["predict", str(tmp_path / task), task, "--input", source, "--device", "cpu"]
        code, out, _ = run_main(arguments, capsys)
        written = [json.loads(line) for line in out.splitlines()]
        assert code == 0 and [
            row.items() >= old.items() for row, old in zip(written, rows[task], strict=True)
        ]
        code, _, err = run_main([*arguments, "--output", str(tmp_path / "out.jsonl")], capsys)
        assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == written
        assert json.loads(run_main([*arguments, "--json"], capsys)[1]) == {"rows": written}
        if task == "rank":
            expected = models["rank"].rank("who?", ["the fox", "a film"])
            assert written[0]["log_probabilities"] == pytest.approx(expected.tolist(), abs=1e-5)
            assert written[0]["choice"] == ["the fox", "a film"][int(expected.argmax())]
        if task == "classify":
            assert written[0]["label"] == model.classify("a film", "fun").label


def test_faulty_lines_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    t5().save(tmp_path / "model")
    for row, task, message in (
        ({"text": "a"}, "rank", "line 1 has no 'choices'"),
        ({"text": "a", "choices": []}, "rank", "choices is []"),
        ({"txt": "a"}, "embed", 'line 1 has no "text"'),
        ({"text": "a"}, "answer", 'line 1 has no "question"'),
        ({"text": "a"}, "classify", "a t5 cannot classify"),
    ):
        source = lines(tmp_path / "in.jsonl", [row])
        code, out, err = run_main(["predict", str(tmp_path / "model"), task, "--input", source], capsys)
        assert code == 2 and out == "" and err.count("\n") == 1 and message in err


def test_finetune_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder("distilbert").save(tmp_path / "base")
    data = lines(tmp_path / "r.jsonl", [{"text": f"a {w} film", "label": w} for w in ("good", "bad")] * 10)
    arguments = ["finetune", str(tmp_path / "base"), "--task", "classify", "--data", data]
    arguments += ["--output", str(tmp_path / "out"), "--epochs", "2", "--lora-rank", "2", "--device", "cpu"]
    code, out, _ = run_main([*arguments, "--json"], capsys)
    numbers = json.loads(out)
    assert code == 0 and numbers["steps"] == 2 and "validation_accuracy" in numbers["best"]
    assert hortus.load(str(tmp_path / "out/model")).network.config.labels == ("bad", "good")
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"model", "run", "adapter"}
    code, _, err = run_main([*arguments[:3], "lable", *arguments[4:]], capsys)
    assert code == 2 and "task='lable' is not known" in err


def test_convert_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    target = str(tmp_path / "new")
    code, out, _ = run_main(
        ["convert", str(tmp_path / "pytorch_model.bin"), "--output", target, "--json"], capsys
    )
    assert code == 0 and json.loads(out) == {"folder": target, "files": ["pytorch_model.bin"]}


class FakeHub:
    """Records what is asked of it, as huggingface_hub.HfApi would be asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, name: str, **options: Any) -> None:
        self.calls.append(("create", {"name": name} | options))

    def upload_folder(self, **options: Any) -> Any:
        self.calls.append(("upload", options))
        return type("Commit", (), {"commit_url": "https://hub.example/commit/1"})()


def test_a_folder_is_shared_with_its_card(tmp_path: Path) -> None:
    encoder("bert").save(tmp_path / "model")
    hub = FakeHub()
    assert share(tmp_path / "model", "me/tiny", private=True, api=hub).endswith("commit/1")
    (_, made), (_, sent) = hub.calls
    assert made == {"name": "me/tiny", "exist_ok": True, "private": True}
    assert sent["repo_id"] == "me/tiny" and sent["folder_path"] == str(tmp_path / "model")
    assert "*.bin" in sent["ignore_patterns"] and sent["commit_message"] == "bert (bert)"
    (tmp_path / "model/README.md").unlink()
    with pytest.raises(ArtifactError, match="has no card"):
        share(tmp_path / "model", "me/tiny", api=hub)
    with pytest.raises(ConfigError, match="OWNER/NAME"):
        share(tmp_path / "model", "tiny", api=hub)
    (tmp_path / "model/model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="model.safetensors"):
        share(tmp_path / "model", "me/tiny", api=hub)
    assert len(hub.calls) == 2
