"""Rows of many texts over cache blocks, by the compiled kernels and by PyTorch's, against whole passes."""

import pytest
import torch

from hortus.errors import DataError
from hortus.models.bloom import Bloom, BloomConfig
from hortus.models.decoder.compiler import load_kernels
from hortus.models.decoder.paged import PagedDecoder, PagedRow

TEXTS = [[1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2], [9, 8, 7], [4, 4, 4, 5, 5, 5, 6], [3]]
TABLES = [[7, 0, 5], [2], [1, 6], [4]]


@pytest.fixture(scope="module")
def network() -> Bloom:
    torch.manual_seed(0)
    shape = {"vocab_size": 21, "hidden_size": 36, "num_layers": 3, "num_heads": 3}
    return Bloom(BloomConfig(initializer_range=0.3, **shape)).eval()


@pytest.fixture(params=["compiled", "stock"])
def decoder(network: Bloom, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> PagedDecoder:
    if request.param == "stock":
        monkeypatch.setattr("hortus.models.decoder.session.load_kernels", lambda: None)
    elif load_kernels() is None:
        pytest.skip("no C compiler")
    decoder = PagedDecoder(network, num_blocks=8, block_size=4)
    assert decoder.compiled == (request.param == "compiled")
    return decoder


def whole(network: Bloom, text: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return network(torch.tensor([text]))[0]


@torch.inference_mode()
def logits(network: Bloom, states: torch.Tensor) -> torch.Tensor:
    return network.head(states)


def test_texts_of_different_lengths_step_together(network, decoder) -> None:
    for text, table in zip(TEXTS, TABLES, strict=True):
        if len(text) > 1:
            states = decoder.extend(text[:-1], 0, table)
            torch.testing.assert_close(logits(network, states), whole(network, text[:-1]), rtol=0, atol=2e-4)
    rows = [PagedRow(t[-1], len(t) - 1, table) for t, table in zip(TEXTS, TABLES, strict=True)]
    expected = torch.stack([whole(network, text)[-1] for text in TEXTS])
    torch.testing.assert_close(decoder.run(rows), expected, rtol=0, atol=2e-4)
    torch.testing.assert_close(decoder.run(rows, scored=2), expected[:2], rtol=0, atol=2e-4)
    assert decoder.run(rows, scored=0).shape == (0, 21)


def test_a_prompt_in_pieces_equals_one_piece(network, decoder) -> None:
    text, table = TEXTS[0], TABLES[0]
    pieces = [decoder.extend(text[:3], 0, table), decoder.extend(text[3:], 3, table)]
    torch.testing.assert_close(logits(network, torch.cat(pieces)), whole(network, text), rtol=0, atol=2e-4)


def test_prompt_tokens_are_rows_beside_other_texts(network, decoder) -> None:
    if not decoder.compiled:
        pytest.skip("PyTorch's kernels take prompts by extend")
    rows = [PagedRow(token, at, TABLES[0]) for at, token in enumerate(TEXTS[0])]
    rows += [PagedRow(token, at, TABLES[2]) for at, token in enumerate(TEXTS[2])]
    expected = torch.cat([whole(network, TEXTS[0]), whole(network, TEXTS[2])])
    torch.testing.assert_close(decoder.run(rows), expected, rtol=0, atol=2e-4)


def test_a_row_does_not_depend_on_its_neighbours(network, decoder) -> None:
    if not decoder.compiled:
        pytest.skip("PyTorch's products round by the shape of the batch")
    rows = [PagedRow(t[0], 0, table) for t, table in zip(TEXTS, TABLES, strict=True)]
    together = decoder.run(rows).clone()
    alone = torch.cat([decoder.run([row]).clone() for row in rows])
    assert torch.equal(together, alone)


def test_no_room_and_no_such_token(decoder) -> None:
    with pytest.raises(DataError, match="5 positions do not fit 1 blocks"):
        decoder.run([PagedRow(1, 4, [2])])
    with pytest.raises(DataError, match="5 positions do not fit 1 blocks"):
        decoder.extend([1] * 5, 0, [2])
    with pytest.raises(DataError, match="0 to 20"):
        decoder.run([PagedRow(21, 0, [2])])
