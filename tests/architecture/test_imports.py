"""The shape of the package: what may be imported when, and which tables must agree with the tree."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import hortus
from hortus import registry
from hortus.cli import VERBS

SOURCE = Path(hortus.__file__).parent
HEAVY = ("torch", "numpy", "pandas", "numba", "scipy", "sklearn", "transformers", "matplotlib")


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stderr.split())


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_loads_nothing_heavy(verb: str) -> None:
    arguments = [verb, "--help"] if verb else ["--help"]
    call = f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code"
    code = f"from hortus.cli import main\n{call}"
    loaded = modules_after(code)
    assert not [name for name in HEAVY if name in loaded]


def test_settings_import_only_the_ground() -> None:
    rooms = [path.parent.name for path in SOURCE.glob("*/config.py")]
    code = "\n".join(f"import hortus.{room}.config" for room in rooms)
    loaded = modules_after(code)
    assert len(rooms) >= 6
    assert not [name for name in HEAVY if name in loaded]


def test_every_entry_of_the_tables_exists() -> None:
    for place in [
        *registry.KINDS.values(),
        *registry.STAGES.values(),
        *(place for place, _ in VERBS.values()),
    ]:
        assert callable(registry.resolve(place)) or registry.resolve(place) is not None


def test_no_room_holds_a_drawer_of_oddments() -> None:
    names = {path.stem for path in SOURCE.rglob("*.py")} | {path.name for path in SOURCE.iterdir()}
    assert not names & {"utils", "helpers", "common", "misc", "util", "helper"}


def test_public_names_exist() -> None:
    for path in SOURCE.glob("**/__init__.py"):
        name = ".".join(path.parent.relative_to(SOURCE.parent).parts)
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", []):
            assert hasattr(module, public), f"{name}.{public}"


def test_nothing_unpickles_or_evaluates() -> None:
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        for word in (
            "import pickle",
            "pickle.load",
            " eval(",
            " exec(",
            "yaml.load(text)",
            "yaml.unsafe_load",
        ):
            assert word not in text, f"{path}: {word}"
