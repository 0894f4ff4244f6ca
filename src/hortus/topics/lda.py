"""Latent Dirichlet allocation in scikit-learn's form: collapsed Gibbs sampling or variational Bayes.

Axes: D documents, V words, K topics. Learned attributes are in the user's rows and columns: an empty document
has the mean of the prior as its topic proportions, an unused word has probability 0 in every topic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from hortus.card import ModelCard
from hortus.errors import ConfigError, DataError
from hortus.topics.config import ModelConfig, at_least, one_of
from hortus.topics.counts import Counts, check_counts
from hortus.topics.fits import fit_model, kept_fit
from hortus.topics.gibbs import Fit
from hortus.topics.inference import completion_perplexity, fold_in
from hortus.topics.texts import count_texts, is_texts

__all__ = ["LatentDirichletAllocation"]


class LatentDirichletAllocation(TransformerMixin, BaseEstimator):
    """Topics of a collection of documents.

    Args:
        num_topics: K, from 1 to the smaller of the numbers of words and documents.
        method: "gibbs" (collapsed, sparse, in threads) or "variational" (batch).
        num_sweeps: sweeps of the sampler; the most iterations of the variational method.
        num_kept, thin: sweeps at the end, `thin` apart, for averages and the Griffiths-Steyvers estimate.
        average: take theta and phi from the mean of the kept sweeps, not from the last one.
        doc_topic_prior, topic_word_prior: alpha (a number or K numbers) and eta; 1/K each when None.
        optimize_priors: "none", "symmetric" or "asymmetric" (of alpha; eta stays symmetric): Minka's updates.
        restarts: independent fits; `keep` says which stays, the "best" or the "median" log-likelihood.
        initial: first topics of the tokens, "sequential" or "random".
        tolerance: relative growth of the log-likelihood at which the variational method stops.
        fractional: "refuse" counts that are not whole, or "round" them.
        num_threads: threads that share the documents. The same seed and number give the same result.
        random_state: a seed, a RandomState, or None.

    Attributes:
        components_: (K, V) pseudo-counts n_kw + eta; rows normalised are `topic_word_`.
        topic_word_: (K, V) phi. document_topic_: (D, K) theta.
        log_likelihood_: plug-in sum_dw n_dw log sum_k theta_dk phi_kw of the fit that was kept.
        trace_: (sweep, log-likelihood) pairs. evidence_: log p(w | z) of the kept sweeps.
        restart_log_likelihoods_: (restarts,). doc_topic_prior_, topic_word_prior_: at the end of the fit.
        corpus_: D, V, n and what was removed. vocabulary_: words of the columns, or None.

    >>> model = LatentDirichletAllocation(2, num_sweeps=60, random_state=1)
    >>> theta = model.fit_transform([[4, 3, 0, 0], [3, 5, 0, 0], [0, 0, 4, 4], [0, 0, 2, 6]])
    >>> theta.argmax(axis=1)[0] != theta.argmax(axis=1)[2]
    np.True_
    """

    kind = "lda"

    def __init__(
        self,
        num_topics: int = 10,
        *,
        method: str = "gibbs",
        num_sweeps: int = 400,
        num_kept: int = 10,
        thin: int = 5,
        average: bool = False,
        doc_topic_prior: Any = None,
        topic_word_prior: float | None = None,
        optimize_priors: str = "none",
        restarts: int = 1,
        keep: str = "best",
        initial: str = "sequential",
        tolerance: float = 1e-5,
        fractional: str = "refuse",
        num_threads: int = 1,
        random_state: Any = None,
    ):
        self.num_topics = num_topics
        self.method = method
        self.num_sweeps = num_sweeps
        self.num_kept = num_kept
        self.thin = thin
        self.average = average
        self.doc_topic_prior = doc_topic_prior
        self.topic_word_prior = topic_word_prior
        self.optimize_priors = optimize_priors
        self.restarts = restarts
        self.keep = keep
        self.initial = initial
        self.tolerance = tolerance
        self.fractional = fractional
        self.num_threads = num_threads
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        vocabulary: Sequence[str] | None = None,
        start: LatentDirichletAllocation | None = None,
        progress: Callable[[int, int], Any] | None = None,
    ) -> LatentDirichletAllocation:
        """Fit the topics.

        Args:
            X: (D, V) counts, dense or sparse, or a list of texts (counted with `hortus.topics.count_texts`).
            vocabulary: the words of the columns, for top words and saved models.
            start: a model of the same corpus with at most K topics to start from; its largest topics are
                split.
            progress: called as progress(sweep, num_sweeps).

        Raises:
            ConfigError: a setting out of range; K above the number of words or documents in use.
            DataError: counts that are negative, NaN or fractional, or no tokens at all.
        """
        config = self._checked_settings()
        X, vocabulary = self._counted(X, vocabulary)
        counts = check_counts(X, self.fractional)
        if vocabulary is not None and len(vocabulary) != counts.shape[1]:
            raise DataError(
                f"vocabulary has {len(vocabulary)} words and X has {counts.shape[1]} columns",
                do="transpose X" if len(vocabulary) == counts.shape[0] else "give one word per column",
            )
        smaller = min(counts.num_words, counts.num_documents)
        if self.num_topics > smaller:
            raise ConfigError(
                f"num_topics={self.num_topics} with n_samples = {counts.num_documents} documents in use and "
                f"{counts.num_words} feature(s), the words in use",
                allowed=f"1 to {smaller}",
            )
        self.vocabulary_ = None if vocabulary is None else [str(word) for word in vocabulary]
        self._adopt(counts, self._best_fit(counts, config, start, progress))
        return self

    def _counted(self, X: Any, vocabulary: Sequence[str] | None) -> tuple[Any, Sequence[str] | None]:
        """Texts as counts; matrices as they are, with scikit-learn's bookkeeping of columns done."""
        if is_texts(X):
            counted = count_texts(X)
            self.n_features_in_ = len(counted.vocabulary)
            return counted.matrix, counted.vocabulary
        checked = validate_data(
            self, X, accept_sparse="csr", ensure_all_finite=False, ensure_min_samples=1, dtype="numeric"
        )
        return checked, vocabulary

    def _best_fit(
        self,
        counts: Counts,
        config: ModelConfig,
        start: LatentDirichletAllocation | None,
        progress: Callable[[int, int], Any] | None,
    ) -> Fit:
        seeds = check_random_state(self.random_state).randint(0, 2**31 - 1, size=self.restarts)
        origin = None if start is None else self._checked_start(start, counts)
        fits = [
            fit_model(counts, self.num_topics, config, int(seed), self.num_threads, origin, progress)
            for seed in seeds
        ]
        self.restart_log_likelihoods_ = np.array([fit.log_likelihood for fit in fits])
        return kept_fit(fits, self.keep)

    def _checked_start(self, start: LatentDirichletAllocation, counts: Counts) -> Fit:
        check_is_fitted(start)
        if start.num_topics > self.num_topics:
            raise ConfigError(
                f"start has {start.num_topics} topics", allowed=f"at most num_topics={self.num_topics}"
            )
        same = start.document_topic_.shape[0] == counts.shape[0] and start.n_features_in_ == counts.shape[1]
        if not same:
            raise DataError("start was fitted on another corpus", do="fit it on the same matrix")
        fit = start._fit
        if fit is None:
            raise ConfigError(
                "start was loaded from a folder", do="start from a model fitted in this process"
            )
        return fit

    def _adopt(self, counts: Counts, fit: Fit) -> None:
        num_documents, num_words = counts.shape
        self.components_ = np.zeros((self.num_topics, num_words))
        self.components_[:, counts.words] = fit.word_topic.T + fit.eta
        self.document_topic_ = np.tile(fit.alpha / fit.alpha.sum(), (num_documents, 1))
        self.document_topic_[counts.documents] = fit.theta
        self.doc_topic_prior_, self.topic_word_prior_ = fit.alpha, fit.eta
        self.log_likelihood_, self.trace_, self.evidence_ = fit.log_likelihood, fit.trace, fit.evidence
        self.n_iter_ = fit.trace[-1][0]
        self.corpus_ = counts.describe()
        self._fit: Fit | None = fit

    @classmethod
    def from_fit(
        cls, counts: Counts, fit: Fit, vocabulary: Sequence[str] | None, **parameters: Any
    ) -> LatentDirichletAllocation:
        """A fitted model around a fit made elsewhere, as by `select_num_topics`."""
        model = cls(**parameters)
        model.n_features_in_ = counts.shape[1]
        model.vocabulary_ = None if vocabulary is None else list(vocabulary)
        model.restart_log_likelihoods_ = np.array([fit.log_likelihood])
        model._adopt(counts, fit)
        return model

    @property
    def topic_word_(self) -> np.ndarray:
        """(K, V) the topics: distributions over words."""
        return self.components_ / self.components_.sum(axis=1, keepdims=True)

    def fit_transform(self, X: Any, y: Any = None, **options: Any) -> np.ndarray:
        """Fit, then fold the same documents in: equal to fit(X).transform(X), (D, K)."""
        return self.fit(X, y, **options).transform(X)

    def transform(self, X: Any) -> np.ndarray:
        """Topic proportions (D, K) of documents under the fitted topics, each document by itself.

        Words that the model never saw are left out.
        """
        return fold_in(self._known(X), self.topic_word_, self.doc_topic_prior_)

    def perplexity(self, X: Any, seed: int = 0) -> float:
        """Held-out perplexity by document completion of (D, V) counts or texts; smaller is better."""
        return completion_perplexity(self._known(X), self.topic_word_, self.doc_topic_prior_, seed)

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the log of the held-out perplexity: log-likelihood per scored token; larger is better."""
        return -float(np.log(self.perplexity(X)))

    def _known(self, X: Any) -> Any:
        """Counts (D, V) of new documents with the words that the model saw."""
        check_is_fitted(self)
        if is_texts(X):
            if self.vocabulary_ is None:
                raise DataError("the model has no vocabulary", do="fit on texts, or give vocabulary to fit")
            X = count_texts(X, vocabulary=self.vocabulary_, allow_empty=True).matrix
        else:
            X = validate_data(self, X, accept_sparse="csr", reset=False, ensure_all_finite=False)
        counts = check_counts(X, self.fractional, allow_empty=True)
        seen = np.flatnonzero(self.components_[0] > 0)
        return counts.restore(seen)

    def top_words(self, num_words: int = 10) -> list[list[str]]:
        """The most probable words of each topic; column numbers where there is no vocabulary."""
        check_is_fitted(self)
        order = np.argsort(-self.components_, axis=1, kind="stable")[:, :num_words]
        names = self.vocabulary_ or [str(i) for i in range(self.components_.shape[1])]
        return [[names[i] for i in row] for row in order]

    def _checked_settings(self) -> ModelConfig:
        at_least(self, 1, "num_topics", "restarts", "num_threads")
        one_of(self, "keep", "best", "median")
        return ModelConfig(**{item.name: getattr(self, item.name) for item in fields(ModelConfig)})

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.input_tags.sparse = True
        return tags

    @property
    def card(self) -> ModelCard:
        """What a reader of the saved folder should know."""
        check_is_fitted(self)
        results = {"log-likelihood per token": self.log_likelihood_ / self.corpus_["tokens"]}
        data = "{documents} documents, {words} words, {tokens} tokens".format(**self.corpus_)
        return ModelCard(name=f"LDA, {self.num_topics} topics", kind=self.kind, data=data, results=results)

    def save(self, folder: str | Path, recipe: dict[str, Any] | None = None) -> None:
        """Write the model as an artifact that `hortus.load` opens."""
        from hortus.topics.artifact import save_model

        save_model(self, folder, recipe)

    @classmethod
    def load(cls, folder: str | Path) -> LatentDirichletAllocation:
        """Open an artifact written by `save`."""
        from hortus.topics.artifact import load_model

        return load_model(cls, folder)
