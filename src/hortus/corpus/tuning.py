"""Tune the filters' bounds as native speakers did for ROOTS: histograms, examples at the bound, its effect.

A sample of the sources is measured without being filtered. The page shows, for each filter and language,
where the bound lies in the histogram, the documents just inside and outside, and what moving it would drop;
saving writes the bounds to the file that the recipe names (bounds: PATH).
"""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

from hortus.corpus.bounds import Bounds
from hortus.corpus.config import CODE, CorpusConfig
from hortus.corpus.documents import batches
from hortus.corpus.files import ReadLog
from hortus.corpus.kernels import COLUMNS
from hortus.corpus.languages import identify_all
from hortus.corpus.pipeline import make_step
from hortus.corpus.sources import read_sources
from hortus.corpus.steps.filters import CHECKS, filter_values, stop_words
from hortus.errors import ConfigError, DataError

__all__ = ["Sample", "measure_sample", "name_bounds_in_recipe", "serve_tuning", "tuning_page"]

SNIPPET = 400
Sample = dict[str, list[dict[str, Any]]]  # language -> documents: {"values": {filter: number}, "text"}


def measure_sample(config: CorpusConfig, per_language: int = 300) -> Sample:
    """The filter values of the first documents of every language, rewritten as the filters see them.

    Raises:
        DataError: the sources hold no document that is not code.
    """
    bounds = Bounds(config.bounds)
    steps = [make_step(name, config) for name in ("length", "language", "rewrite")]
    sample: Sample = defaultdict(list)
    for batch in batches(read_sources(config, ReadLog())):
        for step in steps:
            batch, _ = step.apply(batch)
        languages = batch.column("language").to_pylist()
        wanted = [
            row
            for row, language in enumerate(languages)
            if language != CODE and len(sample[language]) < per_language
        ]
        if not wanted:
            continue
        part = batch.take(wanted)
        texts = part.column("text").to_pylist()
        scores = [score for _, score in identify_all(texts, config.language_characters)]
        values = filter_values(part, bounds, {}).tolist()
        for row, text, language, score in zip(
            values, texts, part.column("language").to_pylist(), scores, strict=True
        ):
            named = dict(zip(COLUMNS, row, strict=True)) | {"language_score": round(score, 4)}
            sample[language].append({"values": named, "text": text[:SNIPPET]})
    sample = {language: documents[:per_language] for language, documents in sample.items() if documents}
    if not sample:
        raise DataError("there is no document to tune by", do="name sources with text other than code")
    return sample


def tuning_page(sample: Sample, bounds: Bounds, token: str = "") -> str:
    """The page as one HTML file. With a token it can save to the server that served it."""
    filters = [
        {"value": value, "bound": bound, "least": least}
        for value, bound, least, _ in CHECKS
        if value != "flagged_words"
    ]
    filters.append({"value": "language_score", "bound": "language_score", "least": True})
    data = {
        "filters": filters,
        "languages": {
            language: {
                "bounds": {entry["bound"]: bounds.of(language)[str(entry["bound"])] for entry in filters},
                "default": bounds.is_default(language),
                "stop": bool(stop_words(language)),
                "documents": documents,
            }
            for language, documents in sorted(sample.items())
        },
    }
    page = resources.files("hortus.corpus").joinpath("data/tuning.html").read_text("utf-8")
    # "<" is escaped so that no text of a document can end the script element.
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    return page.replace("/*DATA*/null", text).replace("/*TOKEN*/", token)


def serve_tuning(
    sample: Sample, bounds: Bounds, path: Path, port: int = 0, ready: Callable[[str], None] = print
) -> None:
    """Serve the page on this machine until interrupted; saving writes `path`.

    Args:
        ready: called with the page's address.
    """
    with _server(sample, bounds, path, port) as server:
        ready(f"http://127.0.0.1:{server.server_port}/")
        server.serve_forever()


def _server(sample: Sample, bounds: Bounds, path: Path, port: int) -> ThreadingHTTPServer:
    token = secrets.token_urlsafe(16)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, tuning_page(sample, bounds, token).encode(), "text/html; charset=utf-8")

        def do_POST(self) -> None:
            # The token keeps pages of other sites from writing here.
            if self.headers.get("X-Token") != token:
                return self._answer(403, b"{}")
            try:
                body = json.loads(self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 1 << 20)))
                for language, changes in body.items():
                    if language in sample:
                        known = {
                            name: float(value)
                            for name, value in changes.items()
                            if name in bounds.of(language)
                        }
                        bounds.save(path, language, known)
            except (ValueError, TypeError, AttributeError):
                return self._answer(400, b"{}")
            return self._answer(200, json.dumps({"saved": str(path)}).encode())

        def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing on the terminal."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def name_bounds_in_recipe(recipe: Path, bounds: Path) -> None:
    """Add `bounds: PATH` to the recipe's corpus stage, every other line as it was.

    Raises:
        ConfigError: the recipe has no corpus stage that stands on a line of its own.
    """
    lines = recipe.read_text("utf-8").splitlines(keepends=True)
    place = next((i for i, line in enumerate(lines) if line.strip() == "corpus:"), None)
    if place is None or place + 1 >= len(lines):
        raise ConfigError(
            f"{recipe} has no stage `corpus:` on a line of its own", do=f"add: bounds: {bounds}"
        )
    following = next(
        line for line in lines[place + 1 :] if line.strip() and not line.lstrip().startswith("#")
    )
    indent = following[: len(following) - len(following.lstrip())]
    lines.insert(place + 1, f"{indent}bounds: {bounds}\n")
    recipe.write_text("".join(lines), "utf-8")
