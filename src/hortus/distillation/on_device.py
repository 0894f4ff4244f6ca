"""Teacher and student in a browser: int8 ONNX, a static page, and what it measures (DistilBERT, section 4).

FOLDER/teacher.onnx, student.onnx               int8 weights, made from the finetuned models
FOLDER/index.html, page.js, wordpiece.js        the page
FOLDER/ort.*, ort-wasm-*                        onnxruntime-web, copied from where npm put it
FOLDER/vocabulary.json, settings.json           the tokenizer, task, labels, length

Any static server serves the folder; once the page says ready it needs none.
"""

from __future__ import annotations

import importlib.resources
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from hortus.artifact import replacing_folder, write_json
from hortus.distillation.browser import find_browser, measure_page
from hortus.distillation.int8 import Int8Model, write_int8
from hortus.errors import ConfigError, DeviceError
from hortus.language import LanguageModel
from hortus.report import Table

__all__ = ["page_table", "runtime_files", "study", "write_page"]

_RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_NAMES = ("teacher", "student")


def write_page(
    teacher: LanguageModel,
    student: LanguageModel,
    folder: Path,
    runtime: Sequence[Path],
    example: str | Sequence[str] = "",
) -> None:
    """Write the page and both models.

    Args:
        runtime: as `runtime_files` finds it; without it the page waits for those files.
        example: a text, or a question and its context, that the page begins with.

    Raises:
        ConfigError: not two models with the same labels and tokenizer (a WordPiece) and a head that
            classifies or answers.
        DeviceError: onnxruntime is not installed.
    """
    configs = [model.network.config for model in (teacher, student)]
    heads = {getattr(config, "head", None) for config in configs}
    if heads not in ({"classify"}, {"answer"}):
        raise ConfigError("the page classifies or answers", allowed="two models with one of these heads")
    if configs[0].labels != configs[1].labels:
        raise ConfigError(f"the student's labels are {', '.join(configs[1].labels)}", allowed="the teacher's")
    if teacher.tokenizer.fingerprint() != student.tokenizer.fingerprint():
        raise ConfigError("the student has another tokenizer", allowed="the teacher's")
    settings, words = _tokenizer(student)
    with replacing_folder(folder) as place:
        for name, model in zip(_NAMES, (teacher, student), strict=True):
            write_int8(model, place / f"{name}.onnx")
        for file in runtime:
            shutil.copyfile(file, place / file.name)
        for source in importlib.resources.files("hortus.distillation").joinpath("page").iterdir():
            (place / source.name).write_bytes(source.read_bytes())
        write_json(place / "vocabulary.json", words)
        own = {"task": configs[0].head, "labels": list(configs[0].labels), "example": example}
        write_json(place / "settings.json", settings | own)


def runtime_files(named: Path | None = None) -> list[Path]:
    """The three files of onnxruntime-web that a page needs.

    Args:
        named: the folder of the npm package, or its `dist`; None looks where HORTUS_ONNXRUNTIME_WEB says, or
            in node_modules here.

    Raises:
        DeviceError: it is not there.
    """
    place = named or Path(os.environ.get("HORTUS_ONNXRUNTIME_WEB", "node_modules/onnxruntime-web"))
    files = [(place / "dist" if (place / "dist").is_dir() else place) / name for name in _RUNTIME]
    if missing := [file.name for file in files if not file.is_file()]:
        raise DeviceError(
            f"onnxruntime-web is not in {place}: {missing[0]} is missing",
            do="run: npm install onnxruntime-web, or name its folder in HORTUS_ONNXRUNTIME_WEB",
        )
    return files


def _tokenizer(model: LanguageModel) -> tuple[dict[str, Any], dict[str, int]]:
    """What wordpiece.js needs of the tokenizer, and its words."""
    content, tokenizer = model.tokenizer.to_json(), model.tokenizer
    normalizer = content.get("normalizer") or {}
    if (content["model"].get("type"), normalizer.get("type")) != ("WordPiece", "BertNormalizer"):
        kind = content["model"].get("type")
        raise ConfigError(f"a tokenizer of the kind {kind}", allowed="BERT's WordPiece, for the page")
    lowercase, accents = bool(normalizer.get("lowercase")), normalizer.get("strip_accents")
    removed, punctuation = _characters(BertNormalizer(**{n: v for n, v in normalizer.items() if n != "type"}))
    settings = {
        "removed": removed,
        "punctuation": punctuation,
        "split_chinese": normalizer.get("handle_chinese_chars", True),
        "strip_accents": lowercase if accents is None else accents,
        "lowercase": lowercase,
        "prefix": content["model"]["continuing_subword_prefix"],
        "longest_word": content["model"]["max_input_chars_per_word"],
        "cls": tokenizer.cls_id,
        "sep": tokenizer.sep_id,
        "unk": tokenizer.unk_id,
        "max_length": model.max_length,
    }
    return settings, content["model"]["vocab"]


def _characters(normalizer: BertNormalizer) -> tuple[str, str]:
    """What the tokenizer removes and what it splits off: browsers have another version of Unicode."""
    codes = [*range(0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE0200)]
    removed = "".join(chr(code) for code in codes if not normalizer.normalize_str(chr(code)))
    pieces = BertPreTokenizer().pre_tokenize_str(" ".join(f"a{chr(code)}" for code in codes))
    return removed, "".join(sorted({piece for piece, _ in pieces if len(piece) == 1} - {"a"}))


def page_table(models: dict[str, Int8Model], folder: Path, figures: dict[str, Any], tokens: int) -> Table:
    """The study's table: sizes, and times in the browser and on one thread of the processor."""
    rows = []
    for name, model in models.items():
        size = (folder / f"{name}.onnx").stat().st_size
        one = figures.get(name, {})
        memory = one["memory"] / 1e6 if one else None
        native = model.milliseconds(tokens)
        rows.append([name, size / 1e6, one.get("load"), memory, one.get("latency"), native])
    columns = ["model", "file, MB", "load in Chromium, ms", "memory of the runtime, MB"]
    columns += [f"one text of {tokens} tokens in Chromium, ms", "the same in onnxruntime, one thread, ms"]
    return Table("On device, int8", columns, rows)


def study(
    teacher: Path, student: Path, folder: Path, runtime: Path | None, inputs: Sequence[str | Sequence[str]]
) -> tuple[Table, str]:
    """Write the page for two finetuned models and measure it, as far as what is installed allows.

    Args:
        teacher, student: their folders.
        runtime: as `runtime_files` takes it.
        inputs: texts, or pairs of question and context; the first is what the page begins with. Browser and
            Python must say the same of all.

    Returns:
        The table, and what its empty columns lack, or "".

    Raises:
        ConfigError, DeviceError: as `write_page` and `measure_page`.
    """
    opened = [LanguageModel.load(place, device="cpu", dtype="float32") for place in (teacher, student)]
    files, browser, lacking = [], "", ""
    try:
        files, browser = runtime_files(runtime), find_browser()
    except DeviceError as error:
        lacking = f"Not measured in a browser: {error}"
    write_page(opened[0], opened[1], folder, files, inputs[0])
    models = {
        name: Int8Model(folder / f"{name}.onnx", model) for name, model in zip(_NAMES, opened, strict=True)
    }
    figures: dict[str, Any] = {}
    if not lacking:
        figures, answers = measure_page(folder, inputs, browser)
        for name, found in answers.items():
            said = [_said(models[name], one) for one in inputs]
            if [one["answer"] for one in found] != said:
                raise DeviceError(f"{name}: the browser's answers differ from Python's", do="report this")
    return page_table(models, folder, figures, opened[1].max_length), lacking


def _said(model: Int8Model, one: str | Sequence[str]) -> str:
    return model.classify(one) if isinstance(one, str) else model.answer(*one).text
