"""Formulas against counted parameters and operations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hortus.budget import count
from hortus.errors import ConfigError
from hortus.models.bert.config import BertConfig
from hortus.models.bloom.config import PUBLISHED, BloomConfig
from hortus.models.decoder.config import DecoderConfig
from hortus.models.distilbert.config import DistilBertConfig
from hortus.models.families import family
from hortus.models.t5.config import T5Config

FEW = settings(max_examples=12, deadline=None)
sizes = st.integers(1, 3)
lengths = st.integers(2, 9)
# Enough to leave the kernels whose inner products the counter does not see.
DROPOUT = 0.1


def counted(model_type: str, config: Any, *inputs: torch.Tensor) -> tuple[int, int, int]:
    """Parameters, operations of the forward pass, operations of forward and backward."""
    network = family(model_type).build(config).train()
    flops = []
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        output = network(*inputs)
        flops.append(counter.get_total_flops())
        output.sum().backward()
        flops.append(counter.get_total_flops())
    return sum(parameter.numel() for parameter in network.parameters()), flops[0], flops[1]


def check(model_type: str, config: Any, rows: int, length: int, target: int | None = None) -> None:
    inputs = [torch.zeros(rows, size, dtype=torch.long) for size in (length, target) if size is not None]
    counts = count(config, rows=rows, length=length, target_length=target)
    found = counted(model_type, config, *inputs)
    assert found == (counts.parameters, counts.forward_flops, counts.training_flops)
    assert counts.tokens == rows * (target or length)


@FEW
@given(sizes, sizes, st.integers(1, 4), st.integers(1, 40), sizes, lengths)
def test_bloom(layers: int, heads: int, head_size: int, words: int, rows: int, length: int) -> None:
    config = BloomConfig(
        num_layers=layers,
        num_heads=heads,
        hidden_size=heads * head_size,
        vocab_size=words,
        attention_dropout=DROPOUT,
    )
    check("bloom", config, rows, length)


@FEW
@given(
    sizes,
    st.sampled_from([(2, 1), (2, 2), (4, 2)]),
    st.sampled_from(["none", "learned", "rotary", "alibi"]),
    st.sampled_from(["gelu", "swiglu"]),
    st.sampled_from(["pre", "post", "sandwich"]),
    st.booleans(),
    lengths,
)
def test_the_decoder_with_switches(
    layers: int,
    heads: tuple[int, int],
    position: Any,
    activation: Any,
    placement: Any,
    embedding_norm: bool,
    length: int,
) -> None:
    config = DecoderConfig(
        vocab_size=17,
        hidden_size=4 * heads[0],
        num_layers=layers,
        num_heads=heads[0],
        num_kv_heads=heads[1],
        position=position,
        activation=activation,
        norm_placement=placement,
        embedding_norm=embedding_norm,
        objective="masked",  # whose attention runs in products that the counter sees
        max_positions=9,
    )
    check("hortus_decoder", config, 2, length)


@FEW
@given(
    st.sampled_from([("bert", BertConfig), ("distilbert", DistilBertConfig)]),
    st.sampled_from(["masked_lm", "classify", "answer", "none"]),
    sizes,
    sizes,
    st.integers(1, 20),
    sizes,
    lengths,
)
def test_encoders(
    kind: tuple[str, Any], head: Any, layers: int, heads: int, inner: int, rows: int, length: int
) -> None:
    config = kind[1](
        vocab_size=11,
        hidden_size=4 * heads,
        num_layers=layers,
        num_heads=heads,
        intermediate_size=inner,
        max_positions=9,
        head=head,
        labels=("a", "b", "c") if head == "classify" else (),
        **({"pooler": head == "classify"} if kind[0] == "bert" else {}),
    )
    check(kind[0], config, rows, length)


@FEW
@given(sizes, sizes, sizes, st.sampled_from(["relu", "gated-gelu"]), st.booleans(), lengths, lengths)
def test_t5(layers: int, deep: int, heads: int, fed: str, tied: bool, source: int, target: int) -> None:
    config = T5Config(
        vocab_size=13,
        hidden_size=6,
        head_size=5,
        inner_size=7,
        num_layers=layers,
        num_decoder_layers=deep,
        num_heads=heads,
        feed_forward=fed,
        tied_head=tied,
    )
    check("t5", config, 2, source, target)


def test_the_published_formula() -> None:
    # TFLOP/s of the training logs: parameters × 4 passes × 2 × sequence × batch; the block's 24Bsh² + 4Bs²h.
    shape = PUBLISHED["176b"]
    counts = count(shape, rows=1, length=2048)
    width = shape.hidden_size
    assert counts.attention_flops == 70 * 4 * 2048**2 * width
    blocks = 70 * (24 * 2048 * width**2 + 4 * 2048**2 * width)
    assert counts.forward_flops == blocks + 2 * 2048 * width * 250_880


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"dict is not.*BloomConfig"):
        count({"hidden_size": 3})
