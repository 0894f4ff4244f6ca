"""Sketches and clusters against a plain statement with sets of shingles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hortus.corpus.near_duplicates import SKETCH_HASHES, Sketches, cluster, shingle_hashes, sketch


def words(seed: int, count: int) -> list[str]:
    return [f"w{number:x}" for number in np.random.default_rng(seed).integers(0, 10**6, count)]


def clusters(texts, overlap=0.5):
    sketches = Sketches()
    sketches.add(texts)
    return cluster(sketches, overlap).tolist()


def shingles(text: str) -> set[str]:
    even = " ".join(text.casefold().split())
    return {even[i : i + 10] for i in range(max(1, len(even) - 9))} if even else set()


@given(st.text(st.sampled_from("ab \nÉ日"), max_size=40), st.text(st.sampled_from("ab \nÉ日"), max_size=40))
def test_hashes_are_equal_exactly_where_shingles_are(first, second):
    a, b = set(shingle_hashes(first).tolist()), set(shingle_hashes(second).tolist())
    assert len(a) == len(shingles(first)) and len(b) == len(shingles(second))
    assert len(a & b) == len(shingles(first) & shingles(second))


def test_sketch_is_a_fair_sample_of_a_long_text():
    text = " ".join(words(0, 20_000))
    hashes, scale = sketch(text)
    assert scale > 0 and SKETCH_HASHES / 3 < len(hashes) <= 2 * SKETCH_HASHES
    assert np.all(np.diff(hashes.astype(object)) > 0) and int(hashes[-1]) < 2 ** (64 - scale)
    assert abs(len(hashes) * 2**scale / len(shingles(text)) - 1) < 0.4


def test_short_texts_are_sketched_whole():
    hashes, scale = sketch("a short text here")
    assert scale == 0 and len(hashes) == len(shingles("a short text here"))
    assert len(sketch("")[0]) == 0


@pytest.mark.parametrize("length", [30, 300, 3000])
def test_planted_near_duplicates_share_a_cluster_and_others_do_not(length):
    originals = [words(seed, length) for seed in range(12)]
    generator = np.random.default_rng(1)
    copies = []
    for original in originals:
        copy = list(original)
        for place in generator.choice(length, length // 30, replace=False):  # every 30th word replaced
            copy[place] = "changed"
        copies.append(copy)
    numbers = clusters([" ".join(part) for part in originals + copies])
    assert numbers == [*range(12), *range(12)]


def test_a_text_inside_a_longer_one_is_found():
    long = words(0, 4000)
    assert clusters([" ".join(long), " ".join(long[1000:1600]), " ".join(words(1, 600))]) == [0, 0, 2]


def test_clusters_chain_and_take_the_smallest_number():
    text = words(0, 300)
    other = " ".join(words(9, 200))
    chain = [" ".join(text[100:300]), other, " ".join(text[50:250]), " ".join(text[0:200])]
    assert clusters(chain, 0.7) == [0, 1, 0, 0]


def test_many_copies_of_one_template_are_one_cluster():
    template = " ".join(words(0, 200))
    texts = [f"{template} number {' '.join(words(seed, 20))}" for seed in range(1, 41)]
    assert clusters(texts) == [0] * 40


def test_a_shared_header_does_not_link():
    header = " ".join(words(0, 60))
    texts = [f"{header} {' '.join(words(seed, 400))}" for seed in range(1, 31)]
    assert clusters(texts) == list(range(30))


def test_nothing_and_empty_texts():
    assert clusters([]) == []
    assert clusters(["", "", "a"]) == [0, 1, 2]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.randoms())
def test_membership_does_not_depend_on_the_order(kinds, random):
    texts = [" ".join([*words(kind, 80), f"end{place}"]) for place, kind in enumerate(kinds)]
    order = list(range(len(texts)))
    random.shuffle(order)
    plain, shuffled = clusters(texts), clusters([texts[i] for i in order])
    together = {frozenset(i for i in range(len(texts)) if plain[i] == number) for number in plain}
    assert together == {frozenset(order[i] for i in range(len(texts)) if shuffled[i] == n) for n in shuffled}
