"""The page: what it needs, its tokenizer and answers against Python's, offline in Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from hortus.distillation.on_device import (
    find_browser,
    int8_probabilities,
    measure_page,
    page_table,
    runtime_files,
    write_page,
)
from hortus.errors import ConfigError, DeviceError
from hortus.language import LanguageModel
from tests.language.families import encoder

pytest.importorskip("onnxscript")
TEXTS = [
    "A good film is fun!",
    "the  Dög does; who's over the fox?",
    "paris 中 rome\tcapital—of (italy) \u200b…",
    "unknownword " * 3 + "xyzzy" * 30,
    "fox " * 90,
    "",
]
PAGE = Path(__file__).parents[2] / "src/hortus/distillation/page"


@pytest.fixture(scope="module")
def models() -> tuple[LanguageModel, LanguageModel]:
    torch.set_num_threads(1)
    labels = {"id2label": {"0": "no", "1": "yes"}}
    teacher = encoder("bert", "ForSequenceClassification", **labels)
    student = encoder("distilbert", "ForSequenceClassification", n_layers=1, **labels)
    student.tokenizer = teacher.tokenizer
    return teacher, student


@pytest.fixture(scope="module")
def runtime() -> list[Path]:
    """onnxruntime-web's files: of HORTUS_ONNXRUNTIME_WEB, or of node_modules here."""
    try:
        return runtime_files()
    except DeviceError as error:
        pytest.skip(str(error))


def expected_ids(model: LanguageModel, text: str) -> list[int]:
    tokenizer = model.tokenizer
    assert tokenizer.cls_id is not None and tokenizer.sep_id is not None
    return [tokenizer.cls_id, *tokenizer.encode(text)[: model.max_length - 2], tokenizer.sep_id]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_pages_tokenizer_equals_ours(models: tuple[LanguageModel, LanguageModel], tmp_path: Path) -> None:
    from hortus.distillation.on_device import _tokenizer

    settings, words = _tokenizer(models[1])
    (tmp_path / "given.json").write_text(json.dumps([words, settings, TEXTS]))
    shutil.copyfile(PAGE / "wordpiece.js", tmp_path / "wordpiece.mjs")
    (tmp_path / "run.mjs").write_text(
        "import { readFileSync } from 'fs'; import { WordPiece } from './wordpiece.mjs';\n"
        "const [words, settings, texts] = JSON.parse(readFileSync(process.argv[2]));\n"
        "console.log(JSON.stringify(texts.map((text) => new WordPiece(words, settings).encode(text))));\n"
    )
    command = ["node", str(tmp_path / "run.mjs"), str(tmp_path / "given.json")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == [expected_ids(models[1], text) for text in TEXTS]


def test_answers_offline_in_chromium_equal_pythons(
    models: tuple[LanguageModel, LanguageModel], runtime: list[Path], tmp_path: Path
) -> None:
    pytest.importorskip("playwright")
    browser = find_browser()
    if browser is None:
        pytest.skip("no Chromium is installed")
    write_page(*models, tmp_path / "page", runtime)
    figures, answers = measure_page(tmp_path / "page", TEXTS, browser)
    for name, model in zip(("teacher", "student"), models, strict=True):
        rows = [expected_ids(model, text) for text in TEXTS]
        assert [answer["ids"] for answer in answers[name]] == rows
        native, _ = int8_probabilities(tmp_path / "page", name, rows)
        found = np.array([answer["probabilities"] for answer in answers[name]])
        np.testing.assert_allclose(found, native, atol=0.02)
        whole = model.classify(TEXTS, truncate=True)
        labels = model.network.config.labels
        np.testing.assert_allclose(
            native, [[label.probabilities[one] for one in labels] for label in whole], atol=0.1
        )
        assert figures[name]["memory"] > 0 and figures[name]["latency"] > 0
    table = page_table(tmp_path / "page", figures, 16)
    assert [row[0] for row in table.rows] == ["teacher", "student"]
    assert table.rows[1][1] < table.rows[0][1]


def test_what_the_page_needs(models: tuple[LanguageModel, LanguageModel], tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="npm install onnxruntime-web"):
        runtime_files(tmp_path)
    with pytest.raises(ConfigError, match="head classify"):
        write_page(models[0], encoder("distilbert"), tmp_path / "page", [])
    assert not (tmp_path / "page").exists()
