"""Topic models against plain statements of their formulas, and against published libraries where
installed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from hortus.topics import LatentDirichletAllocation
from hortus.topics.counts import check_counts, split_tokens
from hortus.topics.formats import read_ldac
from hortus.topics.inference import completion_perplexity, fold_in


@pytest.fixture(scope="module")
def reuters() -> sparse.csr_array:
    root = os.environ.get("HORTUS_TEST_DATA")
    path = Path(root or "") / "topics" / "reuters395" / "reuters.ldac"
    if not root or not path.exists():
        pytest.skip("HORTUS_TEST_DATA does not name a folder with topics/reuters395")
    return read_ldac(path)


def plain_perplexity(matrix: np.ndarray, phi: np.ndarray, alpha: float, seed: int) -> float:
    """Document completion as stated: fold half of the tokens in, score the other half."""
    given, scored = (half.toarray() for half in split_tokens(sparse.csr_array(matrix), seed))
    total = 0.0
    for half, other in zip(given, scored, strict=True):
        theta = np.full(len(phi), 1 / len(phi))
        for _ in range(3000):
            share = theta[:, None] * phi
            share /= share.sum(axis=0)
            theta = share @ half + alpha
            theta /= theta.sum()
        total += other @ np.log(theta @ phi)
    return float(np.exp(-total / scored.sum()))


def test_document_completion_by_its_formula() -> None:
    generator = np.random.default_rng(0)
    matrix = generator.poisson(1.0, (12, 15)) + np.eye(12, 15, dtype=int) * 2
    phi = generator.dirichlet(np.full(15, 0.5), 4)
    expected = plain_perplexity(matrix, phi, 0.3, seed=5)
    assert completion_perplexity(sparse.csr_array(matrix), phi, np.full(4, 0.3), seed=5) == pytest.approx(
        expected, rel=1e-4
    )


def plain_variational(matrix: np.ndarray, phi_weights: np.ndarray, alpha: float) -> np.ndarray:
    """The E-step of variational Bayes for one document, gamma (K,)."""
    from scipy.special import psi

    gamma = np.full(len(phi_weights), alpha + matrix.sum() / len(phi_weights))
    for _ in range(500):
        share = np.exp(psi(gamma) - psi(gamma.sum()))[:, None] * phi_weights
        gamma = alpha + (share / share.sum(axis=0)) @ matrix
    return gamma


def test_variational_step_by_its_formula() -> None:
    from hortus.topics.inference import variational_step

    generator = np.random.default_rng(1)
    counts = check_counts(generator.poisson(2.0, (1, 9)) + 1)
    weights = generator.dirichlet(np.ones(9), 3)
    gamma, expected = np.ones((1, 3)), np.zeros((9, 3))
    matrix = counts.matrix
    variational_step(
        matrix.indptr,
        matrix.indices,
        matrix.data,
        np.ascontiguousarray(weights.T),
        np.full(3, 0.4),
        gamma,
        expected,
        0,
        1,
        500,
        1e-10,
    )
    assert gamma[0] == pytest.approx(plain_variational(matrix.toarray()[0], weights, 0.4), rel=1e-6)
    assert expected.sum() == pytest.approx(counts.num_tokens)


def test_variational_perplexity_equals_scikit_learn(reuters: sparse.csr_array) -> None:
    from sklearn.decomposition import LatentDirichletAllocation as Reference

    train, test = reuters[:350], reuters[350:]
    priors = {"doc_topic_prior": 0.1, "topic_word_prior": 0.05, "random_state": 0}
    ours = LatentDirichletAllocation(10, method="variational", num_sweeps=60, tolerance=1e-6, **priors)
    ours.fit(train)
    theirs = Reference(10, learning_method="batch", max_iter=60, **priors).fit(train)
    seen = np.asarray(train.sum(axis=0)).ravel() > 0
    phi = theirs.components_ * seen
    phi /= phi.sum(axis=1, keepdims=True)
    # Two local optima from different random starts: a few percent apart, as scikit-learn's own seeds are.
    found = completion_perplexity(test, ours.topic_word_, np.full(10, 0.1))
    assert found == pytest.approx(completion_perplexity(test, phi, np.full(10, 0.1)), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["tomotopy", "lda"])
def test_gibbs_perplexity_equals_the_samplers_in_use(reuters: sparse.csr_array, peer: str) -> None:
    module = pytest.importorskip(peer)
    train, test = reuters[:350], reuters[350:]
    perplexities = []
    for seed in range(3):
        if peer == "tomotopy":
            model = module.LDAModel(k=20, alpha=0.1, eta=0.01, seed=seed, min_cf=0, rm_top=0)
            model.optim_interval = 0
            for d in range(train.shape[0]):
                row = slice(train.indptr[d], train.indptr[d + 1])
                model.add_doc(np.repeat(train.indices[row], train.data[row]).astype(str).tolist())
            model.train(400, workers=1)
            phi = np.zeros((20, train.shape[1]))
            names = [int(word) for word in model.used_vocabs]
            phi[:, names] = [model.get_topic_word_dist(k) for k in range(20)]
        else:
            model = module.LDA(20, n_iter=400, alpha=0.1, eta=0.01, random_state=seed).fit(train)
            phi = model.topic_word_
        perplexities.append(completion_perplexity(test, phi, np.full(20, 0.1)))
    ours = [
        LatentDirichletAllocation(20, doc_topic_prior=0.1, topic_word_prior=0.01, random_state=seed)
        .fit(train)
        .perplexity(test)
        for seed in range(3)
    ]
    assert np.mean(ours) == pytest.approx(np.mean(perplexities), rel=0.03)


def test_folding_in_is_a_fixed_point() -> None:
    generator = np.random.default_rng(2)
    phi, alpha = generator.dirichlet(np.ones(20), 3), np.array([0.5, 0.2, 0.9])
    matrix = sparse.csr_array(generator.poisson(1.5, (6, 20)))
    theta = fold_in(matrix, phi, alpha, max_steps=5000, tolerance=1e-12)
    share = theta[:, :, None] * phi[None]
    share /= share.sum(axis=1, keepdims=True)
    again = (share * matrix.toarray()[:, None, :]).sum(axis=2) + alpha
    np.testing.assert_allclose(again / again.sum(axis=1, keepdims=True), theta, atol=1e-8)
