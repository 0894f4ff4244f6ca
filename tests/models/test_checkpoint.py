"""Checkpoint folders: strict reading, prefixes, shards, tied heads; the table of families."""

from __future__ import annotations

import doctest
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import hortus.models
from hortus.errors import ArtifactError, ConfigError
from hortus.models import available, build_network, family, load_network, save_network, state_for_saving
from hortus.models.bloom import FAMILY, Bloom, BloomConfig
from hortus.models.families import FAMILIES

SHAPE = BloomConfig(vocab_size=40, hidden_size=16, num_layers=12, num_heads=2)


@pytest.fixture
def network() -> Bloom:
    torch.manual_seed(0)
    return Bloom(SHAPE)


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    left, right = first.state_dict(), second.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def rewrite(folder: Path, change) -> None:  # type: ignore[no-untyped-def]
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def test_save_then_load_is_identical(network: Bloom, tmp_path: Path) -> None:
    save_network(network, tmp_path / "model")
    loaded = load_network(tmp_path / "model")
    assert same(network, loaded) and not loaded.training
    assert loaded.config == SHAPE.__class__(**SHAPE.__dict__ | {"initializer_range": SHAPE.initial_deviation})
    assert json.loads((tmp_path / "model/config.json").read_text())["dtype"] == "float32"


def test_shards_without_the_prefix(network: Bloom, tmp_path: Path) -> None:
    save_network(network, tmp_path / "model", max_shard_bytes=20_000)
    assert len(list((tmp_path / "model").glob("model-*.safetensors"))) > 3
    index = json.loads((tmp_path / "model/model.safetensors.index.json").read_text())
    for path in (tmp_path / "model").glob("model-*.safetensors"):
        tensors = {name.removeprefix("transformer."): x for name, x in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
    index["weight_map"] = {k.removeprefix("transformer."): v for k, v in index["weight_map"].items()}
    (tmp_path / "model/model.safetensors.index.json").write_text(json.dumps(index))
    assert same(network, load_network(tmp_path / "model"))


def test_tied_head_may_be_present_but_not_different(network: Bloom, tmp_path: Path) -> None:
    save_network(network, tmp_path)
    name = "transformer.word_embeddings.weight"
    rewrite(tmp_path, lambda state: state | {"lm_head.weight": state[name].clone()})
    assert same(network, load_network(tmp_path))
    rewrite(tmp_path, lambda state: state | {"lm_head.weight": state[name] + 1})
    with pytest.raises(ArtifactError, match="lm_head.weight.*tied"):
        load_network(tmp_path)


def test_dtype_is_kept_or_converted(network: Bloom, tmp_path: Path) -> None:
    save_network(network.to(torch.bfloat16), tmp_path)
    assert {p.dtype for p in load_network(tmp_path).parameters()} == {torch.bfloat16}
    assert {p.dtype for p in load_network(tmp_path, dtype=torch.float32).parameters()} == {torch.float32}


def test_missing_extra_and_misshapen_tensors_are_listed(network: Bloom, tmp_path: Path) -> None:
    save_network(network, tmp_path)

    def spoil(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        del state["transformer.h.3.mlp.dense_h_to_4h.bias"]
        state["transformer.h.12.input_layernorm.bias"] = torch.zeros(16)
        state["transformer.ln_f.weight"] = torch.ones(15)
        return state

    rewrite(tmp_path, spoil)
    with pytest.raises(ArtifactError) as caught:
        load_network(tmp_path)
    for part in (
        "missing h.3.mlp.dense_h_to_4h.bias",
        "extra h.12.input_layernorm.bias",
        "ln_f.weight is (15,), not (16,)",
    ):
        assert part in str(caught.value)


def test_at_most_ten_are_listed(network: Bloom, tmp_path: Path) -> None:
    save_network(network, tmp_path)
    rewrite(tmp_path, lambda state: {n: x for n, x in state.items() if "layernorm" not in n})
    with pytest.raises(ArtifactError) as caught:
        load_network(tmp_path)
    assert str(caught.value).count("missing") == 10 and "40 more" in str(caught.value)


def test_a_name_with_and_without_prefix_is_refused(network: Bloom, tmp_path: Path) -> None:
    save_network(network, tmp_path)
    rewrite(tmp_path, lambda state: state | {"ln_f.bias": torch.zeros(16)})
    with pytest.raises(ArtifactError, match="ln_f.bias.*with and without"):
        load_network(tmp_path)


def test_truncated_file_is_named(network: Bloom, tmp_path: Path) -> None:
    save_network(network, tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="model.safetensors is corrupt"):
        load_network(tmp_path)


def test_unknown_family_is_named() -> None:
    with pytest.raises(ConfigError, match="'blum'.*did you mean 'bloom'"):
        build_network({"model_type": "blum"})
    with pytest.raises(ConfigError, match="model_type=None"):
        family(None)


@pytest.mark.parametrize("model_type", available())
def test_each_family_names_every_parameter_both_ways(model_type: str) -> None:
    assert family(model_type).build.model_type == model_type


def test_bloom_names_are_the_published_ones(network: Bloom) -> None:
    names = state_for_saving(network)
    assert len(names) == 2 + 2 + 2 + 12 * 12 - 1
    assert names["transformer.h.11.self_attention.query_key_value.weight"].shape == (48, 16)
    assert "lm_head.weight" not in names
    for own, parameter in network.named_parameters():
        published = FAMILY.names.published(own)
        assert names[published].data_ptr() == parameter.data_ptr()
        assert FAMILY.names.own(published) == own
        assert FAMILY.names.own(published.removeprefix("transformer.")) == own
    with pytest.raises(KeyError):
        FAMILY.names.published("blocks.0.unknown.weight")


def test_sizes_are_listed_without_torch() -> None:
    code = "import sys, hortus.models; hortus.models.available(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_exported_name_exists() -> None:
    for module in (
        hortus.models,
        *(importlib.import_module(home.partition(":")[0]) for home in FAMILIES.values()),
    ):
        assert all(getattr(module, name) is not None for name in module.__all__)
        with pytest.raises(AttributeError):
            module.nothing_of_the_kind  # noqa: B018


@pytest.mark.parametrize(
    "name",
    [
        "families",
        "checkpoint",
        "keys",
        "bert.config",
        "bert.network",
        "bloom.config",
        "bloom.network",
        "distilbert.config",
        "distilbert.network",
        "t5.config",
        "t5.network",
        "t5.session",
        "layers.relative_position",
        "layers.alibi",
        "layers.cross_entropy",
    ],
)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"hortus.models.{name}"))
    assert result.attempted > 0 and result.failed == 0
