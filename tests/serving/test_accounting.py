"""Blocks and the queue: counting that never drifts, whatever the order of events."""

import doctest
import importlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hortus.errors import ConfigError
from hortus.serving import ServingConfig
from hortus.serving.blocks import BlockPool, block_keys
from hortus.serving.waiting import FairQueue


@pytest.mark.parametrize("name", ["config", "blocks", "waiting", "metrics", "faults", "talk", "served"])
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"hortus.serving.{name}"))
    assert result.attempted > 0 and result.failed == 0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["take", "match", "keep", "drop"]), st.integers(0, 5)), max_size=60)
)
def test_every_block_is_free_held_or_remembered_once(events) -> None:
    pool, held, contents = BlockPool(6), [], {}
    for event, number in events:
        if event == "take" and number <= pool.available:
            blocks = pool.allocate(number)
            for key in [key for key, block in contents.items() if block in blocks]:
                del contents[key]  # given away, so no longer to be found
            held.append(blocks)
        elif event == "match":
            keys = [bytes([number]), bytes([number, 1])]
            blocks = pool.match(keys)
            assert blocks == ([contents[keys[0]]] if keys[0] in contents else [])
            held.append(blocks)
        elif event == "keep" and held and held[-1]:
            key, block = bytes([number]), held[-1][0]
            if key not in contents and block not in contents.values():
                contents[key] = block
            pool.remember(block, key)
        elif event == "drop" and held:
            pool.release(held.pop(number % len(held)))
        counted = {block for blocks in held for block in blocks}
        assert pool.held == len(counted) and pool.available == 6 - len(counted)
    for blocks in held:
        pool.release(blocks)
    assert pool.available == 6 and sorted(pool.allocate(6)) == list(range(6))
    with pytest.raises(ValueError):
        pool.allocate(1)


def test_keys_tell_blocks_apart_by_all_that_came_before() -> None:
    keys = block_keys([1, 2, 3, 4, 5, 6], 2)
    assert len(set(keys)) == 3 and block_keys([1, 2, 3, 4], 2) == keys[:2]
    assert block_keys([9, 2, 3, 4], 2)[1] != keys[1]
    assert block_keys([1, 2, 3, 4, 5, 6], 2, 1, keys[0]) == keys[1:]


@given(st.lists(st.sampled_from("aabc"), max_size=40))
def test_turns_are_fair_and_each_client_keeps_its_order(clients) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, client in enumerate(clients):
        queue.push(client, (client, number))
    assert sorted(queue) == sorted((c, n) for n, c in enumerate(clients))
    taken = []
    while len(queue):
        assert queue.peek() == (item := queue.pop())
        taken.append(item)
    for client in set(clients):
        own = [number for name, number in taken if name == client]
        assert own == sorted(own)
    # While two clients both wait, neither is served twice in a row.
    for here, (first, second) in enumerate(zip(taken, taken[1:], strict=False)):
        if first[0] == second[0]:
            assert all(name == first[0] for name, _ in taken[here:])


def test_settings_out_of_range() -> None:
    for wrong, message in (
        ({"host": "0.0.0.0"}, "without a token"),
        ({"token": "short"}, "8 characters"),
        ({"max_running": 65}, "1 to 64"),
        ({"port": 70000}, "0 to 65535"),
        ({"block_size": 0}, "above 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            ServingConfig(**wrong)
    assert ServingConfig(host="0.0.0.0", token="long enough").token
