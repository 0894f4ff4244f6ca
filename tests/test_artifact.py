"""The artifact folder: written whole or not at all, read strictly or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch

import hortus
from hortus import artifact
from hortus.artifact import (
    ModelCard,
    check_tensors,
    read_tensors,
    replacing_file,
    replacing_folder,
    write_artifact,
)
from hortus.errors import ArtifactError, DeviceError

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b.bias": torch.ones(4, dtype=torch.bfloat16)}


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_round_trip_in_one_file_and_in_shards(tmp_path: Path) -> None:
    for limit, files in [(10**9, 1), (20, 2)]:
        folder = tmp_path / str(limit)
        write_artifact(folder, config={"model_type": "bloom"}, tensors=TENSORS, max_shard_bytes=limit)
        found = read_tensors(folder)
        assert len(list(folder.glob("*.safetensors"))) == files
        assert found.keys() == TENSORS.keys()
        assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_card_recipe_and_extra_files_are_part_of_the_folder(tmp_path: Path) -> None:
    card = ModelCard(
        name="tiny", kind="bloom", languages=("en", "fr"), results={"loss": 1.5}, energy_kwh=0.02
    )
    write_artifact(
        tmp_path / "model",
        config={"model_type": "bloom"},
        tensors=TENSORS,
        card=card,
        recipe={"name": "x"},
        extra=lambda folder: (folder / "tokenizer.json").write_text("{}"),
    )
    assert ModelCard.read(tmp_path / "model") == card
    assert (tmp_path / "model" / "tokenizer.json").read_text() == "{}"
    assert "name: x" in (tmp_path / "model" / "recipe.yaml").read_text()
    assert leftovers(tmp_path) == []


def test_a_failed_write_leaves_the_old_folder_and_file(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    with replacing_folder(folder) as temporary:
        (temporary / "a").write_text("old")
    with replacing_file(file) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), replacing_folder(folder) as temporary:
        (temporary / "a").write_text("new")
        raise RuntimeError
    with pytest.raises(RuntimeError), replacing_file(file) as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert (folder / "a").read_text() == file.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_a_full_disk_is_named_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DeviceError, match=r"No space left.*free space"), replacing_file(file) as temporary:
        temporary.write_text("new")
    assert file.read_text() == "old"


def test_corrupt_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(ArtifactError, match=r"no config\.json"):
        artifact.read_config(tmp_path)
    write_artifact(folder, config={"model_type": "bloom"}, tensors=TENSORS, max_shard_bytes=20)
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(ArtifactError, match=r"model-00002-of-00002\.safetensors is corrupt"):
        read_tensors(folder)
    shard.unlink()
    with pytest.raises(ArtifactError, match=r"lacks 1 shards: model-00002"):
        read_tensors(folder)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    with pytest.raises(ArtifactError, match="names the path"):
        read_tensors(folder)


def test_pickled_weights_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(ArtifactError, match="hortus convert"):
        read_tensors(tmp_path)


def test_check_tensors_lists_at_most_ten() -> None:
    expected = {f"layer.{i}": (2,) for i in range(15)}
    with pytest.raises(ArtifactError, match=r"missing layer\.9 and 5 more|and 5 more"):
        check_tensors(expected, {}, "file")
    with pytest.raises(ArtifactError, match=r"extra b; a is \(3,\), not \(2,\)"):
        check_tensors({"a": (2,)}, {"a": (3,), "b": (1,)}, "file")


def test_load_refuses_unknown_families_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_artifact(tmp_path / "x", config={"model_type": "blom"}, tensors=TENSORS)
    with pytest.raises(ArtifactError, match="did you mean 'bloom'"):
        hortus.load(tmp_path / "x")
    with pytest.raises(ArtifactError, match="not a folder"):
        hortus.load(str(tmp_path / "missing"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ArtifactError, match="the hub says"):
        hortus.load("nobody/nothing")


def test_a_card_of_another_tool_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\n# Model\n\nText.\n")
    card = ModelCard.read(tmp_path)
    assert (card.licence, card.languages, card.notes) == ("mit", ("en",), "# Model\n\nText.")


def test_the_rail_option_puts_the_restrictions_into_the_card() -> None:
    text = ModelCard(name="x", rail=True).to_markdown()
    assert "license: bigscience-bloom-rail-1.0" in text
    assert "harm minors" in text
