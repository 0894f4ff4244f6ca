"""Cached decoding against whole passes: the stock decoder and the compiled one alike."""

import numpy as np
import pytest
import torch

from hortus.errors import DataError
from hortus.models.bloom import Bloom, BloomConfig
from hortus.models.decoder import Decoder, open_decoder
from hortus.models.decoder.compiler import load_kernels
from hortus.models.decoder.session import CompiledDecoder
from hortus.models.layers.cache import StaticCache


@pytest.fixture(params=["stock", "compiled"])
def open_one(request):
    if request.param == "stock":
        return Decoder
    if load_kernels() is None:
        pytest.skip("no C compiler here")
    return open_decoder


def make_network(heads: int, width: int, vocabulary: int = 61, post: bool = False) -> Bloom:
    torch.manual_seed(heads)
    config = BloomConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_layers=3,
        num_heads=heads,
        initializer_range=0.2,
        apply_residual_connection_post_layernorm=post,
    )
    network = Bloom(config).eval()
    with torch.no_grad():  # biases and norms that are not trivially zero and one
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network


# Heads that are no power of two; widths that are no multiple of a vector; more rows than one tile holds.
@pytest.mark.parametrize(
    ("heads", "width", "rows"),
    [(1, 16, 1), (8, 64, 2), (3, 39, 3), (7, 70, 4), (6, 60, 5), (4, 32, 8), (5, 50, 9)],
)
@pytest.mark.parametrize("post", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_cached_equals_uncached(open_one, heads, width, rows, post, padded) -> None:
    torch.set_num_threads(1)
    network = make_network(heads, width, post=post)
    ids = torch.randint(0, 61, (rows, 12))
    mask = torch.ones_like(ids)
    if padded:
        for row in range(rows):
            mask[row, : row % 4] = 0
    with torch.no_grad():
        whole = network(ids, mask)
    decoder = open_one(network, rows, 12)
    close = {"rtol": 0, "atol": 1e-5 * float(whole.abs().max())}
    torch.testing.assert_close(decoder.prefill(ids[:, :4], mask[:, :4]), whole[:, 3], **close)
    torch.testing.assert_close(decoder.prefill(ids[:, 4:7]), whole[:, 6], **close)  # a second chunk
    for place in range(7, 12):
        torch.testing.assert_close(decoder.step(ids[:, place]), whole[:, place], **close)
    assert decoder.length == 12
    with pytest.raises(DataError, match="do not fit the cache"):
        decoder.step(ids[:, 0])


def test_rows_can_be_chosen_repeated_and_branched(open_one) -> None:
    network = make_network(3, 39)
    ids, mask = torch.randint(0, 61, (3, 6)), torch.tensor([[0, 0, 1, 1, 1, 1], [1] * 6, [0, 1, 1, 1, 1, 1]])
    with torch.no_grad():
        whole = network(ids, mask)
    decoder = open_one(network, 3, 8)
    decoder.prefill(ids[:, :4], mask[:, :4])
    branch = decoder.branch(torch.tensor([2, 0, 2]))
    torch.testing.assert_close(branch.step(ids[[2, 0, 2], 4]), whole[[2, 0, 2], 4], rtol=0, atol=1e-4)
    torch.testing.assert_close(decoder.step(ids[:, 4]), whole[:, 4], rtol=0, atol=1e-4)
    decoder.select(torch.tensor([1]))
    torch.testing.assert_close(decoder.step(ids[1:2, 5]), whole[1:2, 5], rtol=0, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_the_work(threads) -> None:
    if load_kernels() is None:
        pytest.skip("no C compiler here")
    network = make_network(5, 40, vocabulary=7)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        decoder = open_decoder(network, 2, 4)
        decoder.prefill(torch.tensor([[1, 2], [3, 4]]))
        stepped = decoder.step(torch.tensor([5, 6])).clone()
    finally:
        torch.set_num_threads(before)
    with torch.no_grad():
        expected = network(torch.tensor([[1, 2, 5], [3, 4, 6]]))[:, -1]
    torch.testing.assert_close(stepped, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("token", [-1, 61])
def test_ids_outside_the_vocabulary_are_refused(open_one, token) -> None:
    decoder = open_one(make_network(2, 32), 1, 4)
    decoder.prefill(torch.tensor([[1]]))
    with pytest.raises((DataError, IndexError)):
        decoder.step(torch.tensor([token]))


def test_long_attention_and_large_activations(open_one) -> None:
    network = make_network(2, 32)
    with torch.no_grad():
        network.blocks[0].feed_forward.expand.weight *= 40  # GELU far from zero on both sides
        network.blocks[0].attention.query_key_value.weight *= 10  # scores far apart
    ids = torch.randint(0, 61, (1, 301))
    with torch.no_grad():
        whole = network(ids)[:, -1]
    decoder = open_one(network, 1, 301)
    decoder.prefill(ids[:, :300])
    torch.testing.assert_close(decoder.step(ids[:, 300]), whole, rtol=1e-4, atol=1e-4)


def test_what_kernels_cannot_do_goes_through_pytorch(monkeypatch) -> None:
    network = make_network(2, 32)
    assert type(open_decoder(network.bfloat16(), 1, 4)) is Decoder
    network.float()
    monkeypatch.setenv("HORTUS_KERNELS", "0")
    load_kernels.cache_clear()
    try:
        assert type(open_decoder(network, 1, 4)) is Decoder
    finally:
        load_kernels.cache_clear()


def test_kernels_are_compiled_once_and_kept(monkeypatch, tmp_path) -> None:
    if load_kernels() is None:
        pytest.skip("no C compiler here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_kernels.cache_clear()
    try:
        assert load_kernels() is not None
        (kept,) = (tmp_path / "hortus" / "kernels").iterdir()
        made = kept.stat().st_mtime_ns
        load_kernels.cache_clear()
        assert load_kernels() is not None and kept.stat().st_mtime_ns == made
        assert isinstance(open_decoder(make_network(2, 32), 1, 4), CompiledDecoder)
    finally:
        load_kernels.cache_clear()


def test_a_compiler_that_fails_is_no_error(monkeypatch, tmp_path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho no headers >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_kernels.cache_clear()
    try:
        assert load_kernels() is None
        assert type(open_decoder(make_network(2, 32), 1, 4)) is Decoder
    finally:
        load_kernels.cache_clear()


def test_cache_holds_what_was_appended() -> None:
    cache = StaticCache(num_layers=2, batch=2, num_heads=3, capacity=5, head_size=4)
    generator = np.random.default_rng(0)
    # (key or value, layer, batch, heads, positions, width), appended in two calls
    whole = generator.normal(size=(2, 2, 2, 3, 3, 4)).astype(np.float32)
    for start, end in ((0, 2), (2, 3)):
        for layer in range(2):
            given = [torch.from_numpy(whole[kind, layer, :, :, start:end]) for kind in range(2)]
            got = cache.update(layer, given[0], given[1])
            np.testing.assert_array_equal(np.stack([x.numpy() for x in got]), whole[:, layer, :, :, :end])
    assert (cache.length, cache.capacity, cache.batch) == (3, 5, 2)
    chosen = cache.select(torch.tensor([1, 1, 0]), capacity=4)
    assert (chosen.length, chosen.capacity, chosen.batch) == (3, 4, 3)
    assert torch.equal(chosen.keys[:, 0, :, :3], cache.keys[:, 1, :, :3])
    cache.truncate(1)
    assert cache.length == 1
    with pytest.raises(DataError, match="6 positions do not fit the cache; allowed: 5"):
        cache.update(0, torch.zeros(2, 3, 5, 4), torch.zeros(2, 3, 5, 4))
