"""T5's steps by the compiled kernels against whole passes of the network's modules."""

from typing import Any

import pytest
import torch

from hortus.errors import DataError
from hortus.models.decoder import open_session
from hortus.models.decoder.compiler import load_kernels
from hortus.models.decoder.t5 import CompiledT5Session
from hortus.models.t5 import T5, T5Config
from hortus.models.t5.session import T5Session


def make_network(**changes: Any) -> T5:
    torch.manual_seed(0)
    shape = {"vocab_size": 61, "hidden_size": 24, "inner_size": 40, "num_layers": 1, "num_decoder_layers": 3}
    network = T5(T5Config(**shape | {"num_heads": 3, "head_size": 6} | changes)).eval()
    with torch.no_grad():  # norms that are not one
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network


def sources(rows: int, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(2, 61, (rows, longest))
    mask = (torch.arange(longest)[None] < longest - torch.arange(rows)[:, None] % longest).long()
    return ids, mask


FIRST = {"feed_forward": "relu", "tied_head": True, "scale_decoder_outputs": True, "num_heads": 5}


# Sources longer and shorter than targets; distances beyond the last bucket; more rows than one tile holds.
@pytest.mark.parametrize(("rows", "longest", "length"), [(1, 3, 12), (4, 9, 5), (8, 30, 150)])
@pytest.mark.parametrize("changes", [{}, FIRST, {"feed_forward": "gated-silu"}, {"head_size": 16}])
def test_steps_equal_whole_passes(changes: dict[str, Any], rows: int, longest: int, length: int) -> None:
    torch.set_num_threads(1)
    network = make_network(**changes)
    ids, mask = sources(rows, longest)
    targets = torch.randint(0, 61, (rows, length))
    session = open_session(network, ids, mask, length)
    assert isinstance(session, CompiledT5Session) == (
        load_kernels() is not None and network.config.activation != "silu"
    )
    with torch.no_grad():
        whole = network(ids, targets, mask)
    close = {"rtol": 0, "atol": 1e-5 * float(whole.abs().max())}
    for place in range(length // 2):
        torch.testing.assert_close(session.step(targets[:, place]), whole[:, place], **close)
    kept = torch.arange(0, rows, 2)
    session.select(kept)
    for place in range(length // 2, length):
        torch.testing.assert_close(session.step(targets[kept, place]), whole[kept, place], **close)
    with pytest.raises(DataError, match="do not fit the cache"):
        session.step(targets[kept, 0])


def test_what_the_kernels_cannot_do_takes_the_modules() -> None:
    network = make_network()
    ids, mask = sources(3, 5)
    assert type(open_session(network, ids, mask.flip(1), 4)) is T5Session  # padded on the left
    assert type(open_session(network, ids.repeat(30, 1), None, 4)) is T5Session  # too many rows
    assert type(open_session(network.bfloat16(), ids, mask, 4)) is T5Session


@pytest.mark.parametrize("token", [-1, 61])
def test_ids_outside_the_vocabulary_are_refused(token: int) -> None:
    session = open_session(make_network(), *sources(1, 3), 4)
    with pytest.raises((DataError, IndexError)):
        session.step(torch.tensor([token]))
