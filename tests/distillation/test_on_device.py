"""The page: what it needs, its tokenizer and answers against Python's, offline in Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hortus.distillation.browser import find_browser, measure_page
from hortus.distillation.int8 import Int8Model
from hortus.distillation.on_device import page_table, runtime_files, study, write_page
from hortus.errors import ConfigError, DeviceError
from hortus.language import LanguageModel
from hortus.tokenizer import joined, windows_of_pair
from tests.language.families import encoder

pytest.importorskip("onnxscript")
CONTEXT = "Un Dög? The fox does not: paris 中 rome\tis the capital—of (Italy) \u200b…, a good film is fun! "
PAIRS = [("where is the fox?", CONTEXT), ("capital of Italy", CONTEXT * 3), ("who's good", "Rome")]
TEXTS = [
    "A good film is fun!",
    "the  Dög does; who's over the fox?",
    "paris 中 rome\tcapital—of (italy) \u200b…",
    "unknownword " * 3 + "xyzzy" * 30,
    "fox " * 90,
    "",
]
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
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


@pytest.fixture(scope="module")
def answerers() -> tuple[LanguageModel, LanguageModel]:
    teacher = encoder("bert", "ForQuestionAnswering")
    student = encoder("distilbert", "ForQuestionAnswering", n_layers=1)
    student.tokenizer = teacher.tokenizer
    return teacher, student


@pytest.fixture(scope="module")
def browser() -> str:
    try:
        return find_browser()
    except DeviceError as error:
        pytest.skip(str(error))


def expected_ids(model: LanguageModel, text: str) -> list[int]:
    tokenizer = model.tokenizer
    assert tokenizer.cls_id is not None and tokenizer.sep_id is not None
    return [tokenizer.cls_id, *tokenizer.encode(text)[: model.max_length - 2], tokenizer.sep_id]


def in_node(model: LanguageModel, expression: str, inputs: list[Any], folder: Path) -> Any:
    """What the page's tokenizer says of each input, in an expression of `tokenizer` and `input`."""
    from hortus.distillation.on_device import _tokenizer

    settings, words = _tokenizer(model)
    (folder / "given.json").write_text(json.dumps([words, settings, inputs]))
    shutil.copyfile(PAGE / "wordpiece.js", folder / "wordpiece.mjs")
    (folder / "run.mjs").write_text(
        "import { readFileSync } from 'fs'; import { WordPiece } from './wordpiece.mjs';\n"
        "const [words, settings, inputs] = JSON.parse(readFileSync(process.argv[2]));\n"
        "const tokenizer = new WordPiece(words, settings);\n"
        f"console.log(JSON.stringify(inputs.map((input) => {expression})));\n"
    )
    command = ["node", str(folder / "run.mjs"), str(folder / "given.json")]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@needs_node
def test_the_pages_tokenizer_equals_ours(models: tuple[LanguageModel, LanguageModel], tmp_path: Path) -> None:
    found = in_node(models[1], "tokenizer.encode(input)", TEXTS, tmp_path)
    assert found == [expected_ids(models[1], text) for text in TEXTS]


@needs_node
def test_every_character_reads_alike(models: tuple[LanguageModel, LanguageModel], tmp_path: Path) -> None:
    """Each after a letter: kept, dropped, replaced, split off or cut in two, and where it stood."""
    codes = [*range(0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE0200)]
    texts = [*(f"a{chr(code)} b" for code in codes), "AΣ σΣ"]
    found = in_node(models[1], "tokenizer.tokens(input).map(({ id, span }) => [id, span])", texts, tmp_path)
    encoded = [models[1].tokenizer.encode_with_spans(text) for text in texts]
    expected = [[[i, list(span)] for i, span in zip(*pair, strict=True)] for pair in encoded]
    odd = [text for text, one, other in zip(texts, found, expected, strict=True) if one != other]
    assert not odd, [hex(ord(text[1])) for text in odd]


@needs_node
def test_windows_of_a_long_context(models: tuple[LanguageModel, LanguageModel], tmp_path: Path) -> None:
    found = in_node(models[1], "tokenizer.windows(...input)", PAIRS, tmp_path)
    for (question, context), windows in zip(PAIRS, found, strict=True):
        expected = windows_of_pair(models[1].tokenizer, question, context, max_length=48, stride=12)
        assert [window["ids"] for window in windows] == [window.input_ids for window in expected]
        spans = [[span and list(span) for span in window.spans] for window in expected]
        assert [window["spans"] for window in windows] == spans
    assert len(found[1]) > 1


def test_labels_offline_in_chromium_equal_pythons(
    models: tuple[LanguageModel, LanguageModel], runtime: list[Path], browser: str, tmp_path: Path
) -> None:
    write_page(*models, tmp_path / "page", runtime)
    figures, answers = measure_page(tmp_path / "page", TEXTS, browser)
    written = {}
    for name, model in zip(("teacher", "student"), models, strict=True):
        written[name] = Int8Model(tmp_path / "page" / f"{name}.onnx", model)
        assert [answer["ids"] for answer in answers[name]] == [expected_ids(model, text) for text in TEXTS]
        native = [written[name].probabilities(text) for text in TEXTS]
        found = np.array([answer["probabilities"] for answer in answers[name]])
        np.testing.assert_allclose(found, native, atol=0.02)
        whole = model.classify(TEXTS, truncate=True)
        labels = model.network.config.labels
        np.testing.assert_allclose(
            native, [[label.probabilities[one] for one in labels] for label in whole], atol=0.1
        )
        assert figures[name]["memory"] > 0 and figures[name]["latency"] > 0
    table = page_table(written, tmp_path / "page", figures, 16)
    assert [row[0] for row in table.rows] == ["teacher", "student"]
    assert table.rows[1][1] < table.rows[0][1]


def test_answers_offline_in_chromium_equal_pythons(
    answerers: tuple[LanguageModel, LanguageModel], runtime: list[Path], browser: str, tmp_path: Path
) -> None:
    write_page(*answerers, tmp_path / "page", runtime, PAIRS[0])
    _, answers = measure_page(tmp_path / "page", PAIRS, browser)
    for name, model in zip(("teacher", "student"), answerers, strict=True):
        written = Int8Model(tmp_path / "page" / f"{name}.onnx", model)
        native = [written.answer(*pair) for pair in PAIRS]
        found = answers[name]
        assert [(one["answer"], one["start"], one["end"]) for one in found] == [
            (one.text, one.start, one.end) for one in native
        ]
        np.testing.assert_allclose(
            [one["probability"] for one in found], [one.probability for one in native], atol=0.02
        )


def test_a_study_without_a_browser_is_near_the_networks(
    answerers: tuple[LanguageModel, LanguageModel], tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("teacher", "student")]
    for folder, model in zip(folders, answerers, strict=True):
        model.save(folder)
    table, lacking = study(folders[0], folders[1], tmp_path / "page", tmp_path, PAIRS)
    assert "npm install onnxruntime-web" in lacking
    assert all(row[1] > 0 and row[2:5] == [None] * 3 and row[5] > 0 for row in table.rows)
    for name, model in zip(("teacher", "student"), answerers, strict=True):
        written = Int8Model(tmp_path / "page" / f"{name}.onnx", model)
        ids, types = joined(
            model.tokenizer, model.tokenizer.encode(PAIRS[0][0]), model.tokenizer.encode("rome is good")
        )
        with torch.inference_mode():
            whole = model.network(torch.tensor([ids]), token_type_ids=torch.tensor([types]))[0].numpy()
        found = written.logits(ids)
        assert np.abs(found - whole).mean() < 0.05 * np.abs(whole).max()
        if name == "teacher":  # its second text has a type of its own, which the graph finds by itself
            with torch.inference_mode():
                untyped = model.network(torch.tensor([ids]))[0].numpy()
            assert np.abs(found - whole).mean() < 0.5 * np.abs(found - untyped).mean()


def test_what_the_page_needs(models: tuple[LanguageModel, LanguageModel], tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="npm install onnxruntime-web"):
        runtime_files(tmp_path)
    with pytest.raises(ConfigError, match="classifies or answers"):
        write_page(models[0], encoder("distilbert"), tmp_path / "page", [])
    assert not (tmp_path / "page").exists()
