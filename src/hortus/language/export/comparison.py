"""The comparison that an exported file must pass before it gets its name.

Legend: B texts, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from hortus.errors import ArtifactError

__all__ = ["TOLERANCES", "Comparison", "compare", "probe_inputs"]

# Largest difference of logits over the largest logit, by the format of the written weights.
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1, "q8_0": 1e-1}


class Comparison(NamedTuple):
    """How far a written file is from the model.

    difference: largest difference of logits, over the largest logit.
    agreement: share of positions with the same likeliest token.
    readers: what read the file.
    """

    difference: float
    agreement: float
    readers: tuple[str, ...]


class Probe(NamedTuple):
    """What the random texts look like: ids below `vocab_size`, at most `longest` tokens, padded where."""

    vocab_size: int
    longest: int
    padding_side: Literal["left", "right", "none"] = "left"


def probe_inputs(probe: Probe) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(B, T) ids and masks of three shapes: one text, several, and several padded."""
    generator = torch.Generator().manual_seed(0)
    probes = []
    for batch, length, padding in ((1, 7, 0), (3, 19, 0), (2, 12, 0 if probe.padding_side == "none" else 5)):
        length = max(2, min(length, probe.longest))
        ids = torch.randint(probe.vocab_size, (batch, length), generator=generator)
        mask = torch.ones_like(ids)
        padding = min(padding, length - 1)
        mask[0, slice(padding) if probe.padding_side == "left" else slice(length - padding, length)] = 0
        probes.append((ids, mask))
    return probes


@torch.inference_mode()
def compare(
    run: Callable[..., Any],
    theirs: Callable[[torch.Tensor, torch.Tensor], Any],
    probe: Probe,
    tolerance: float,
    reader: str,
) -> Comparison:
    """Compare logits of the original and of what was written.

    Args:
        run: (ids, mask) -> logits of the original, (B, T, V), or (B, V) of a whole text.
        theirs: the same of the written file; either gives a tensor or an array.
        tolerance: allowed difference over the largest logit.

    Raises:
        ArtifactError: they differ by more.
    """
    worst, same, count, scale = 0.0, 0, 0, 0.0
    for ids, mask in probe_inputs(probe):
        expected = np.asarray(torch.as_tensor(run(ids, mask)).float())
        given = np.asarray(torch.as_tensor(theirs(ids, mask)).float())
        if expected.ndim == 3:
            real = mask.numpy().astype(bool)
            expected, given = expected[real], given[real]
        scale = max(scale, float(np.abs(expected).max()))
        worst = max(worst, float(np.abs(expected - given).max()))
        same += int((expected.argmax(-1) == given.argmax(-1)).sum())
        count += len(expected)
    result = Comparison(worst / max(scale, 1e-30), same / count, (reader,))
    if not result.difference <= tolerance:  # also when it is not a number
        raise ArtifactError(
            f"{reader} reads logits that differ by {result.difference:.2g} of the largest",
            allowed=f"{tolerance:g}",
            do="the file was not kept; please report this with the model's config.json",
        )
    return result
