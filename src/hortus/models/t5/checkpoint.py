"""T5's parameter names here and in published checkpoints."""

from __future__ import annotations

from hortus.models.families import Family, NameTable
from hortus.models.t5.config import T5Config, fit
from hortus.models.t5.network import T5

__all__ = ["FAMILY"]


def _block(stack: str, feed_forward: int) -> dict[str, str]:
    """Names of one stack's blocks; published ones number the sub-layers."""
    own, layer = f"{stack}.blocks.{{layer}}", f"{stack}.block.{{layer}}.layer"
    pairs = {f"{own}.attention_norm": f"{layer}.0.layer_norm"}
    parts = {"query": "q", "key": "k", "value": "v", "output": "o"}
    pairs |= {f"{own}.attention.{part}": f"{layer}.0.SelfAttention.{short}" for part, short in parts.items()}
    if stack == "decoder":
        pairs[f"{own}.cross_norm"] = f"{layer}.1.layer_norm"
        pairs |= {
            f"{own}.cross_attention.{part}": f"{layer}.1.EncDecAttention.{short}"
            for part, short in parts.items()
        }
    pairs[f"{own}.feed_forward_norm"] = f"{layer}.{feed_forward}.layer_norm"
    parts = {"expand": "wi", "gate": "wi_0", "linear": "wi_1", "contract": "wo"}
    return pairs | {
        f"{own}.feed_forward.{part}": f"{layer}.{feed_forward}.DenseReluDense.{short}"
        for part, short in parts.items()
    }


def _stack(stack: str, feed_forward: int) -> dict[str, str]:
    return {
        **_block(stack, feed_forward),
        f"{stack}.position_bias": f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias",
        f"{stack}.final_norm": f"{stack}.final_layer_norm",
    }


NAMES = NameTable(
    {"embedding": "shared", "own_head": "lm_head", **_stack("encoder", 1), **_stack("decoder", 2)},
    tied={
        "encoder.embed_tokens.weight": "embedding.weight",
        "decoder.embed_tokens.weight": "embedding.weight",
        "lm_head.weight": "embedding.weight",
    },
    # Some old files hold a table of cross attention that no version ever used.
    ignored=("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",),
)

FAMILY = Family(T5Config, T5, NAMES, fit)
