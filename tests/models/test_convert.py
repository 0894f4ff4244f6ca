"""Pickled checkpoints into safetensors, and files that are more than tensors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from hortus.errors import ArtifactError
from hortus.models import build_network, load_network, state_for_saving
from hortus.models.convert import convert_pickled

SHAPE = {
    "model_type": "distilbert",
    "vocab_size": 30,
    "dim": 16,
    "n_layers": 1,
    "n_heads": 2,
    "hidden_dim": 20,
}


class Harmful:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def pickled(folder: Path, shards: int = 1) -> Any:
    torch.manual_seed(0)
    network = build_network(SHAPE).eval()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SHAPE))
    state = {name: x.clone() for name, x in state_for_saving(network).items()}
    state["vocab_projector.weight"] = state["distilbert.embeddings.word_embeddings.weight"]  # shared memory
    names = list(state)
    for number in range(shards):
        name = "pytorch_model.bin" if shards == 1 else f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin"
        torch.save({key: state[key] for key in names[number::shards]}, folder / name)
    return network


@pytest.mark.parametrize("shards", [1, 3])
def test_old_files_open_after_conversion(shards: int, tmp_path: Path) -> None:
    network = pickled(tmp_path / "old", shards)
    with pytest.raises(ArtifactError, match="pickled weights.*hortus convert"):
        load_network(tmp_path / "old")
    assert len(convert_pickled(tmp_path / "old", tmp_path / "new")) == shards
    ids = torch.randint(0, 30, (2, 5))
    assert torch.equal(load_network(tmp_path / "new")(ids), network(ids))


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"a": Harmful(tmp_path / "harmed")}, tmp_path / "bad.bin")
    with pytest.raises(ArtifactError, match="bad.bin is not plain tensors"):
        convert_pickled(tmp_path / "bad.bin", tmp_path / "new")
    assert not (tmp_path / "harmed").exists() and not (tmp_path / "new").exists()


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no pickled weights"):
        convert_pickled(tmp_path, tmp_path / "new")
    torch.save([1, 2], tmp_path / "list.bin")
    with pytest.raises(ArtifactError, match="no dictionary of tensors"):
        convert_pickled(tmp_path / "list.bin", tmp_path / "new")
    (tmp_path / "text.bin").write_text("hello")
    with pytest.raises(ArtifactError, match="text.bin is not plain tensors"):
        convert_pickled(tmp_path / "text.bin", tmp_path / "new")
