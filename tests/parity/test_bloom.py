"""BLOOM against a plain NumPy statement and against transformers."""

from __future__ import annotations

import logging
import math
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hortus.models import load_network, save_network
from hortus.models.bloom import Bloom, BloomConfig


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def numpy_logits(network: Bloom, ids: np.ndarray) -> np.ndarray:
    """BLOOM's forward pass for one sequence, (T,) -> (T, V), written down from the paper."""
    config = network.config
    state = {name: tensor.detach().double().numpy() for name, tensor in network.state_dict().items()}
    length, heads, size = len(ids), config.num_heads, config.head_size

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centered = x - x.mean(-1, keepdims=True)
        scaled = centered / np.sqrt(x.var(-1, keepdims=True) + config.layer_norm_epsilon)
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    power = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 / power * j) for j in range(1, power + 1)]
    slopes += [2 ** (-8 / (2 * power) * k) for k in range(1, 2 * (heads - power), 2)]

    def attention(x: np.ndarray, name: str) -> np.ndarray:
        fused = linear(x, f"{name}.query_key_value").reshape(length, heads, 3, size)
        context = np.empty((length, heads, size))
        for head in range(heads):
            query, key, value = (fused[:, head, i] for i in range(3))
            for position in range(length):
                scores = key[: position + 1] @ query[position] / math.sqrt(size)
                scores -= slopes[head] * (position - np.arange(position + 1))
                weights = np.exp(scores - scores.max())
                context[position, head] = weights @ value[: position + 1] / weights.sum()
        return linear(context.reshape(length, -1), f"{name}.output")

    states = norm(state["embedding.weight"][ids], "embedding_norm")
    for layer in range(config.num_layers):
        name, after = f"blocks.{layer}", config.apply_residual_connection_post_layernorm
        normed = norm(states, f"{name}.attention_norm")
        states = (normed if after else states) + attention(normed, f"{name}.attention")
        normed = norm(states, f"{name}.feed_forward_norm")
        wide = linear(normed, f"{name}.feed_forward.expand")
        wide = 0.5 * wide * (1 + np.tanh(0.79788456 * wide * (1 + 0.044715 * wide**2)))
        states = (normed if after else states) + linear(wide, f"{name}.feed_forward.contract")
    return norm(states, "final_norm") @ state["embedding.weight"].T


def disturbed(network: Bloom) -> Bloom:
    """Biases and norms away from 0 and 1, so that leaving one out would show."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return network.eval()


@pytest.mark.parametrize("heads", [1, 3, 8])
@pytest.mark.parametrize("after_norm", [False, True])
def test_numpy_statement(heads: int, after_norm: bool) -> None:
    torch.manual_seed(heads)
    config = BloomConfig(
        vocab_size=30,
        hidden_size=8 * heads,
        num_layers=2,
        num_heads=heads,
        initializer_range=0.2,
        apply_residual_connection_post_layernorm=after_norm,
    )
    network, ids = disturbed(Bloom(config)), torch.randint(0, 30, (70,))
    expected = numpy_logits(network, ids.numpy())
    np.testing.assert_allclose(network(ids[None])[0].detach().numpy(), expected, rtol=0, atol=1e-4)


def random_config(seed: int) -> dict[str, Any]:
    """Ten seeds cover heads 1 to 16, most of them no power of two, and both residual flags."""
    draw = random.Random(seed)
    heads = [1, 2, 3, 5, 6, 7, 11, 12, 13, 16][seed]
    return {
        "vocab_size": draw.randint(20, 200),
        "hidden_size": heads * draw.choice([2, 4, 6, 8]),
        "n_layer": draw.randint(1, 4),
        "n_head": heads,
        "layer_norm_epsilon": draw.choice([1e-5, 1e-6]),
        "initializer_range": 0.2,
        "apply_residual_connection_post_layernorm": bool(seed % 2),
    }


def padded_batch(vocabulary: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    length = [17, 65, 130][seed % 3]
    ids, mask = torch.randint(0, vocabulary, (3, length)), torch.ones(3, length, dtype=torch.long)
    mask[0, : 1 + seed] = 0
    mask[2, :9] = 0
    return ids, mask


@pytest.mark.parametrize("seed", range(10))
def test_checkpoints_of_transformers_open_here(seed: int, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    peer = transformers.BloomForCausalLM(transformers.BloomConfig(**random_config(seed))).eval()
    with torch.no_grad():
        for parameter in peer.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    peer.save_pretrained(tmp_path)
    ours = load_network(tmp_path)
    ids, mask = padded_batch(peer.config.vocab_size, seed)
    with torch.no_grad():
        expected, got = peer(ids, attention_mask=mask).logits, ours(ids, mask)
        torch.testing.assert_close(got[mask.bool()], expected[mask.bool()], rtol=0, atol=1e-4)
        torch.testing.assert_close(ours(ids), peer(ids).logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("seed", range(10))
def test_our_checkpoints_open_in_transformers_without_a_warning(
    seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    ours = disturbed(Bloom(BloomConfig.from_hugging_face(random_config(seed))))
    save_network(ours, tmp_path / "model", max_shard_bytes=10**9 if seed % 2 else 4000)
    logging.getLogger("transformers").propagate = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            peer, report = transformers.AutoModelForCausalLM.from_pretrained(
                tmp_path / "model", output_loading_info=True
            )
    finally:
        logging.getLogger("transformers").propagate = False
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(peer).__name__ == "BloomForCausalLM"
    ids, mask = padded_batch(peer.config.vocab_size, seed)
    with torch.no_grad():
        expected, got = peer(ids, attention_mask=mask).logits, ours(ids, mask)
    torch.testing.assert_close(got[mask.bool()], expected[mask.bool()], rtol=0, atol=1e-4)


def test_gradients_of_transformers_loss() -> None:
    transformers = pytest.importorskip("transformers")
    from hortus.models.bloom import FAMILY
    from hortus.objectives.causal import CausalLanguageModeling

    torch.manual_seed(0)
    ours = disturbed(Bloom(BloomConfig.from_hugging_face(random_config(4))))
    peer = transformers.BloomForCausalLM(transformers.BloomConfig(**random_config(4)))
    published = {FAMILY.names.published(name): x for name, x in ours.state_dict().items()}
    peer.load_state_dict(published, strict=False)
    ids = torch.randint(0, ours.config.vocab_size, (2, 70))
    total, count, _ = CausalLanguageModeling(ours, chunk=50).loss({"input_ids": ids})
    (total / count).backward()
    loss = peer(ids, labels=ids).loss
    loss.backward()
    torch.testing.assert_close(total / count, loss)
    theirs = dict(peer.named_parameters())
    for name, parameter in ours.named_parameters():
        expected = theirs[FAMILY.names.published(name)].grad
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=1e-5, msg=name)
