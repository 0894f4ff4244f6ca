"""What the README shows works: its Python runs, its commands and links exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hortus.cli import VERBS
from hortus.language import LanguageModel
from hortus.models import build_network
from hortus.tokenizer import TokenizerConfig, train_tokenizer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    tokenizer = train_tokenizer(["The sky is blue. Hello."] * 5, TokenizerConfig(vocab_size=270))
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "n_layer": 1, "n_head": 2, "vocab_size": tokenizer.vocab_size}
    model = LanguageModel(build_network({"model_type": "bloom", **shape}), tokenizer)
    model.save(tmp_path / "runs" / "quickstart" / "model")
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "copy" / "model.safetensors").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_links_exist(page: Path) -> None:
    text = page.read_text()
    for block in re.findall(r"^```(?:bash|sh)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for verb in re.findall(r"^(?:\.venv/bin/)?hortus ([a-z]+)", block, re.MULTILINE):
            assert verb in VERBS, f"{page.name}: hortus {verb}"
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
