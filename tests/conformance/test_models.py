"""What every family of networks must do. A new family adds one small shape here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hortus.models import available, build_network, family, load_network, save_network, state_for_saving

SHAPES: dict[str, dict[str, Any]] = {
    "bloom": {"model_type": "bloom", "vocab_size": 50, "hidden_size": 24, "n_layer": 2, "n_head": 3},
}


@pytest.fixture(params=sorted(SHAPES))
def network(request: pytest.FixtureRequest) -> Any:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return build_network(SHAPES[request.param])


def test_every_family_is_covered() -> None:
    assert sorted(SHAPES) == available()


def test_built_in_training_mode_loaded_in_eval_mode(network: Any, tmp_path: Path) -> None:
    save_network(network, tmp_path / "model")
    assert network.training and not load_network(tmp_path / "model").training


def test_save_and_load_give_the_same_logits(network: Any, tmp_path: Path) -> None:
    save_network(network, tmp_path / "model")
    ids = torch.randint(0, 50, (2, 13))
    assert torch.equal(load_network(tmp_path / "model")(ids), network.eval()(ids))


def test_same_seed_same_weights(network: Any) -> None:
    torch.manual_seed(0)
    again = build_network(SHAPES[network.model_type])
    assert all(torch.equal(x, y) for x, y in zip(network.parameters(), again.parameters(), strict=True))


def test_names_go_there_and_back(network: Any) -> None:
    names = family(network.model_type).names
    published = state_for_saving(network)
    own = {name for name, _ in network.named_parameters()}
    assert {names.own(name) for name in published} == own


def test_a_batch_of_one_equals_a_batch_of_many(network: Any) -> None:
    network.eval()
    ids = torch.randint(0, 50, (4, 13))
    alone = torch.cat([network(row[None]) for row in ids])
    torch.testing.assert_close(network(ids), alone, rtol=0, atol=1e-5)


def test_padding_does_not_change_results(network: Any) -> None:
    network.eval()
    ids = torch.randint(0, 50, (1, 13))
    padded = torch.cat([torch.zeros(1, 4, dtype=torch.long), ids], 1)
    mask = torch.tensor([[0] * 4 + [1] * 13])
    torch.testing.assert_close(network(padded, mask)[:, 4:], network(ids), rtol=0, atol=1e-5)


def test_head_of_hidden_is_the_whole(network: Any) -> None:
    network.eval()
    ids = torch.randint(0, 50, (2, 5))
    assert torch.equal(network.head(network.hidden(ids)), network(ids))


def test_every_parameter_gets_a_gradient(network: Any) -> None:
    network(torch.randint(0, 50, (2, 9))).logsumexp(-1).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
