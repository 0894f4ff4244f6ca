"""The estimator: scikit-learn's checks, exactness of the sampler, reproducibility, artifacts, bad input."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from math import lgamma
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from scipy.special import psi
from sklearn.utils.estimator_checks import parametrize_with_checks

import hortus
from hortus.errors import ArtifactError, ConfigError, DataError
from hortus.topics import LatentDirichletAllocation, gibbs
from hortus.topics.counts import check_counts
from hortus.topics.gibbs import _Chain
from hortus.topics.inference import digamma, plug_in_log_likelihood
from hortus.topics.priors import update_prior


# The checks draw fractional data, which a topic model takes only when told to round. No check is exempt.
@parametrize_with_checks(
    [
        LatentDirichletAllocation(2, num_sweeps=15, fractional="round"),
        LatentDirichletAllocation(2, num_sweeps=15, fractional="round", method="variational"),
    ]
)
def test_estimator_checks(estimator: LatentDirichletAllocation, check: object) -> None:
    check(estimator)  # type: ignore[operator]


def exact_posterior(words: list[int], documents: list[int], alpha: np.ndarray, eta: float) -> dict:
    """p(z | w) of every assignment of a handful of tokens, from the collapsed joint."""
    num_topics, num_words = len(alpha), max(words) + 1
    logs = {}
    for z in itertools.product(range(num_topics), repeat=len(words)):
        table, shares = np.zeros((num_words, num_topics)), np.zeros((max(documents) + 1, num_topics))
        for w, d, k in zip(words, documents, z, strict=True):
            table[w, k] += 1
            shares[d, k] += 1
        value = sum(lgamma(n + eta) for n in table.ravel())
        value -= sum(lgamma(n + num_words * eta) for n in table.sum(axis=0))
        value += sum(lgamma(n + a) for row in shares for n, a in zip(row, alpha, strict=True))
        logs[z] = value
    top = max(logs.values())
    total = sum(np.exp(value - top) for value in logs.values())
    return {z: np.exp(value - top) / total for z, value in logs.items()}


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("initial", ["sequential", "random"])
def test_the_chain_visits_the_exact_posterior(
    initial: str, dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gibbs, "DENSE_UP_TO", 256 if dense else 0)
    counts = check_counts([[2, 1, 0], [0, 1, 2]])
    chain = _Chain(counts, 2, np.array([0.3, 0.9]), 0.2, seed=3, num_threads=1)
    chain.begin(initial, None)
    exact = exact_posterior(chain.words.tolist(), chain.documents.tolist(), chain.alpha, chain.eta)
    visits = dict.fromkeys(exact, 0)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(20_000):
            chain.advance(pool)
            visits[tuple(chain.topics.tolist())] += 1
    assert sum(abs(visits[z] / 20_000 - chance) for z, chance in exact.items()) / 2 < 0.04


@pytest.mark.parametrize("dense", [True, False])
def test_a_lone_token_draws_from_the_prior_of_many_topics(
    dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gibbs, "DENSE_UP_TO", 256 if dense else 0)
    alpha = np.linspace(0.1, 2.0, 70)
    chain = _Chain(check_counts([[1]]), 70, alpha, 0.2, seed=5, num_threads=1)
    chain.begin("random", None)
    visits = np.zeros(70)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(20_000):
            chain.advance(pool)
            visits[chain.topics[0]] += 1
    assert np.abs(visits / 20_000 - alpha / alpha.sum()).sum() / 2 < 0.04


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_counts_stay_consistent_across_threads(
    block_counts: sparse.csr_array, threads: int, dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gibbs, "DENSE_UP_TO", 256 if dense else 0)
    counts = check_counts(block_counts)
    chain = _Chain(counts, 5, np.full(5, 0.2), 0.1, seed=1, num_threads=threads)
    chain.begin("random", None)
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            chain.advance(pool)
    expected = np.zeros_like(chain.word_topic)
    np.add.at(expected, (chain.words, chain.topics), 1)
    np.testing.assert_array_equal(chain.word_topic, expected)
    np.testing.assert_array_equal(chain.totals, expected.sum(axis=0))
    own = np.zeros((counts.num_documents, 32))
    if dense:
        own[:] = chain.table
    else:
        for d, (begin, size) in enumerate(chain.places):
            own[d, chain.entries[begin : begin + size, 0]] = chain.entries[begin : begin + size, 1]
    np.testing.assert_array_equal(own[:, :5], chain.document_topic())


@pytest.mark.parametrize("settings", [{}, {"num_threads": 2}, {"method": "variational", "num_threads": 2}])
def test_same_seed_and_threads_same_model(block_counts: sparse.csr_array, settings: dict) -> None:
    models = [LatentDirichletAllocation(3, num_sweeps=20, random_state=4, **settings) for _ in range(2)]
    first, second = (model.fit(block_counts).components_ for model in models)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"average": True},
        {"method": "variational"},
        {"optimize_priors": "asymmetric"},
        {"initial": "random", "optimize_priors": "symmetric"},
    ],
)
def test_true_topics_are_found(block_counts: sparse.csr_array, settings: dict) -> None:
    model = LatentDirichletAllocation(3, num_sweeps=80, restarts=3, random_state=0, **settings)
    model.fit(block_counts)
    tops = {frozenset(row) for row in np.argsort(-model.components_, axis=1)[:, :10].tolist()}
    assert tops == {frozenset(range(10)), frozenset(range(10, 20)), frozenset(range(20, 30))}
    assert model.log_likelihood_ == max(model.restart_log_likelihoods_)
    value = plug_in_log_likelihood(block_counts, model.document_topic_, model.topic_word_)
    assert model.log_likelihood_ == pytest.approx(value)


def test_median_restart(block_counts: sparse.csr_array) -> None:
    model = LatentDirichletAllocation(2, num_sweeps=5, restarts=3, keep="median", random_state=0)
    model.fit(block_counts)
    assert model.log_likelihood_ == np.median(model.restart_log_likelihoods_)


def test_likelihood_grows_and_evidence_is_kept(block_counts: sparse.csr_array) -> None:
    model = LatentDirichletAllocation(3, num_sweeps=100, num_kept=4, thin=5, initial="random", random_state=1)
    model.fit(block_counts)
    assert [sweep for sweep, _ in model.trace_] == [25, 50, 75, 100]
    assert len(model.evidence_) == 4
    assert model.trace_[-1][1] > plug_in_log_likelihood(
        block_counts, np.full((90, 3), 1 / 3), np.full((3, 30), 1 / 30)
    )


def test_warm_start_splits_the_largest_topics(block_counts: sparse.csr_array) -> None:
    smaller = LatentDirichletAllocation(2, num_sweeps=40, random_state=1).fit(block_counts)
    larger = LatentDirichletAllocation(3, num_sweeps=40, random_state=1).fit(block_counts, start=smaller)
    assert larger.log_likelihood_ > smaller.log_likelihood_
    with pytest.raises(ConfigError, match="start has 3 topics"):
        LatentDirichletAllocation(2, num_sweeps=5).fit(block_counts, start=larger)
    with pytest.raises(DataError, match="another corpus"):
        LatentDirichletAllocation(4, num_sweeps=5).fit(block_counts[:50], start=larger)


def test_empty_documents_and_unused_words_keep_their_places(block_counts: sparse.csr_array) -> None:
    wide = sparse.lil_array((92, 31), dtype=np.int64)
    wide[1:91, 1:] = block_counts
    model = LatentDirichletAllocation(3, num_sweeps=30, random_state=2).fit(wide)
    assert model.corpus_["empty_documents_removed"] == 2
    assert model.corpus_["unused_words_removed"] == 1
    assert (model.components_[:, 0] == 0).all()
    assert model.document_topic_[0].tolist() == [1 / 3] * 3
    unknown = sparse.csr_array(([5], ([0], [0])), shape=(1, 31))
    assert model.transform(unknown)[0] == pytest.approx([1 / 3] * 3)


def test_transform_is_the_maximum_of_the_posterior() -> None:
    model = LatentDirichletAllocation(2, num_sweeps=30, doc_topic_prior=0.7, random_state=1)
    model.fit(np.kron(np.eye(2, dtype=int), np.full((5, 3), 4)))
    new = np.array([[3, 1, 0, 0, 2, 1]])
    theta, phi = model.transform(new)[0], model.topic_word_

    def objective(share: float) -> float:
        mixture = np.array([share, 1 - share])
        return float((new @ np.log(mixture @ phi))[0] + 0.7 * np.log(mixture).sum())

    grid = np.linspace(0.001, 0.999, 999)
    assert theta[0] == pytest.approx(grid[np.argmax([objective(share) for share in grid])], abs=2e-3)


def test_one_topic_is_the_corpus(block_counts: sparse.csr_array) -> None:
    model = LatentDirichletAllocation(1, num_sweeps=3, topic_word_prior=1e-9).fit(block_counts)
    shares = np.asarray(block_counts.sum(axis=0)) / block_counts.sum()
    assert model.topic_word_[0] == pytest.approx(shares, abs=1e-9)
    assert model.document_topic_.tolist() == [[1.0]] * 90


def test_texts_in_texts_out() -> None:
    texts = ["apple pear plum apple", "plum pear apple", "bolt screw nail", "nail bolt screw screw"] * 3
    model = LatentDirichletAllocation(2, num_sweeps=40, random_state=0).fit(texts)
    assert model.vocabulary_ == ["apple", "bolt", "nail", "pear", "plum", "screw"]
    fruit, metal, nothing = model.transform(["a pear and an apple", "one screw", "zebra"])
    assert fruit.argmax() != metal.argmax()
    assert nothing == pytest.approx([0.5, 0.5])
    assert {frozenset(words) for words in model.top_words(3)} == {
        frozenset(("apple", "pear", "plum")),
        frozenset(("bolt", "nail", "screw")),
    }


def test_saved_and_loaded(block_counts: sparse.csr_array, tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(30)]
    model = LatentDirichletAllocation(3, num_sweeps=20, restarts=2, random_state=3)
    model.fit(block_counts, vocabulary=words)
    model.save(tmp_path / "model")
    loaded = hortus.load(tmp_path / "model")
    assert loaded.get_params() == model.get_params()
    np.testing.assert_array_equal(loaded.components_, model.components_)
    np.testing.assert_array_equal(loaded.transform(block_counts), model.transform(block_counts))
    assert loaded.top_words() == model.top_words()
    assert loaded.trace_ == model.trace_ and loaded.corpus_ == model.corpus_
    loaded.save(tmp_path / "again")
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("model", "again"))
    assert first == second
    (tmp_path / "model" / "config.json").write_text('{"model_type": "lda"}')
    with pytest.raises(ArtifactError, match="not a topic model's"):
        LatentDirichletAllocation.load(tmp_path / "model")


def test_perplexity_prefers_the_true_model(block_counts: sparse.csr_array) -> None:
    train, test = block_counts[:70], block_counts[70:]
    one, three = (LatentDirichletAllocation(k, num_sweeps=40, random_state=0).fit(train) for k in (1, 3))
    assert three.perplexity(test) < one.perplexity(test) <= 30.5
    assert three.score(test) == pytest.approx(-np.log(three.perplexity(test)))


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"num_topics": 0}, ConfigError, "num_topics=0"),
        ({"num_topics": 91}, ConfigError, "allowed: 1 to 30"),
        ({"num_topics": 31}, ConfigError, "allowed: 1 to 30"),
        ({"method": "gibs"}, ConfigError, "did you mean 'gibbs'"),
        ({"keep": "worst"}, ConfigError, "keep='worst'"),
        ({"doc_topic_prior": -1.0}, ConfigError, "doc_topic_prior"),
        ({"doc_topic_prior": [0.1, 0.2]}, ConfigError, "or 3 of them"),
        ({"topic_word_prior": 0.0}, ConfigError, "Dirichlet"),
        ({"num_threads": True}, ConfigError, "num_threads"),
    ],
)
def test_bad_settings(
    block_counts: sparse.csr_array, settings: dict, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        LatentDirichletAllocation(**{"num_topics": 3, **settings}).fit(block_counts)


def test_vocabulary_of_the_wrong_size(block_counts: sparse.csr_array) -> None:
    with pytest.raises(DataError, match="transpose X"):
        LatentDirichletAllocation(3).fit(block_counts, vocabulary=[str(i) for i in range(90)])


def test_digamma() -> None:
    for x in (1e-3, 0.1, 1.0, 5.9, 6.0, 300.0):
        assert digamma(x) == pytest.approx(psi(x), rel=1e-9)


def test_prior_update_finds_the_prior_of_the_data() -> None:
    generator = np.random.default_rng(0)
    truth = np.array([0.2, 0.6, 1.5])
    counts = np.array([generator.multinomial(200, p) for p in generator.dirichlet(truth, 4000)])
    found = update_prior(counts, np.full(3, 1.0), symmetric=False, steps=200)
    assert found == pytest.approx(truth, rel=0.08)
    same = update_prior(counts, np.full(3, 1.0), symmetric=True, steps=200)
    assert len(set(same.tolist())) == 1
