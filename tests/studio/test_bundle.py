"""The committed page is the one that web/ builds, small, and free of what its policy refuses."""

from __future__ import annotations

import gzip
import subprocess

from tests.studio.browser import ROOT

STATIC = ROOT / "src" / "hortus" / "studio" / "static"


def test_the_bundle_is_built_from_its_sources() -> None:
    result = subprocess.run([ROOT / "scripts" / "bundle", "--hash"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_bundle_is_small() -> None:
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < 300_000
    assert {path.suffix for path in files} <= {".html", ".js", ".css", ".svg", ".sha256"}


def test_the_page_holds_no_inline_script_and_names_no_other_host() -> None:
    page = (STATIC / "index.html").read_text()
    assert page.count("<script") == page.count('<script type="module" crossorigin src="/assets/') == 1
    assert "style=" not in page and "://" not in page
