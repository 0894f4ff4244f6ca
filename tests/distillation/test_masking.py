"""Dynamic masking and length buckets."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hortus.distillation.batching import BucketedExamples
from hortus.distillation.masking import BatchMasking, masking_weights
from hortus.objectives.examples import Examples


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(3, 12), st.floats(0.05, 0.6), st.integers(0, 10**6))
def test_the_batch_gets_exactly_its_share(rows: int, length: int, share: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 20, (rows, length), generator=random)
    real = torch.arange(length) < torch.randint(1, length + 1, (rows, 1), generator=random)
    weights = torch.ones(20)
    weights[:3] = 0
    hidden, chosen = BatchMasking(weights, mask_id=2, share=share)(ids, real.long(), random)
    free = real & (ids >= 3)
    assert chosen.sum() == min(math.ceil(share * int(real.sum())), int(free.sum()))
    assert not (chosen & ~free).any()
    assert torch.equal(hidden[~chosen], ids[~chosen])


def test_rare_tokens_are_hidden_by_their_weight() -> None:
    rows = [[3] * 1000 + [4] * 10 + [0, 1]]
    weights = masking_weights(rows, 6, [0, 1], 0.7)
    np.testing.assert_allclose(weights, [0, 0, 1, 1000**-0.7, 10**-0.7, 1], rtol=1e-6)
    hide = BatchMasking(weights, mask_id=2, share=0.01)
    torch.manual_seed(0)
    ids = torch.tensor([[3, 4] * 50])
    drawn = sum(ids[hide(ids, torch.ones_like(ids))[1]].eq(4).sum() for _ in range(400))
    expected = 10**-0.7 / (10**-0.7 + 1000**-0.7)
    assert abs(drawn / 400 - expected) < 0.04


def test_fates_of_the_chosen() -> None:
    torch.manual_seed(0)
    ids = torch.full((50, 200), 7)
    hidden, chosen = BatchMasking(torch.ones(1000), mask_id=2, share=0.5)(ids, torch.ones_like(ids))
    fates = hidden[chosen]
    shares = [float((fates == token).float().mean()) for token in (2, 7)]
    np.testing.assert_allclose(shares, [0.8, 0.1], atol=0.02)


def test_the_same_generator_hides_the_same() -> None:
    hide = BatchMasking(torch.ones(30), mask_id=2)
    ids = torch.randint(30, (4, 9))
    drawn = [hide(ids, torch.ones_like(ids), torch.Generator().manual_seed(0)) for _ in range(2)]
    assert torch.equal(drawn[0][0], drawn[1][0]) and torch.equal(drawn[0][1], drawn[1][1])


def test_batches_stay_in_their_bucket() -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 40, 333)
    rows = [
        {"input_ids": [n] * int(length), "attention_mask": [1] * int(length)}
        for n, length in enumerate(lengths)
    ]
    data = BucketedExamples(
        Examples(rows, {"input_ids": 0, "attention_mask": 0}, batch_size=8, seed=1), width=4, batch_size=8
    )
    orders = []
    for epoch in range(2):
        data.set_epoch(epoch)
        batches = list(data)
        seen = torch.cat([batch["input_ids"][:, 0] for batch in batches])
        assert sorted(seen.tolist()) == list(range(333))
        assert [len(batch["input_ids"]) for batch in batches[:-1]] == [8] * (len(batches) - 1)
        buckets = [{(int(length) - 1) // 4 for length in batch["attention_mask"].sum(1)} for batch in batches]
        # What is left over of ten buckets, fewer than eight each, makes at most ten mixed batches.
        assert sum(len(each) > 1 for each in buckets) <= 10
        orders.append(seen.tolist())
    assert orders[0] != orders[1]
    data.set_epoch(0)
    taken = iter(data)
    first = [next(taken) for _ in range(3)]
    state = data.state_dict()
    following = next(taken)
    data.set_epoch(1)
    data.load_state_dict(state)
    assert torch.equal(next(iter(data))["input_ids"], following["input_ids"]) and len(first) == 3
