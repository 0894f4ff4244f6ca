"""Near duplicates: rates on a planted set, the compiled parts against sets, and which document stays."""

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hortus.corpus.config import NearDuplicatesConfig
from hortus.corpus.documents import Document, batches
from hortus.corpus.minhash import jaccard_of_pairs, shingle_sets
from hortus.corpus.rewriting import string_buffers
from hortus.corpus.steps.near import NearDuplicates, candidate_pairs, clusters_of
from hortus.errors import ConfigError


def shingles(text, width=5):
    words = [word for word in text.lower().split() if word]
    if not words:
        return set()
    width = min(width, len(words))
    return {tuple(words[i : i + width]) for i in range(len(words) - width + 1)}


def jaccard(a, b):
    a, b = shingles(a), shingles(b)
    return len(a & b) / len(a | b) if a | b else 0.0


def planted(pairs, seed=0):
    """Pairs of documents from equal to barely alike."""
    draw = random.Random(seed)
    texts = []
    for number in range(pairs):
        words = [f"w{draw.randrange(5000)}x{number}" for _ in range(draw.randint(60, 300))]
        other = list(words)
        for place in draw.sample(range(len(words)), int(len(words) * draw.uniform(0, 0.09))):
            other[place] = f"z{draw.randrange(10**6)}"
        texts += [" ".join(words), " ".join(other)]
    return texts


def run(texts, **settings):
    step = NearDuplicates(NearDuplicatesConfig(**settings))
    parts = list(batches(Document(text, "here", "en") for text in texts))
    (step.decision,) = step.decide([{k: np.concatenate([m[k] for m in map(step.measure, parts)]) for k in
                                     ("bands", "shingles", "counts", "sizes", "rows")}])  # fmt: skip
    outcome = [step.apply(part) for part in parts]
    dropped = [text for _, part in outcome for text in part.column("text").to_pylist()]
    return dropped, step.counts


def test_recall_and_precision_on_planted_pairs():
    texts = planted(600)
    dropped, counts = run(texts)
    true = [jaccard(texts[i], texts[i + 1]) >= 0.8 for i in range(0, len(texts), 2)]
    gone = set(dropped)
    found = [texts[i] in gone or texts[i + 1] in gone for i in range(0, len(texts), 2)]
    assert 150 < sum(true) < 550
    recall = sum(f for f, t in zip(found, true, strict=True) if t) / sum(true)
    precision = sum(t for f, t in zip(found, true, strict=True) if f) / sum(found)
    assert recall >= 0.97 and precision >= 0.99
    assert counts["clusters"] == sum(found)


def test_the_longest_of_a_cluster_stays_and_of_equals_the_first():
    base = " ".join(f"word{i}" for i in range(100))
    dropped, _ = run([base, base + " more words", "other text here", base])
    assert dropped == [base, base]
    assert run([base, base.upper(), ""])[0] == [base.upper()]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.sampled_from("abé \n日"), max_size=30), min_size=1, max_size=5))
def test_shingle_sets_and_similarity_equal_sets(texts):
    texts = [text.replace("日", "z") for text in texts]
    values, counts = shingle_sets(*string_buffers(pa.array(texts)), 3)
    assert counts.tolist() == [len(shingles(text, 3)) for text in texts]
    starts = np.cumsum(counts) - counts
    for i, a in enumerate(texts):
        for j, b in enumerate(texts):
            if counts[i] and counts[j]:
                got = jaccard_of_pairs(values, starts, counts, np.array([i]), np.array([j]))[0]
                union = shingles(a, 3) | shingles(b, 3)
                assert got == len(shingles(a, 3) & shingles(b, 3)) / len(union)


def test_characters_of_unspaced_scripts_are_words():
    text = "今天天气很好我们去公园散步吧"
    _, counts = shingle_sets(*string_buffers(pa.array([text])), 5)
    assert counts.tolist() == [len(text) - 4]


def test_candidates_are_pairs_that_share_a_band():
    bands = np.array([[1, 5], [2, 5], [1, 6], [0, 0], [0, 0]], np.uint64)
    first, second = candidate_pairs(bands)
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 1), (0, 2)]
    many = np.ones((100, 1), np.uint64)
    first, second = candidate_pairs(many)
    assert len(first) == 99 + 98  # the first and the neighbour of each
    assert clusters_of(100, first, second).tolist() == [0] * 100


def test_bands_must_fit_the_signature():
    with pytest.raises(ConfigError, match="bands=30, rows=5"):
        NearDuplicatesConfig(bands=30, rows=5)
