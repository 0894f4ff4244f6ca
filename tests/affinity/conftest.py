"""The generated example, read and prepared once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("rdkit")
pytest.importorskip("gemmi")

from hortus.affinity.example import write_example
from hortus.affinity.store import ComplexStore, find_complexes, prepare_folder


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_example(tmp_path_factory.mktemp("affinity") / "example")


@pytest.fixture(scope="session")
def store(example: Path, tmp_path_factory: pytest.TempPathFactory) -> ComplexStore:
    return prepare_folder(find_complexes(example), tmp_path_factory.mktemp("store") / "store")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
