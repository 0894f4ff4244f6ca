"""The causal task: targets, documents, groups, and averages that do not depend on the split."""

from __future__ import annotations

import doctest

import pytest
import torch
from torch.nn import functional as F

from hortus.models.bloom import Bloom, BloomConfig
from hortus.objectives import causal
from hortus.objectives.causal import CausalLanguageModeling, next_tokens


@pytest.fixture
def network() -> Bloom:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Bloom(BloomConfig(vocab_size=40, hidden_size=16, num_layers=2, num_heads=4, initializer_range=0.2))


def test_loss_is_that_of_shifted_logits(network: Bloom) -> None:
    ids = torch.randint(0, 40, (3, 20))
    loss, count, metrics = CausalLanguageModeling(network, chunk=7).loss({"input_ids": ids})
    expected = F.cross_entropy(network(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
    torch.testing.assert_close(loss, expected)
    assert (count.item(), count.is_floating_point(), loss.shape, metrics) == (57, False, (), {})


def test_packed_row_costs_what_its_documents_cost(network: Bloom) -> None:
    task, lengths = CausalLanguageModeling(network), [9, 1, 14]
    documents = [torch.randint(0, 40, (1, n)) for n in lengths]
    segments = torch.tensor([[0] * 9 + [1] + [2] * 14])
    packed = task.loss({"input_ids": torch.cat(documents, 1), "segment_ids": segments})
    separate = [task.loss({"input_ids": document}) for document in documents]
    assert packed[1].item() == sum(count.item() for _, count, _ in separate) == 21
    torch.testing.assert_close(packed[0], torch.stack([loss for loss, _, _ in separate]).sum())


def test_padding_costs_nothing(network: Bloom) -> None:
    task, ids = CausalLanguageModeling(network), torch.randint(0, 40, (1, 12))
    segments = torch.tensor([[0] * 8 + [-1] * 4])
    padded = task.loss({"input_ids": ids, "segment_ids": segments})
    alone = task.loss({"input_ids": ids[:, :8]})
    torch.testing.assert_close(padded[:2], alone[:2])


def test_one_batch_equals_its_rows(network: Bloom) -> None:
    task, ids = CausalLanguageModeling(network), torch.randint(0, 40, (4, 11))
    whole = task.loss({"input_ids": ids})
    rows = [task.loss({"input_ids": row[None]}) for row in ids]
    torch.testing.assert_close(whole[0], torch.stack([row[0] for row in rows]).sum())
    assert whole[1].item() == sum(row[1].item() for row in rows)


def test_groups_hold_every_parameter_once(network: Bloom) -> None:
    network.final_norm.bias.requires_grad_(False)
    decayed, free = CausalLanguageModeling(network).parameter_groups(0.1)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert any(p is network.embedding.weight for p in decayed["params"])
    assert all(p.ndim == 2 for p in decayed["params"]) and all(p.ndim == 1 for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(network.parameters())) - 1


def test_targets_of_a_single_token() -> None:
    assert next_tokens(torch.tensor([[5]])).tolist() == [[-100]]


def test_examples() -> None:
    result = doctest.testmod(causal)
    assert result.attempted > 0 and result.failed == 0
