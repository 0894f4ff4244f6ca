"""Teacher and student in a browser: int8 ONNX, a static page, and what it measures (DistilBERT, section 4).

FOLDER/teacher.onnx, student.onnx               int8 weights, made from the finetuned classifiers
FOLDER/index.html, page.js, wordpiece.js        the page
FOLDER/ort.*, ort-wasm-*                        onnxruntime-web, copied from where npm put it
FOLDER/vocabulary.json, settings.json           the tokenizer, labels, length

Any static server serves the folder; once the page says ready it needs none.
"""

from __future__ import annotations

import functools
import http.server
import importlib.resources
import importlib.util
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hortus.artifact import replacing_folder, write_json
from hortus.errors import ConfigError, DeviceError
from hortus.language import LanguageModel
from hortus.language.export import export_onnx
from hortus.registry import require
from hortus.report import Table

__all__ = [
    "find_browser",
    "int8_probabilities",
    "measure_page",
    "page_table",
    "runtime_files",
    "study",
    "write_page",
]

_RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_REPEATS = 15


def write_page(
    teacher: LanguageModel,
    student: LanguageModel,
    folder: Path,
    runtime: Sequence[Path],
    example: str = "",
) -> None:
    """Write the page and both models.

    Args:
        runtime: as `runtime_files` finds it; without it the page waits for those files.
        example: a text that the page begins with.

    Raises:
        ConfigError: not two classifiers with the same labels and a WordPiece tokenizer.
        DeviceError: onnxruntime is not installed.
    """
    configs = [model.network.config for model in (teacher, student)]
    if any(getattr(config, "head", None) != "classify" for config in configs):
        raise ConfigError("the page classifies", allowed="two models with the head classify")
    if configs[0].labels != configs[1].labels:
        raise ConfigError(f"the student's labels are {', '.join(configs[1].labels)}", allowed="the teacher's")
    settings, words = _tokenizer(student)
    with replacing_folder(folder) as place:
        for name, model in (("teacher", teacher), ("student", student)):
            _write_int8(model, place / f"{name}.onnx")
        for file in runtime:
            shutil.copyfile(file, place / file.name)
        for source in importlib.resources.files("hortus.distillation").joinpath("page").iterdir():
            (place / source.name).write_bytes(source.read_bytes())
        write_json(place / "vocabulary.json", words)
        own = {"labels": list(configs[0].labels), "example": example}
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
    kinds = content["model"].get("type"), (content.get("normalizer") or {}).get("type")
    if kinds != ("WordPiece", "BertNormalizer"):
        raise ConfigError(f"a tokenizer of the kind {kinds[0]}", allowed="BERT's WordPiece, for the page")
    settings = {
        "lowercase": bool(content["normalizer"].get("lowercase")),
        "prefix": content["model"]["continuing_subword_prefix"],
        "longest_word": content["model"]["max_input_chars_per_word"],
        "cls": tokenizer.cls_id,
        "sep": tokenizer.sep_id,
        "unk": tokenizer.unk_id,
        "max_length": model.max_length,
    }
    return settings, content["model"]["vocab"]


def _write_int8(model: LanguageModel, path: Path) -> None:
    """Export, then weights of products and embeddings to int8 (onnxruntime's dynamic quantization)."""
    quantization = require("onnxruntime.quantization", extra="export")
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(model, Path(folder) / "whole")
        whole = Path(folder) / "whole" / "model.onnx"
        # Seven bits: sums of eight-bit products saturate on processors without VNNI, and not in the browser.
        kind = quantization.QuantType.QInt8
        quantization.quantize_dynamic(whole, path, weight_type=kind, reduce_range=True)


def int8_probabilities(folder: Path, name: str, rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, float]:
    """What onnxruntime on one thread says of token ids, and its median milliseconds for a row.

    Args:
        folder: as `write_page` leaves it.
        name: "teacher" or "student".
    """
    onnxruntime = require("onnxruntime", extra="export")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options)
    results, taken = [], []
    for row in rows:
        ids = np.array([row], dtype=np.int64)
        began = time.perf_counter()
        (logits,) = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        taken.append(1000 * (time.perf_counter() - began))
        weights = np.exp(logits[0] - logits[0].max())
        results.append(weights / weights.sum())
    return np.array(results), statistics.median(taken)


def find_browser() -> str | None:
    """The path of an installed Chromium, or None."""
    return next((path for name in _BROWSERS if (path := shutil.which(name))), None)


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The folder behind a static server on this machine."""

    class Silent(http.server.SimpleHTTPRequestHandler):
        extensions_map = {
            **http.server.SimpleHTTPRequestHandler.extensions_map,
            ".mjs": "text/javascript",
            ".wasm": "application/wasm",
        }

        def log_message(self, format: str, *values: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Silent, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/index.html"
    finally:
        server.shutdown()
        server.server_close()


def measure_page(
    folder: Path, texts: Sequence[str], browser: str
) -> tuple[dict[str, dict[str, float]], dict[str, list[dict[str, Any]]]]:
    """Open the page in Chromium, take it off the network once it is ready, then classify and time.

    Args:
        browser: path of the executable.

    Returns:
        By model {bytes, load, latency, memory} (milliseconds and bytes), and its answers {label,
        probabilities, ids} to the texts.

    Raises:
        DeviceError: Playwright is not installed, or the page does not load.
    """
    playwright = require("playwright.sync_api", extra="dev")
    figures: dict[str, dict[str, float]] = {}
    answers: dict[str, list[dict[str, Any]]] = {}
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for name in ("teacher", "student"):
            context = chromium.new_context()
            page = context.new_page()
            with _served(folder) as address:
                page.goto(f"{address}?only={name}")
                if not page.evaluate("window.ready"):
                    raise DeviceError(f"{name}: {page.text_content('#state')}", do="write the page again")
            context.set_offline(True)  # and the server has ended
            answers |= page.evaluate("texts => window.classify(texts)", list(texts))
            figures |= page.evaluate("window.measure()")
            context.close()
        chromium.close()
    return figures, answers


def page_table(folder: Path, figures: dict[str, dict[str, float]], tokens: int) -> Table:
    """The study's table: sizes, and times in the browser and on one thread of the processor."""
    rows = []
    for name in ("teacher", "student"):
        _, native = int8_probabilities(folder, name, [[5] * tokens] * _REPEATS)
        size = (folder / f"{name}.onnx").stat().st_size
        one = figures.get(name, {})
        memory = one["memory"] / 1e6 if one else None
        rows.append([name, size / 1e6, one.get("load"), memory, one.get("latency"), native])
    columns = ["model", "file, MB", "load in Chromium, ms", "memory of the runtime, MB"]
    columns += [f"one text of {tokens} tokens in Chromium, ms", "the same in onnxruntime, one thread, ms"]
    return Table("On device, int8", columns, rows)


def study(
    teacher: Path, student: Path, folder: Path, runtime: Path | None, texts: Sequence[str]
) -> tuple[Table, str]:
    """Write the page for two finetuned classifiers and measure it, as far as what is installed allows.

    Args:
        teacher, student: their folders.
        runtime: as `runtime_files` takes it.
        texts: the first is what the page begins with; browser and Python must give all the same labels.

    Returns:
        The table, and what its empty columns lack, or "".

    Raises:
        ConfigError, DeviceError: as `write_page` and `measure_page`.
    """
    opened = [LanguageModel.load(place, device="cpu", dtype="float32") for place in (teacher, student)]
    browser, tokens, lacking = find_browser(), opened[1].max_length, ""
    files: list[Path] = []
    try:
        files = runtime_files(runtime)
    except DeviceError as error:
        lacking = str(error)
    write_page(opened[0], opened[1], folder, files, texts[0])
    if not lacking and browser is None:
        lacking = f"no browser is installed: none of {', '.join(_BROWSERS)}"
    if not lacking and importlib.util.find_spec("playwright") is None:
        lacking = "Playwright is not installed: pip install playwright"
    if lacking or browser is None:
        return page_table(folder, {}, tokens), f"Not measured in a browser: {lacking}"
    figures, answers = measure_page(folder, texts, browser)
    labels = opened[0].network.config.labels
    for name, found in answers.items():
        native, _ = int8_probabilities(folder, name, [one["ids"] for one in found])
        if [one["label"] for one in found] != [labels[index] for index in native.argmax(1)]:
            raise DeviceError(f"{name}: the browser's labels differ from Python's", do="please report this")
    return page_table(folder, figures, tokens), ""
