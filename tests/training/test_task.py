"""TensorData and parameter groups."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hortus.errors import DataError
from hortus.training import Data, TensorData, decay_groups


def test_is_what_the_trainer_asks_for() -> None:
    assert isinstance(TensorData({"x": torch.zeros(3)}), Data)


@given(
    number=st.integers(1, 30),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    stop=st.integers(0, 8),
    epoch=st.integers(0, 3),
    shuffle=st.booleans(),
)
def test_position_is_restored_exactly(
    number: int, sizes: list[int], stop: int, epoch: int, shuffle: bool
) -> None:
    def walk(data: TensorData, sizes: list[int]) -> list[list[int]]:
        batches, source = [], iter(data)
        for size in sizes:
            data.batch_size = size
            batch = next(source, None)
            if batch is not None:
                batches.append(batch["x"].tolist())
        return batches

    def build() -> TensorData:
        return TensorData({"x": torch.arange(number)}, shuffle=shuffle, seed=4)

    straight, stopped, resumed = build(), build(), build()
    straight.set_epoch(epoch)
    stopped.set_epoch(epoch)
    expected = walk(straight, sizes)
    first = walk(stopped, sizes[:stop]) if sum(sizes[:stop]) < number else []
    if first or not stop:
        resumed.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
        assert first + walk(resumed, sizes[stop:]) == expected


def test_every_row_once_an_epoch_in_another_order() -> None:
    data = TensorData({"x": torch.arange(50), "y": -torch.arange(50)}, batch_size=7, seed=1)
    orders = []
    for epoch in range(3):
        data.set_epoch(epoch)
        batches = list(data)
        assert all(torch.equal(batch["x"], -batch["y"]) for batch in batches)
        orders.append(torch.cat([batch["x"] for batch in batches]).tolist())
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    data.set_epoch(1)
    assert torch.cat([batch["x"] for batch in data]).tolist() == orders[1]


def test_wrong_tensors() -> None:
    with pytest.raises(DataError, match="empty"):
        TensorData({})
    with pytest.raises(DataError, match="different lengths: {'x': 3, 'y': 2}"):
        TensorData({"x": torch.zeros(3), "y": torch.zeros(2)})


def test_decay_groups() -> None:
    network = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 5))
    network[2].weight = network[0].weight  # tied
    network[1].bias.requires_grad_(False)
    decayed, free = decay_groups(network, 0.1)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert [id(p) for p in decayed["params"]] == [id(network[0].weight)]
    assert [id(p) for p in free["params"]] == [id(network[1].weight), id(network[2].bias)]
