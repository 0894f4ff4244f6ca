"""The examples in the docstrings of both rooms run; importing settings imports no torch."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import hortus.corpus
import hortus.corpus.steps
import hortus.tokenizer

MODULES = [
    module.name
    for package in (hortus.corpus, hortus.corpus.steps, hortus.tokenizer)
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + ".")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_public_names_resolve():
    for package in (hortus.corpus, hortus.tokenizer):
        assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hortus.corpus.nothing  # noqa: B018


def test_settings_and_commands_import_no_torch():
    code = (
        "import sys, hortus.corpus.config, hortus.tokenizer.config, hortus.cli.corpus, hortus.cli.tokenizer;"
        "print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
