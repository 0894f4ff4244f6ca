"""The page in Chromium: opened, taken off the network, asked and measured."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hortus.errors import DeviceError
from hortus.registry import require

__all__ = ["find_browser", "measure_page"]

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_browser() -> str:
    """The path of an installed Chromium that Playwright can drive.

    Raises:
        DeviceError: one of the two is missing.
    """
    found = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise DeviceError("no browser is installed", allowed=f"one of {', '.join(_BROWSERS)}")
    if importlib.util.find_spec("playwright") is None:
        raise DeviceError("Playwright is not installed", do="run: pip install playwright")
    return found


def measure_page(
    folder: Path, inputs: Sequence[Any], browser: str
) -> tuple[dict[str, dict[str, float]], dict[str, list[dict[str, Any]]]]:
    """Open the page, take it off the network once it is ready, then ask and time both models.

    Args:
        inputs: texts to classify, or pairs of question and context.
        browser: path of the executable.

    Returns:
        By model {bytes, load, latency, memory} (milliseconds and bytes), and its answers {answer,
        probability, ids, ...} in the order of the inputs.

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
            answers |= page.evaluate("inputs => window.ask(inputs)", list(inputs))
            figures |= page.evaluate("window.measure()")
            context.close()
        chromium.close()
    return figures, answers


class _Silent(http.server.SimpleHTTPRequestHandler):
    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, format: str, *values: Any) -> None:
        pass


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The folder behind a static server on this machine."""
    handler = functools.partial(_Silent, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/index.html"
    finally:
        server.shutdown()
        server.server_close()
