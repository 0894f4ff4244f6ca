"""Which clusters are held out."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hortus.corpus.config import CorpusConfig
from hortus.corpus.split import SplitEntry, choose_validation

CONFIG = CorpusConfig(validation_fraction=0.1, validation_floor_bytes=0)
ENTRIES = [SplitEntry(f"id{i}", "en", 100, i) for i in range(2000)]


def held_documents(entries, config):
    chosen = choose_validation(entries, config)
    return Counter(entry.language for entry in entries if entry.cluster in chosen)


def test_the_fraction_holds_and_another_seed_holds_out_others():
    first = choose_validation(ENTRIES, CONFIG)
    assert 150 < len(first) < 250
    second = choose_validation(ENTRIES, replace(CONFIG, seed=1))
    assert len(first & second) < 60


def test_order_and_cluster_numbers_do_not_matter():
    chosen = choose_validation(ENTRIES, CONFIG)
    renumbered = [replace(entry, cluster=entry.cluster + 7) for entry in reversed(ENTRIES)]
    assert {number - 7 for number in choose_validation(renumbered, CONFIG)} == chosen


def test_added_documents_move_no_other():
    chosen = choose_validation(ENTRIES[:1000], CONFIG)
    assert choose_validation(ENTRIES, CONFIG) & set(range(1000)) == chosen


def test_a_small_language_gets_its_floor_within_the_limit():
    config = CorpusConfig(validation_fraction=0.01, validation_floor_bytes=1000, validation_limit=0.25)
    entries = ENTRIES + [SplitEntry(f"yo{i}", "yo", 100, 5000 + i) for i in range(20)]
    held = held_documents(entries, config)
    assert held["yo"] == 5  # the limit of 500 bytes binds before the floor of 1,000
    entries = ENTRIES + [SplitEntry(f"yo{i}", "yo", 100, 5000 + i) for i in range(200)]
    held = held_documents(entries, config)
    assert 10 <= held["yo"] <= 12


def test_no_fraction_holds_out_nothing():
    assert (
        choose_validation(ENTRIES, replace(CONFIG, validation_fraction=0.0, validation_floor_bytes=500))
        == set()
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from(["en", "fr", "yo"]), st.integers(1, 500)), max_size=40
    ),
    st.floats(0, 0.9),
    st.integers(0, 3000),
)
def test_no_language_holds_out_more_than_the_limit(rows, fraction, floor):
    entries = [
        SplitEntry(f"{i}", language, size, cluster) for i, (cluster, language, size) in enumerate(rows)
    ]
    config = CorpusConfig(validation_fraction=fraction, validation_floor_bytes=floor, validation_limit=0.3)
    chosen = choose_validation(entries, config)
    total, held = Counter(), Counter()
    for entry in entries:
        total[entry.language] += entry.num_bytes
        held[entry.language] += entry.num_bytes * (entry.cluster in chosen)
    assert all(held[language] <= 0.3 * total[language] for language in total)
    assert choose_validation(entries, config) == chosen
