"""int8 and bfloat16 weights: the compiled products against the formula, and whole networks against fp32."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from hortus.errors import ArtifactError, ConfigError
from hortus.models import state_for_saving
from hortus.models.bloom import Bloom, BloomConfig
from hortus.models.decoder import Decoder, open_decoder, pack_network
from hortus.models.decoder.compiler import load_kernels
from hortus.models.decoder.packed import PACKINGS, PackedEmbedding, PackedLinear, pack_weight
from hortus.models.decoder.session import CompiledDecoder


def stock(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("packed", "session"):
        monkeypatch.setattr(f"hortus.models.decoder.{place}.load_kernels", lambda: None)


def restored(weight: torch.Tensor, packing: str) -> np.ndarray:
    packed, scale = pack_weight(weight, packing)
    wide = packed.to(torch.float64).numpy()
    return wide if scale is None else wide * scale.double().numpy()[:, None]


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize(
    ("rows", "width", "out"), [(1, 64, 48), (3, 33, 7), (5, 9, 4), (40, 64, 48), (2, 9000, 6)]
)
def test_products_equal_the_formula(packing, rows, width, out, kernels, monkeypatch) -> None:
    torch.manual_seed(rows)
    layer, states = nn.Linear(width, out), torch.randn(rows, width)
    if not kernels:
        stock(monkeypatch)
        if width % 16 or out % 16:
            pytest.skip("the stock int8 product wants multiples of 16")
    expected = states.double().numpy() @ restored(layer.weight.detach(), packing).T
    expected = expected + layer.bias.detach().double().numpy()
    with torch.inference_mode():
        computed = PackedLinear(layer, packing)(states).numpy()
    # PyTorch rounds the states to bfloat16 too, the integer kernel to 16 bits of their largest.
    close = 1e-4 if packing == "int8" else 1e-5 if kernels else 3e-2
    np.testing.assert_allclose(computed, expected, rtol=0, atol=close * np.abs(expected).max())


@pytest.mark.parametrize("packing", PACKINGS)
def test_embedding_and_head_share_one_table(packing) -> None:
    weight = torch.randn(10, 6)
    embedding = PackedEmbedding(weight, packing)
    table = restored(weight, packing)
    ids = torch.tensor([[3, 9]])
    np.testing.assert_allclose(embedding(ids).numpy(), table[ids.numpy()], rtol=1e-6)
    logits = embedding.project(torch.eye(6)).numpy()
    np.testing.assert_allclose(logits, table.T, rtol=1e-5, atol=1e-6)


def test_rows_of_zeros_and_rounding_error() -> None:
    weight = torch.cat([torch.zeros(1, 8), torch.randn(5, 8)])
    error = np.abs(restored(weight, "int8") - weight.numpy())
    assert not error[0].any()
    assert (error <= weight.abs().amax(1).numpy()[:, None] / 254 + 1e-7).all()


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_packed_network_steps_as_it_passes(packing) -> None:
    torch.manual_seed(0)
    network = Bloom(BloomConfig(vocab_size=50, hidden_size=48, num_layers=2, num_heads=3)).eval()
    packed = copy.deepcopy(network)
    pack_network(packed, packing)
    ids = torch.randint(50, (2, 40))
    with torch.inference_mode():
        whole, full = packed(ids), network(ids)
    scale = full.abs().max()
    assert 0 < (whole - full).abs().max() < 0.1 * scale
    close = {"rtol": 0, "atol": float((5e-4 if packing == "int8" else 2e-5) * scale)}
    decoder = open_decoder(packed, 2, 40)
    assert isinstance(decoder, CompiledDecoder) or type(decoder) is Decoder
    torch.testing.assert_close(decoder.prefill(ids[:, :37]), whole[:, 36], **close)
    for place in range(37, 40):
        stepped = decoder.step(ids[:, place])
        torch.testing.assert_close(stepped, whole[:, place], **close)


def test_what_cannot_be_packed_or_saved() -> None:
    network = Bloom(BloomConfig(vocab_size=8, hidden_size=8, num_layers=1, num_heads=2))
    with pytest.raises(ConfigError, match="int8, bfloat16"):
        pack_network(network, "int3")
    pack_network(network, "int8")
    with pytest.raises(ArtifactError, match="packed weights"):
        state_for_saving(network)


def test_int8_rows_do_not_depend_on_their_neighbours() -> None:
    layer, states = PackedLinear(nn.Linear(80, 24), "int8"), torch.randn(7, 80)
    with torch.inference_mode():
        alone = torch.cat([layer(row[None]).clone() for row in states])
        assert load_kernels() is None or torch.equal(layer(states), alone)
