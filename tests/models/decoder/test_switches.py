"""The decoder with switches: BLOOM at its defaults, and every switch against a plain statement of it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hortus
from hortus.errors import ConfigError, DataError
from hortus.language import LanguageModel
from hortus.models import build_network
from hortus.models.bloom import Bloom, BloomConfig
from hortus.models.decoder import DecoderConfig, HortusDecoder, open_decoder
from hortus.models.layers.alibi import alibi_slopes
from hortus.tokenizer import TokenizerConfig, train_tokenizer

SIZES: dict[str, Any] = {"vocab_size": 23, "hidden_size": 24, "num_layers": 2, "num_heads": 6}
POSITIONS = ("none", "learned", "rotary", "alibi")
IDS = torch.tensor([[4, 9, 2, 17, 9, 1, 20, 3, 3]])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def network(**switches: Any) -> HortusDecoder:
    torch.manual_seed(0)
    built = HortusDecoder(DecoderConfig(**SIZES | {"initializer_range": 0.2} | switches))
    for parameter in built.parameters():  # biases and norms that do something
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.3)
    return built.eval()


def test_defaults_are_bloom() -> None:
    ours = network()
    bloom = Bloom(BloomConfig(**SIZES)).eval()
    assert bloom.load_state_dict(ours.state_dict()).missing_keys == []
    ids = torch.randint(0, 23, (2, 80))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    segments = torch.arange(80)[None].expand(2, -1) // 33
    for arguments in ({}, {"attention_mask": mask}, {"segment_ids": segments}):
        assert torch.equal(ours.hidden(ids, **arguments), bloom.hidden(ids, **arguments))
    assert torch.equal(ours(ids), bloom(ids))
    assert ours.config.num_parameters == bloom.config.num_parameters


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(POSITIONS),
    st.sampled_from(["gelu", "swiglu"]),
    st.booleans(),
    st.sampled_from(["pre", "post", "sandwich"]),
    st.sampled_from([1, 2, 3, 6, None]),
    st.integers(1, 3),
)
def test_counts_are_exact(
    position: Any, gate: Any, norm: bool, placement: Any, groups: Any, depth: int
) -> None:
    config = DecoderConfig(
        **SIZES | {"num_layers": depth},
        position=position,
        activation=gate,
        embedding_norm=norm,
        norm_placement=placement,
        num_kv_heads=groups,
        max_positions=16,
    )
    with torch.device("meta"):
        built = HortusDecoder(config)
    assert config.num_parameters == sum(parameter.numel() for parameter in built.parameters())


def test_a_gate_has_as_many_parameters() -> None:
    for width in (128, 768, 2048):
        plain, gated = (
            DecoderConfig(hidden_size=width, num_heads=8, activation=a, vocab_size=1).num_parameters
            for a in ("gelu", "swiglu")
        )
        assert abs(gated / plain - 1) < 0.01


# A plain statement of the forward pass in NumPy, one row, one head at a time.


def norm(weights: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    if f"{name}.weight" not in weights:
        return x
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(weights: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def turned(x: np.ndarray) -> np.ndarray:
    """(T, d): complex numbers of columns i and i + d/2, turned by position · 10000^(-2i/d)."""
    length, width = x.shape
    pairs = x[:, : width // 2] + 1j * x[:, width // 2 :]
    angles = np.arange(length)[:, None] * 10_000.0 ** (-2 * np.arange(width // 2) / width)
    result = pairs * np.exp(1j * angles)
    return np.concatenate([result.real, result.imag], 1)


def attention(
    weights: dict[str, np.ndarray], name: str, x: np.ndarray, config: DecoderConfig, seen: np.ndarray
) -> np.ndarray:
    d, queries = config.head_size, config.num_heads // config.kv_heads
    rows = linear(weights, f"{name}.query_key_value", x).reshape(len(x), config.kv_heads, queries + 2, d)
    slopes = alibi_slopes(config.num_heads) if config.position == "alibi" else (0,) * config.num_heads
    distance = np.abs(np.subtract.outer(np.arange(len(x)), np.arange(len(x))))
    heads = []
    for head in range(config.num_heads):
        group = head // queries
        q, k, v = rows[:, group, head % queries], rows[:, group, queries], rows[:, group, queries + 1]
        if config.position == "rotary":
            q, k = turned(q), turned(k)
        scores = np.where(seen, q @ k.T / np.sqrt(d) - slopes[head] * distance, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        heads.append(shares / shares.sum(-1, keepdims=True) @ v)
    return linear(weights, f"{name}.output", np.concatenate(heads, 1))


def feed_forward(weights: dict[str, np.ndarray], name: str, x: np.ndarray, gated: bool) -> np.ndarray:
    inside = linear(weights, f"{name}.expand", x)
    if gated:
        gate = linear(weights, f"{name}.gate", x)
        return linear(weights, f"{name}.contract", gate / (1 + np.exp(-gate)) * inside)
    cubic = 0.79788456 * inside * (1 + 0.044715 * inside**2)
    return linear(weights, f"{name}.contract", 0.5 * inside * (1 + np.tanh(cubic)))


def plain_logits(built: HortusDecoder, ids: np.ndarray, seen: np.ndarray) -> np.ndarray:
    weights = {name: x.detach().double().numpy() for name, x in built.named_parameters()}
    config = built.config
    x = weights["embedding.weight"][ids]
    if config.position == "learned":
        x = x + weights["position_embedding.weight"][: len(ids)]
    x = norm(weights, "embedding_norm", x)
    for layer in range(config.num_layers):
        block = f"blocks.{layer}"
        parts = (
            ("attention", lambda y, b=block: attention(weights, f"{b}.attention", y, config, seen)),
            (
                "feed_forward",
                lambda y, b=block: feed_forward(
                    weights, f"{b}.feed_forward", y, config.activation == "swiglu"
                ),
            ),
        )
        for name, part in parts:
            if config.norm_placement == "post":
                x = norm(weights, f"{block}.{name}_norm", x + part(x))
            else:
                change = part(norm(weights, f"{block}.{name}_norm", x))
                x = x + norm(weights, f"{block}.{name}_after_norm", change)
    return norm(weights, "final_norm", x) @ weights["embedding.weight"].T


EARLIER = np.tril(np.ones((9, 9), bool))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(
    "others",
    [
        {},
        {"activation": "swiglu", "norm_placement": "sandwich"},
        {"norm_placement": "post", "num_kv_heads": 2},
        {"embedding_norm": False, "num_kv_heads": 1},
    ],
    ids=["plain", "gate-sandwich", "post-grouped", "multi-query"],
)
def test_every_switch_is_its_formula(position: str, others: dict[str, Any]) -> None:
    built = network(position=position, **others)
    expected = plain_logits(built, IDS[0].numpy(), EARLIER)
    np.testing.assert_allclose(built(IDS)[0].detach().numpy(), expected, atol=2e-4)


@pytest.mark.parametrize("position", POSITIONS)
def test_looking_both_ways(position: str) -> None:
    masked = network(position=position, objective="masked")
    expected = plain_logits(masked, IDS[0].numpy(), np.ones((9, 9), bool))
    np.testing.assert_allclose(masked(IDS)[0].detach().numpy(), expected, atol=2e-4)
    prefix = network(position=position, objective="prefix")
    seen = EARLIER.copy()
    seen[:, :4] = True
    got = prefix.head(prefix.hidden(IDS, prefix_lengths=torch.tensor([4])))[0].detach().numpy()
    np.testing.assert_allclose(got, plain_logits(prefix, IDS[0].numpy(), seen), atol=2e-4)


@pytest.mark.parametrize(("position", "groups"), list(itertools.product(POSITIONS, [2, 6])))
def test_cached_steps_and_trees_are_the_whole(position: str, groups: int) -> None:
    built = network(position=position, num_kv_heads=groups)
    expected = built(IDS)
    decoder = open_decoder(built, 1, 16)
    parts = [decoder.prefill(IDS[:, :5])] + [decoder.step(IDS[:, t]).clone() for t in range(5, 9)]
    torch.testing.assert_close(torch.stack(parts, 1), expected[:, 4:], rtol=0, atol=2e-5)
    # A stem of four tokens with two ways to go on.
    row = torch.cat([IDS[:, :4], IDS[:, 4:], IDS[:, 6:]], 1)
    hidden = built.hidden(row, trees=[(4, 5, 3)])
    torch.testing.assert_close(hidden[:, :9], built.hidden(IDS), rtol=0, atol=2e-5)
    other = built.hidden(torch.cat([IDS[:, :4], IDS[:, 6:]], 1))
    torch.testing.assert_close(hidden[:, 9:], other[:, 4:], rtol=0, atol=2e-5)


def test_a_prefix_is_what_a_fresh_cache_holds() -> None:
    built = network(objective="prefix", position="rotary")
    decoder = open_decoder(built, 1, 16)
    first = decoder.prefill(IDS[:, :5])
    prefix = torch.tensor([5])
    torch.testing.assert_close(first, built.head(built.hidden(IDS[:, :5], prefix_lengths=prefix))[:, -1])
    step = decoder.step(IDS[:, 5])
    torch.testing.assert_close(step, built.head(built.hidden(IDS[:, :6], prefix_lengths=prefix))[:, -1])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="9 positions.*at most 8"):
        network(position="learned", max_positions=8)(IDS)
    with pytest.raises(ConfigError, match="does not continue texts"):
        open_decoder(network(objective="masked"), 1, 16).prefill(IDS)
    with pytest.raises(ConfigError, match="position='rotery'.*rotary"):
        DecoderConfig(position="rotery")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="num_kv_heads=5.*divisors of 6"):
        DecoderConfig(**SIZES, num_kv_heads=5)
    with pytest.raises(ConfigError, match="tensor_parallel=4 does not divide 6"):
        network().take_heads(0, 4)


def test_opens_as_a_language_model(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a b c d e"] * 9, TokenizerConfig(vocab_size=262))
    shape = {"model_type": "hortus_decoder", "vocab_size": tokenizer.vocab_size, "hidden_size": 16}
    built = build_network(shape | {"num_layers": 1, "num_heads": 4, "num_kv_heads": 2, "position": "rotary"})
    LanguageModel(built.eval(), tokenizer).save(tmp_path / "model")
    model = hortus.load(tmp_path / "model")
    assert model.kind == "hortus_decoder" and model.network.config == built.config
    assert len(model.generate("a b", max_new_tokens=3, temperature=0)) > 0
    ranked = model.rank("a", ["b", "c"])
    assert ranked.shape == (2,) and np.isfinite(ranked).all()
