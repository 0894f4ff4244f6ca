"""The comparison that an exported file must pass before it gets its name.

Legend: B texts, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

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


def probe_inputs(vocab_size: int, longest: int, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(B, T) ids and masks of three shapes: one text, several, and several padded on the left."""
    generator = torch.Generator().manual_seed(seed)
    probes = []
    for batch, length, padding in ((1, 7, 0), (3, 19, 0), (2, 12, 5)):
        length = max(2, min(length, longest))
        ids = torch.randint(vocab_size, (batch, length), generator=generator)
        mask = torch.ones_like(ids)
        mask[0, : min(padding, length - 1)] = 0
        probes.append((ids, mask))
    return probes


@torch.inference_mode()
def compare(
    run: Callable[..., Any],
    theirs: Callable[[torch.Tensor, torch.Tensor], np.ndarray],
    vocab_size: int,
    longest: int,
    dtype: str,
    reader: str,
    padded: bool = True,
) -> Comparison:
    """Compare logits of the original and of what was written.

    Args:
        run: (ids, mask) -> (B, T, V) logits of the original, a tensor.
        theirs: the same of the written file, an array.
        padded: whether the reader takes padded batches.

    Raises:
        ArtifactError: they differ by more than the format's rounding.
    """
    worst, same, count, scale = 0.0, 0, 0, 0.0
    for ids, mask in probe_inputs(vocab_size, longest):
        if not padded and not bool(mask.all()):
            continue
        expected = run(ids, mask).float().cpu().numpy()
        given = theirs(ids, mask).astype(np.float32)
        real = mask.numpy().astype(bool)[:, -expected.shape[1] :]
        expected, given = expected[real], given[real]
        scale = max(scale, float(np.abs(expected).max()))
        worst = max(worst, float(np.abs(expected - given).max()))
        same += int((expected.argmax(-1) == given.argmax(-1)).sum())
        count += len(expected)
    result = Comparison(worst / max(scale, 1e-30), same / count, (reader,))
    if not result.difference <= TOLERANCES[dtype]:  # also when it is not a number
        raise ArtifactError(
            f"{reader} reads logits that differ by {result.difference:.2g} of the largest",
            allowed=f"{TOLERANCES[dtype]:g} in {dtype}",
            do="the file was not kept; please report this with the model's config.json",
        )
    return result
