"""The BLOOM network: flags, initial weights, padding, documents, caching, checkpointed activations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hortus.models.bloom import Bloom, BloomConfig
from hortus.models.layers.cache import StaticCache


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def small(**changes: object) -> Bloom:
    shape = {"vocab_size": 40, "hidden_size": 30, "num_layers": 3, "num_heads": 6, "initializer_range": 0.2}
    return Bloom(BloomConfig(**(shape | changes))).eval()  # type: ignore[arg-type]


def tokens(batch: int, length: int) -> Tensor:
    return torch.randint(0, 40, (batch, length))


def test_initial_weights_are_those_of_training() -> None:
    network = Bloom(BloomConfig(vocab_size=2000, hidden_size=96, num_layers=8, num_heads=4))
    wide, narrow = math.sqrt(1 / (3 * 96)), math.sqrt(1 / (3 * 96)) / math.sqrt(16)
    block = network.blocks[3]
    for weight, expected in (
        (network.embedding.weight, wide),
        (block.attention.query_key_value.weight, wide),
        (block.feed_forward.expand.weight, wide),
        (block.attention.output.weight, narrow),
        (block.feed_forward.contract.weight, narrow),
    ):
        assert weight.std().item() == pytest.approx(expected, rel=0.03)
        assert abs(weight.mean().item()) < 0.05 * expected
    assert not any(p.any() for name, p in network.named_parameters() if name.endswith("bias"))
    assert all((p == 1).all() for name, p in network.named_parameters() if name.endswith("norm.weight"))


def test_head_is_hidden_times_embedding() -> None:
    network, ids = small(), tokens(2, 9)
    hidden = network.hidden(ids)
    assert hidden.shape == (2, 9, 30)
    torch.testing.assert_close(network(ids), hidden @ network.embedding.weight.T)
    assert network.head_weight is network.embedding.weight


def test_later_tokens_do_not_change_earlier_logits() -> None:
    network, ids = small(), tokens(1, 80)
    other = ids.clone()
    other[:, 70:] = (other[:, 70:] + 1) % 40
    torch.testing.assert_close(network(ids)[:, :70], network(other)[:, :70])
    assert not torch.allclose(network(ids)[:, 70:], network(other)[:, 70:])


@pytest.mark.parametrize("after_norm", [False, True])
@pytest.mark.parametrize("length", [11, 90])
def test_left_padding_changes_nothing(after_norm: bool, length: int) -> None:
    network, ids = small(apply_residual_connection_post_layernorm=after_norm), tokens(1, length)
    padded = torch.cat([torch.full((1, 7), 3), ids], 1)
    mask = torch.ones_like(padded)
    mask[:, :7] = 0
    torch.testing.assert_close(network(padded, mask)[:, 7:], network(ids), rtol=0, atol=2e-5)


@pytest.mark.parametrize("lengths", [[4, 9, 1], [100, 60, 140]])
def test_packed_documents_equal_separate_ones(lengths: list[int]) -> None:
    network = small()
    documents = [tokens(1, n) for n in lengths]
    segments = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))[None]
    packed = network.hidden(torch.cat(documents, 1), segment_ids=segments)
    separate = torch.cat([network.hidden(document) for document in documents], 1)
    torch.testing.assert_close(packed, separate, rtol=0, atol=2e-5)


@pytest.mark.parametrize("pieces", [[20], [7, 13], [1] * 20, [70, 1, 1, 30]])
@pytest.mark.parametrize("padding", [0, 5])
def test_cached_logits_equal_uncached(pieces: list[int], padding: int) -> None:
    network, length = small(), sum(pieces) + padding
    ids, mask = tokens(2, length), torch.ones(2, length, dtype=torch.long)
    mask[0, :padding] = 0
    cache = StaticCache(num_layers=3, batch=2, num_heads=6, capacity=length, head_size=5)
    parts, start = [], 0
    for size in [pieces[0] + padding, *pieces[1:]]:
        stop = start + size
        seen = mask[:, :stop] if padding else None
        parts.append(network.hidden(ids[:, start:stop], attention_mask=seen, cache=cache))
        start = stop
    whole = network.hidden(ids, attention_mask=mask if padding else None)
    real = mask.bool()
    torch.testing.assert_close(torch.cat(parts, 1)[real], whole[real], rtol=0, atol=2e-5)


def test_recomputed_activations_give_the_same_gradients() -> None:
    network, ids = small().train(), tokens(2, 70)
    gradients = []
    for recompute in (False, True):
        network.activation_checkpointing = recompute
        network.zero_grad()
        network(ids).square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(list(network.parameters()))
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("kind", ["hidden_dropout", "attention_dropout"])
def test_dropout_acts_in_training_only(kind: str) -> None:
    network, ids = small(**{kind: 0.5}), tokens(1, 10)
    torch.testing.assert_close(network(ids), network(ids), rtol=0, atol=0)
    network.train()
    assert not torch.allclose(network(ids), network(ids))


def test_autocast_in_bfloat16_stays_near() -> None:
    network, ids = small(), tokens(2, 66)
    exact = network(ids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(ids)
    assert (rough.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_compiled_hidden_equals_eager() -> None:
    """The blocks step aside for the traceable kernel; "eager" traces without generating code."""
    network, ids = small(), tokens(1, 70)
    compiled = torch.compile(network.hidden, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(ids), network.hidden(ids), rtol=0, atol=2e-5)
