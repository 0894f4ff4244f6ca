"""What the comparisons with transformers' checkpoints share."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn


def disturbed(network: Any) -> Any:
    """Biases and norms away from 0 and 1, so that leaving one out would show."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return network.eval()


def opened_silently(
    name: str, folder: Path, caplog: pytest.LogCaptureFixture, unless: str = "nothing"
) -> nn.Module:
    """transformers' class `name` of our folder: no warning, no tensor left over or missing.

    Args:
        unless: part of a warning that transformers gives for its own files of this kind too.
    """
    transformers = pytest.importorskip("transformers")
    logging.getLogger("transformers").propagate = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            peer, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    finally:
        logging.getLogger("transformers").propagate = False
    warned = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert [message for message in warned if unless not in message] == []
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return peer.eval()


def padded_batch(vocabulary: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(3, T) ids, two rows padded on the right, and their mask."""
    length = [17, 40, 96][seed % 3]
    ids, mask = torch.randint(3, vocabulary, (3, length)), torch.ones(3, length, dtype=torch.long)
    mask[0, length - 1 - seed :] = 0
    mask[2, -9:] = 0
    return ids * mask, mask


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
