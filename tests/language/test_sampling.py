import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hortus.language import GenerationConfig
from hortus.language.sampling import (
    draw,
    keep_top_k,
    keep_top_p,
    next_tokens,
    penalize_repetition,
    uniform_numbers,
)


def random_logits(seed: int, size: int = 50) -> torch.Tensor:
    return torch.randn(3, size, generator=torch.Generator().manual_seed(seed)) * 3


@given(st.integers(0, 99), st.floats(0.01, 0.99))
def test_top_p_keeps_the_fewest_that_reach_p(seed, p) -> None:
    logits = random_logits(seed)
    for row, kept in zip(logits.softmax(-1).numpy(), keep_top_p(logits, p).isfinite().numpy(), strict=True):
        order = np.argsort(-row)
        needed = int(np.argmax(np.cumsum(row[order]) >= p - 1e-6)) + 1
        assert set(np.flatnonzero(kept)) == set(order[:needed])


def test_top_p_over_a_flat_distribution_of_many() -> None:
    logits = torch.zeros(1, 5000)
    logits += torch.arange(5000) * 1e-6  # more tokens than are sorted at first
    assert abs(int(keep_top_p(logits, 0.9).isfinite().sum()) - 4500) < 12


def test_filters_equal_transformers() -> None:
    processors = pytest.importorskip("transformers.generation.logits_process")
    logits, ids = random_logits(0), torch.tensor([[1, 2], [3, 3], [4, 49]])
    seen = torch.zeros(3, 50, dtype=torch.bool).scatter(1, ids, True)
    pairs = [
        (penalize_repetition(logits, seen, 1.3), processors.RepetitionPenaltyLogitsProcessor(1.3)),
        (keep_top_k(logits, 7), processors.TopKLogitsWarper(7)),
        (keep_top_p(logits, 0.8), processors.TopPLogitsWarper(0.8)),
    ]
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs(ids, logits.clone()))


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([0.1, 0.2, 0.7]).log().expand(20_000, 3)
    uniforms = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = draw(logits, uniforms).bincount(minlength=3) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.7]), atol=0.02, rtol=0)


@given(st.integers(0, 99), st.floats(0, 1, exclude_max=True))
def test_a_draw_never_takes_what_a_filter_removed(seed, uniform) -> None:
    logits = keep_top_k(random_logits(seed), 2)
    chosen = draw(logits, torch.full((3,), uniform, dtype=torch.float64))
    assert logits.gather(1, chosen[:, None]).isfinite().all()


def test_steps_are_applied_in_order() -> None:
    logits = torch.tensor([[4.0, 3.0, 2.0]])
    seen = torch.tensor([[True, False, False]])
    config = GenerationConfig(repetition_penalty=2.0)
    assert next_tokens(logits, config, seen).item() == 1
    config = GenerationConfig(repetition_penalty=2.0, temperature=1.0, top_k=1)
    assert next_tokens(logits, config, seen, torch.tensor([0.99], dtype=torch.float64)).item() == 1


def test_numbers_belong_to_a_text_not_to_its_place() -> None:
    alone = uniform_numbers([[5, 6]], 4, seed=1)[0]
    listed = uniform_numbers([[7], [5, 6], [5, 6]], 4, seed=1)
    assert torch.equal(listed[1], alone)
    assert not torch.equal(listed[1], listed[2])
    assert not torch.equal(uniform_numbers([[5, 6]], 4, seed=2)[0], alone)
    assert not torch.equal(uniform_numbers([[5, 6]], 4, None), uniform_numbers([[5, 6]], 4, None))
