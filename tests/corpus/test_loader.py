"""The packed loader against its definition: order, mixture, boundaries, exact resumption."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hortus.corpus import PackedLoader, ValidationLoader, write_shards
from hortus.corpus.shards import ShardFolder
from hortus.errors import ConfigError, DataError
from hortus.tokenizer import language_shares


def take(loader, count):
    return list(itertools.islice(loader, count))


def same(first, second):
    return all((first[name] == second[name]).all() for name in first) and first.keys() == second.keys()


def pieces_of(folder, split, language, length):
    """All documents cut into pieces of `length`, as tuples."""
    found = []
    for shard in ShardFolder(folder).open(split, language):
        for start, stop in itertools.pairwise(shard.offsets.tolist()):
            document = shard.tokens[start:stop].tolist()
            found += [tuple(document[i : i + length]) for i in range(0, len(document), length)]
    return found


def test_shapes_types_and_ids(shard_folder):
    loader = PackedLoader(shard_folder, 16, 3)
    assert loader.length is None
    batch = next(iter(loader))
    assert batch["input_ids"].shape == batch["segment_ids"].shape == (3, 16)
    assert str(batch["input_ids"].dtype) == "torch.int64" and str(batch["segment_ids"].dtype) == "torch.int32"
    assert int(batch["input_ids"].min()) >= 0 and int(batch["input_ids"].max()) < loader.shards.vocab_size
    assert set(next(iter(PackedLoader(shard_folder, 16, keep_boundaries=False)))) == {"input_ids"}


def test_segments_change_exactly_after_the_end_of_a_document(shard_folder):
    # T is longer than every English document, so every piece is a whole one.
    loader = PackedLoader(shard_folder, 200, 4, languages=["en"])
    for batch in take(loader, 5):
        ids, segments = batch["input_ids"].numpy(), batch["segment_ids"].numpy()
        assert ((segments[:, 1:] != segments[:, :-1]) == (ids[:, :-1] == 2)).all()
        assert set(np.diff(segments).ravel().tolist()) <= {0, 1} and (segments[:, 0] == 0).all()


@pytest.mark.parametrize("length", [16, 200])
def test_every_document_comes_before_any_comes_again(shard_folder, length):
    expected = Counter(pieces_of(shard_folder, "train", "en", length))
    total = sum(len(piece) * count for piece, count in expected.items())
    tokens = [
        t for b in take(PackedLoader(shard_folder, length, languages=["en"]), 3 * total // length + 1)
        for t in b["input_ids"].ravel().tolist()
    ]  # fmt: skip
    orders = []
    for start in range(0, 3 * total, total):  # three passes, each all tokens of all documents
        one = tokens[start : start + total]
        assert Counter(one) == Counter(t for piece, count in expected.items() for t in piece * count)
        orders.append(one)
    assert orders[0] != orders[1] != orders[2]
    if length == 200:
        ends = [i for i, t in enumerate(orders[0]) if t == 2]
        cut = [tuple(orders[0][a + 1 : b + 1]) for a, b in itertools.pairwise([-1, *ends])]
        assert Counter(cut) == expected


def test_shares_of_tokens_follow_size_to_the_alpha(tmp_path, tokenizer, write_documents):
    # Each language is one digit, and documents differ in length between languages by a factor of 40.
    lengths = {"code": 400, "en": 30, "fr": 10}
    counts = {"code": 60, "en": 90, "fr": 25}
    digits = dict(zip(lengths, "357", strict=True))
    rows = [(digits[c] * (lengths[c] + i), c, "train") for c in lengths for i in range(counts[c])]
    folder = write_shards(write_documents(tmp_path / "c", rows), tokenizer, tmp_path / "s")
    sizes = folder.tokens("train")
    assert sizes["code"] == sum(401 + i for i in range(60))  # one token a digit, then </s>
    loader = PackedLoader(tmp_path / "s", 64, 50, alpha=0.3, code_share=0.4)
    assert loader.shares == language_shares(sizes, 0.3, {"code": 0.4})
    assert loader.shares["code"] == pytest.approx(0.4)
    seen = Counter(token for batch in take(loader, 200) for token in batch["input_ids"].ravel().tolist())
    without_ends = {c: loader.shares[c] * (1 - counts[c] / sizes[c]) for c in lengths}
    total = sum(without_ends.values())
    digits_seen = {c: seen[tokenizer.encode(digits[c])[0]] for c in lengths}
    fractions = {c: number / sum(digits_seen.values()) for c, number in digits_seen.items()}
    assert fractions == pytest.approx({c: share / total for c, share in without_ends.items()}, abs=0.015)


def test_the_mixture_defaults_to_what_the_shards_were_written_with(shard_folder):
    folder = ShardFolder(shard_folder)
    expected = language_shares(folder.tokens("train"), folder.alpha, {"code": folder.code_share})
    assert PackedLoader(shard_folder, 16).shares == expected
    assert PackedLoader(shard_folder, 16, alpha=0.0, code_share=1.0).shares == pytest.approx(
        dict.fromkeys(("code", "en", "fr"), 1 / 3)
    )


def test_same_seed_and_epoch_same_batches_others_differ(shard_folder):
    def first(seed, epoch):
        loader = PackedLoader(shard_folder, 32, 4, seed=seed)
        loader.set_epoch(epoch)
        return next(iter(loader))

    assert same(first(1, 0), first(1, 0)) and same(first(1, 3), first(1, 3))
    assert not same(first(1, 0), first(2, 0)) and not same(first(1, 0), first(1, 1))


def test_set_epoch_goes_back_to_its_start(shard_folder):
    loader = PackedLoader(shard_folder, 32, 4)
    start = next(iter(loader))
    take(loader, 5)
    loader.set_epoch(0)
    assert same(next(iter(loader)), start)


@given(st.integers(0, 40), st.integers(1, 5), st.sampled_from([2, 7, 32]), st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_resuming_gives_the_very_next_batches(shard_folder, before, batch_size, length, epoch):
    loader = PackedLoader(shard_folder, length, batch_size, seed=5)
    loader.set_epoch(epoch)
    take(loader, before)
    state = json.loads(json.dumps(loader.state_dict()))
    resumed = PackedLoader(shard_folder, length, batch_size, seed=5)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    for ours, theirs in zip(take(resumed, 25), take(loader, 25), strict=True):
        assert same(ours, theirs)


def test_resuming_across_a_block_of_draws(shard_folder, monkeypatch):
    monkeypatch.setattr("hortus.corpus.loader.DRAWS", 4)
    for before in range(12):
        loader = PackedLoader(shard_folder, 64, 1)
        take(loader, before)
        resumed = PackedLoader(shard_folder, 64, 1)
        resumed.load_state_dict(loader.state_dict())
        assert all(same(a, b) for a, b in zip(take(loader, 5), take(resumed, 5), strict=True))


def test_batch_size_may_change_between_batches_without_changing_the_rows(shard_folder):
    loader, steady = PackedLoader(shard_folder, 32, 1), PackedLoader(shard_folder, 32, 10)
    batches, stream = [], iter(loader)
    for size in (1, 2, 3, 4):
        loader.batch_size = size
        batches.append(next(stream)["input_ids"])
    assert [len(batch) for batch in batches] == [1, 2, 3, 4]
    expected = next(iter(steady))["input_ids"]
    assert [row for batch in batches for row in batch.tolist()] == expected.tolist()


def test_a_position_of_other_settings_or_shards_is_refused(
    shard_folder, tmp_path, tokenizer, write_documents, shard_rows
):
    state = PackedLoader(shard_folder, 32, seed=1).state_dict()
    for other in (
        PackedLoader(shard_folder, 16, seed=1),
        PackedLoader(shard_folder, 32, seed=2),
        PackedLoader(shard_folder, 32, seed=1, alpha=0.1),
    ):
        with pytest.raises(ConfigError, match="the saved data position has"):
            other.load_state_dict(state)
    write_shards(write_documents(tmp_path / "c", shard_rows[:5]), tokenizer, tmp_path / "s")
    with pytest.raises(ConfigError, match="has shards="):
        PackedLoader(tmp_path / "s", 32, seed=1).load_state_dict(state)


def test_one_document_is_enough(tmp_path, tokenizer, write_documents):
    write_shards(write_documents(tmp_path / "c", [("a", "en", "train")]), tokenizer, tmp_path / "s")
    batch = next(iter(PackedLoader(tmp_path / "s", 5, 2)))
    assert batch["input_ids"].ravel().tolist() == [*tokenizer.encode("a"), 2] * 5
    assert batch["segment_ids"].tolist() == [[0, 0, 1, 1, 2], [0, 1, 1, 2, 2]]


@pytest.mark.parametrize("kind", [PackedLoader, ValidationLoader])
def test_sizes_out_of_range_are_refused(shard_folder, kind):
    with pytest.raises(ConfigError, match="sequence_length=1; allowed: 2 or more"):
        kind(shard_folder, 1)
    with pytest.raises(ConfigError, match="batch_size=0"):
        kind(shard_folder, 16, 0)
    with pytest.raises(ConfigError, match="no 'xx' in the"):
        kind(shard_folder, 16, languages=["xx"])


def test_shards_without_a_split_are_named(tmp_path, tokenizer, write_documents):
    write_shards(write_documents(tmp_path / "c", [("a", "en", "train")]), tokenizer, tmp_path / "s")
    with pytest.raises(DataError, match="no validation documents"):
        ValidationLoader(tmp_path / "s", 16)


@given(st.integers(2, 60), st.integers(1, 5), st.booleans())
@settings(max_examples=30, deadline=None)
def test_validation_walks_every_token_once_in_order(shard_folder, length, batch_size, only_french):
    languages = ["fr"] if only_french else None
    loader = ValidationLoader(shard_folder, length, batch_size, languages=languages)
    documents = [
        document for language in languages or ["en", "fr"]
        for document in pieces_of(shard_folder, "validation", language, 10**6)
    ]  # fmt: skip
    expected = [token for document in documents for token in document]
    batches = list(loader)
    tokens = [token for batch in batches for token in batch["input_ids"].ravel().tolist()]
    assert tokens == expected[: len(expected) - (len(expected) % length == 1)]
    assert sum(len(batch["input_ids"]) for batch in batches) == loader.length
    assert all(batch["input_ids"].shape[1] == length for batch in batches[:-1])
    for batch in batches:
        ids, segments = batch["input_ids"].numpy(), batch["segment_ids"].numpy()
        assert ((segments[:, 1:] != segments[:, :-1]) == (ids[:, :-1] == 2)).all()
    assert list(loader) == []
    loader.set_epoch(0)
    assert all(same(a, b) for a, b in zip(loader, batches, strict=True))


def test_validation_resumes_and_counts_bytes(shard_folder, shard_rows):
    loader = ValidationLoader(shard_folder, 8, 2)
    texts = [text for text, _, split in shard_rows if split == "validation"]
    assert loader.num_bytes == sum(len(text.encode()) for text in texts)
    take(loader, 3)
    resumed = ValidationLoader(shard_folder, 8, 2)
    resumed.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    assert all(same(a, b) for a, b in zip(resumed, loader, strict=True))
    with pytest.raises(ConfigError, match="another sequence length"):
        ValidationLoader(shard_folder, 9).load_state_dict(loader.state_dict())
    assert set(next(iter(ValidationLoader(shard_folder, 8, keep_boundaries=False)))) == {"input_ids"}
