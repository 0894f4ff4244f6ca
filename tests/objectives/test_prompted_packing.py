"""Packing: nothing lost, nothing mixed, what is cut is counted; tokens are those that ranking scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hortus.errors import ConfigError
from hortus.language.scoring import split_choice
from hortus.objectives.prompted_packing import Layout, TokenizedExample, Truncation, fit_rows, pack, tokenize
from hortus.prompts import PromptedExample
from hortus.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer

WORDS = "the quick brown fox jumps over a lazy dog . Yes No maybe"


def layout(encoder_decoder: bool = False, **changes: int | bool) -> Layout:
    sizes = {"sequence_length": 24, "input_length": 16, "target_length": 8, "by_example": False, "end_id": 1}
    return Layout(**({"encoder_decoder": encoder_decoder} | sizes | changes))  # type: ignore[arg-type]


def example(text: str, target: str) -> PromptedExample:
    return PromptedExample(text, [target, "other"], None, "data", "template", "id", 0)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([WORDS] * 9, TokenizerConfig(vocab_size=300))


lists = st.lists(st.integers(2, 99), min_size=1, max_size=8)


@given(st.lists(st.tuples(lists, lists), min_size=1, max_size=12), st.booleans(), st.booleans())
def test_every_example_comes_back_from_its_row(
    pairs: list[tuple[list[int], list[int]]], encoder_decoder: bool, by_example: bool
) -> None:
    examples = [TokenizedExample(source, [*target[:7], 1]) for source, target in pairs]
    packed = {n: t.numpy() for n, t in pack(examples, layout(encoder_decoder, by_example=by_example)).items()}
    found = []
    for row in range(len(packed["labels"])):
        segments, labels, weights = (packed[name][row] for name in ("segment_ids", "labels", "weights"))
        for segment in range(segments.max() + 1):
            mine = segments == segment
            asked = mine & (labels != -100)
            target = labels[asked].tolist()
            if encoder_decoder:
                source = packed["input_ids"][row][packed["source_segments"][row] == segment].tolist()
                assert packed["decoder_input_ids"][row][mine].tolist() == [0, *target[:-1]]
            else:
                whole = packed["input_ids"][row][mine].tolist()
                source = whole[: len(whole) - len(target)]
                assert whole[len(source) :] == target
            assert np.allclose(weights[asked], 1 / len(target) if by_example else 1)
            found.append((source, target))
        assert (weights[labels == -100] == 0).all()
    assert sorted(found) == sorted((one.input, one.target) for one in examples)


@given(st.lists(st.integers(1, 10), min_size=1, max_size=60))
def test_rows_hold_what_fits_and_at_most_twice_the_fewest(sizes: list[int]) -> None:
    rows = fit_rows([(size,) for size in sizes], (10,))
    assert sorted(index for row in rows for index in row) == list(range(len(sizes)))
    assert all(sum(sizes[index] for index in row) <= 10 for row in rows)
    assert len(rows) <= 2 * -(-sum(sizes) // 10)


@pytest.mark.parametrize("text", ["the quick brown", "Is the fox lazy? ", "a\n\n"])
def test_a_decoders_target_is_what_ranking_scores(tokenizer: Tokenizer, text: str) -> None:
    (one,) = tokenize([example(text, "Yes maybe")], tokenizer, layout(input_length=16), Truncation())
    context, choice = split_choice(tokenizer.encode, text.rstrip(), " Yes maybe", 0)
    assert (one.input, one.target) == (context, [*choice, 1])


def test_what_is_too_long_is_cut_and_counted(tokenizer: Tokenizer) -> None:
    long, counts = " ".join(["fox dog"] * 20), Truncation()
    examples = [example(long, "Yes"), example("the", long), example("the", "No")]
    for encoder_decoder in (False, True):
        shape = layout(encoder_decoder, input_length=6, target_length=4)
        first, second, _ = tokenize(examples, tokenizer, shape, counts)
        whole = tokenizer.encode(long)
        # A decoder needs the end of the question, an encoder is cut as published.
        assert first.input == (whole[:6] if encoder_decoder else whole[-6:])
        assert len(second.target) == 4 and 1 not in second.target
    assert (counts.examples, counts.inputs, counts.targets) == (6, 2, 2)


def test_an_encoders_source_has_no_end_token(tokenizer: Tokenizer) -> None:
    (one,) = tokenize([example("the fox", "Yes")], tokenizer, layout(True), Truncation())
    assert one.input == tokenizer.encode("the fox") and one.target == [*tokenizer.encode("Yes"), 1]


def test_rows_without_room_are_refused() -> None:
    with pytest.raises(ConfigError, match="leaves no room"):
        layout(sequence_length=8)
    with pytest.raises(ConfigError, match="input_length=0"):
        layout(input_length=0)


def test_tensors_are_what_networks_take() -> None:
    packed = pack([TokenizedExample([5, 6], [7, 1])], layout())
    assert packed["input_ids"].dtype == torch.int64 and packed["weights"].dtype == torch.float32
    assert packed["segment_ids"][0, :5].tolist() == [0, 0, 0, 0, -1]
