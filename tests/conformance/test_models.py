"""What every family of networks must do. A new family adds one small shape here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hortus.models import available, build_network, family, load_network, save_network, state_for_saving

SHAPES: dict[str, dict[str, Any]] = {
    "bloom": {"model_type": "bloom", "vocab_size": 50, "hidden_size": 24, "n_layer": 2, "n_head": 3},
    "bert": {
        "model_type": "bert",
        "vocab_size": 50,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 40,
        "initializer_range": 0.2,
    },
    "distilbert": {
        "model_type": "distilbert",
        "vocab_size": 50,
        "dim": 24,
        "n_layers": 2,
        "n_heads": 3,
        "hidden_dim": 40,
        "initializer_range": 0.2,
    },
    # Grouped heads, rotary positions, a gate and norms on both sides: all that BLOOM has not.
    "hortus_decoder": {
        "model_type": "hortus_decoder",
        "vocab_size": 50,
        "hidden_size": 24,
        "num_layers": 2,
        "num_heads": 6,
        "num_kv_heads": 2,
        "position": "rotary",
        "activation": "swiglu",
        "embedding_norm": False,
        "norm_placement": "sandwich",
        "initializer_range": 0.2,
    },
    "t5": {
        "model_type": "t5",
        "vocab_size": 50,
        "d_model": 24,
        "d_kv": 6,
        "d_ff": 40,
        "num_layers": 2,
        "num_decoder_layers": 3,
        "num_heads": 3,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "initializer_factor": 0.3,
    },
}
TARGETS = torch.tensor([[0, 7, 3, 9, 1]])


@pytest.fixture(params=sorted(SHAPES))
def network(request: pytest.FixtureRequest) -> Any:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return build_network(SHAPES[request.param])


def logits(network: Any, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """Of the texts, or of the same targets after each of them."""
    if network.architecture == "encoder-decoder":
        return network(ids, TARGETS.expand(ids.size(0), -1), mask)
    return network(ids, mask)


def test_every_family_is_covered() -> None:
    assert sorted(SHAPES) == list(available())


def test_counts_are_exact(network: Any) -> None:
    assert network.config.num_parameters == sum(p.numel() for p in network.parameters())


def test_built_in_training_mode_loaded_in_eval_mode(network: Any, tmp_path: Path) -> None:
    save_network(network, tmp_path / "model")
    assert network.training and not load_network(tmp_path / "model").training


def test_save_and_load_give_the_same_logits(network: Any, tmp_path: Path) -> None:
    save_network(network, tmp_path / "model")
    ids = torch.randint(0, 50, (2, 13))
    loaded = load_network(tmp_path / "model")
    assert torch.equal(logits(loaded, ids), logits(network.eval(), ids))
    # BLOOM's "derived from the width" is written as the number that it is.
    assert loaded.config == network.config or network.model_type == "bloom"


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
    alone = torch.cat([logits(network, row[None]) for row in ids])
    torch.testing.assert_close(logits(network, ids), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_change_results(network: Any, side: str) -> None:
    network.eval()
    ids, filling = torch.randint(0, 50, (1, 13)), torch.zeros(1, 4, dtype=torch.long)
    parts = [filling, ids] if side == "left" else [ids, filling]
    mask = torch.cat([torch.ones_like(part) if part is ids else part for part in parts], 1)
    padded = logits(network, torch.cat(parts, 1), mask)
    if network.architecture != "encoder-decoder":
        padded = padded[mask.bool()][None]
    torch.testing.assert_close(padded, logits(network, ids), rtol=0, atol=1e-5)


def test_padded_positions_stay_finite(network: Any) -> None:
    ids, mask = torch.randint(0, 50, (2, 7)), torch.ones(2, 7, dtype=torch.long)
    mask[1] = 0
    assert logits(network.eval(), ids, mask).isfinite().all()


def test_head_of_hidden_is_the_whole(network: Any) -> None:
    network.eval()
    ids = torch.randint(0, 50, (2, 5))
    more = (TARGETS.expand(2, -1),) if network.architecture == "encoder-decoder" else ()
    assert torch.equal(network.head(network.hidden(ids, *more)), logits(network, ids))


def test_every_parameter_gets_a_gradient(network: Any) -> None:
    logits(network, torch.randint(0, 50, (2, 9))).logsumexp(-1).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_packed_documents_see_only_themselves(network: Any) -> None:
    if network.architecture == "encoder-decoder":
        pytest.skip("a T5 takes one source a row")
    network.eval()
    ids, segments = torch.randint(0, 50, (1, 12)), torch.tensor([[0] * 5 + [1] * 7])
    apart = torch.cat([network.hidden(ids[:, :5]), network.hidden(ids[:, 5:])], 1)
    torch.testing.assert_close(network.hidden(ids, segment_ids=segments), apart, rtol=0, atol=1e-5)
