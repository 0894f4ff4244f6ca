"""Memory of a training process: what the parts are, and three measured runs."""

from __future__ import annotations

import pytest

from hortus.budget.process import process_memory
from hortus.models.bloom.config import BloomConfig

BASE = 3.3e8  # of a process with a network of next to nothing


@pytest.mark.parametrize(
    ("words", "width", "layers", "heads", "rows", "length", "measured"),
    [
        (4096, 192, 3, 4, 8, 512, 652e6),
        (8192, 256, 6, 4, 4, 512, 759e6),
        (16384, 512, 8, 8, 4, 512, 1623e6),
    ],
)
def test_measured_runs(
    words: int, width: int, layers: int, heads: int, rows: int, length: int, measured: float
) -> None:
    shape = BloomConfig(vocab_size=words, hidden_size=width, num_layers=layers, num_heads=heads)
    found = process_memory(shape, rows, length, base_bytes=BASE)
    assert found.total == pytest.approx(measured, rel=0.15)
    assert found.optimizer == 8 * shape.num_parameters


def test_recomputation_and_small_batches_save_activations_and_a_checkpoint_needs_copies() -> None:
    shape = BloomConfig(vocab_size=512, hidden_size=256, num_layers=8, num_heads=4)
    whole = process_memory(shape, 8, 512).total
    assert process_memory(shape, 8, 512, checkpointing=True).total < whole
    assert process_memory(shape, 1, 512).total < whole
    wide = BloomConfig(vocab_size=512, hidden_size=2048, num_layers=8, num_heads=16)
    saving = process_memory(wide, 1, 64).total - process_memory(wide, 1, 64, saves=False).total
    assert saving > 4 * wide.num_parameters
