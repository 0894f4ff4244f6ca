"""Candidate shapes of a decoder, and the rules that refuse one, each in words.

- Depth goes with width: ln h = 5.039 + 0.0555·L (Levine et al. 2020), within a tolerance.
- The width is a multiple of the largest power of two below a twelfth of it, so that every matrix, and its
  share on a device, fills its tiles.
- Layers and the two ends, embedding and head, divide evenly by the pipeline's stages.
- A head's width is a multiple of 8 (16 bytes in 16 bits) near the width asked for, and each device of a
  tensor-parallel group holds a multiple of 4 heads: 26 of them cost the published benchmark 15 % of its
  speed (104 heads over 4 devices, 128.1 TFLOP/s beside 148.1 and 153.7 with 128 and 64).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from hortus.budget.config import PlanConfig
from hortus.models.bloom.config import BloomConfig

__all__ = ["candidate_shapes", "depth_for", "shape_faults"]

_NARROWEST = 64  # width


def depth_for(width: int) -> float:
    """Layers that go with a width.

    >>> round(depth_for(14336)), round(depth_for(12288))
    (82, 79)
    """
    return (math.log(width) - 5.039) / 0.0555


def _multiple(width: int) -> int:
    return 2 ** int(math.log2(max(width / 12, 8)))


def candidate_shapes(config: PlanConfig, fewest: float, most: float) -> Iterator[BloomConfig]:
    """Shapes with parameters between the two numbers: around the rules rather than strictly inside."""
    width, stages = _NARROWEST, config.pipeline_parallel or 1
    while 12 * width**2 <= most:
        for layers in _depths(width, stages, config.depth_tolerance):
            for heads in _heads(width, config.head_width):
                shape = BloomConfig(
                    vocab_size=config.vocab_size, hidden_size=width, num_layers=layers, num_heads=heads
                )
                if fewest <= shape.num_parameters <= most:
                    yield shape
        width += _multiple(width)


def _depths(width: int, stages: int, tolerance: float) -> list[int]:
    """Depths that divide by the stages, to somewhat beyond the tolerance; else the rule's and its bounds."""
    rule = depth_for(width)
    if rule < 1:
        return [1, 2]
    if stages == 1:
        return sorted({max(1, round(rule * factor)) for factor in (1 - tolerance, 1, 1 + tolerance)})
    reach = tolerance + 0.06
    return [
        layers
        for layers in range(1, int(2 * rule))
        if not (layers + 2) % stages and abs(layers / rule - 1) < reach
    ]


def _heads(width: int, wanted: int) -> list[int]:
    """Numbers of heads whose width is from half to twice the wanted one."""
    sizes = range(8, 2 * wanted + 1, 8)
    return sorted(width // size for size in sizes if width % size == 0 and 2 * size >= wanted) or [1]


def shape_faults(
    shape: BloomConfig, config: PlanConfig, tensor_parallel: int, pipeline_parallel: int
) -> list[str]:
    """What the rules hold against a shape, in words; empty where nothing."""
    faults = []
    rule, layers, size = depth_for(shape.hidden_size), shape.num_layers, shape.head_size
    off = layers - max(rule, 1.0)
    if abs(off) > max(config.depth_tolerance * rule, 1.0 if rule < 10 else 0.5):
        deeper = "deeper" if off > 0 else "shallower"
        share = abs(off) / max(rule, 1.0)
        faults.append(
            f"{layers} layers: {share:.1%} {deeper} than the {rule:.0f} of width {shape.hidden_size}"
        )
    if abs(size / config.head_width - 1) > config.head_tolerance:
        faults.append(f"heads of {size} are too {'wide' if size > config.head_width else 'narrow'}")
    if pipeline_parallel > 1 and (layers + 2) % pipeline_parallel:
        faults.append(f"{layers} + 2 layers do not divide into {pipeline_parallel} stages")
    if shape.num_heads % tensor_parallel:
        faults.append(f"{shape.num_heads} heads do not divide by {tensor_parallel}")
    elif tensor_parallel > 1 and (shape.num_heads // tensor_parallel) % 4:
        faults.append(f"{shape.num_heads // tensor_parallel} heads a device, no multiple of 4")
    return faults
