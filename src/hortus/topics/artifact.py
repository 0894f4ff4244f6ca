"""A topic model as an artifact folder: config.json, model.safetensors, vocabulary.json, README.md.

Tensors: components (K, V), document_topic (D, K), doc_topic_prior (K,), trace (entries, 2), evidence
(sweeps,), restart_log_likelihoods (restarts,), all float64.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from hortus.artifact import check_tensors, read_config, read_json, read_tensors, write_artifact, write_json
from hortus.config import to_mapping
from hortus.errors import ArtifactError

if TYPE_CHECKING:
    from hortus.topics.lda import LatentDirichletAllocation

__all__ = ["load_model", "save_model"]


def save_model(
    model: LatentDirichletAllocation, folder: str | Path, recipe: dict[str, Any] | None = None
) -> None:
    """Write a fitted model, whole or not at all."""
    import torch

    check_is_fitted(model)
    parameters = model.get_params(deep=False)
    seed = parameters["random_state"]
    parameters["random_state"] = int(seed) if isinstance(seed, int | np.integer) else None
    if parameters["doc_topic_prior"] is not None:
        parameters["doc_topic_prior"] = np.asarray(parameters["doc_topic_prior"], float).tolist()
    config = {
        "model_type": model.kind,
        "parameters": {name: _plain(value) for name, value in parameters.items()},
        "corpus": {name: _plain(value) for name, value in model.corpus_.items()},
        "log_likelihood": float(model.log_likelihood_),
        "topic_word_prior": float(model.topic_word_prior_),
        "num_words": int(model.n_features_in_),
        "num_documents": len(model.document_topic_),
        "iterations": int(model.n_iter_),
    }
    arrays = {
        "components": model.components_,
        "document_topic": model.document_topic_,
        "doc_topic_prior": model.doc_topic_prior_,
        "trace": np.array(model.trace_, float).reshape(-1, 2),
        "evidence": np.array(model.evidence_, float),
        "restart_log_likelihoods": model.restart_log_likelihoods_,
    }
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(array, np.float64).copy())
        for name, array in arrays.items()
    }

    def write_vocabulary(temporary: Path) -> None:
        if model.vocabulary_ is not None:
            write_json(temporary / "vocabulary.json", model.vocabulary_)

    write_artifact(
        folder,
        config=to_mapping(config),
        tensors=tensors,
        card=model.card,
        recipe=recipe,
        extra=write_vocabulary,
    )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def load_model(cls: type[LatentDirichletAllocation], folder: str | Path) -> LatentDirichletAllocation:
    """Open what `save_model` wrote.

    Raises:
        ArtifactError: not such a folder, or tensors missing, extra or misshapen.
    """
    folder = Path(folder)
    config = read_config(folder)
    if config["model_type"] != cls.kind:
        raise ArtifactError(
            f"{folder} holds a {config['model_type']!r}", allowed=cls.kind, do="use hortus.load"
        )
    arrays = {name: tensor.numpy() for name, tensor in read_tensors(folder).items()}
    try:
        model = cls(**config["parameters"])
        num_words, num_documents = config["num_words"], config["num_documents"]
        corpus, likelihood = config["corpus"], config["log_likelihood"]
        eta, iterations = config["topic_word_prior"], config["iterations"]
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{folder}/config.json is not a topic model's: {error}") from error
    topics = model.num_topics
    entries = {name: arrays[name].shape[0] for name in ("trace", "evidence") if name in arrays}
    expected = {
        "components": (topics, num_words),
        "document_topic": (num_documents, topics),
        "doc_topic_prior": (topics,),
        "trace": (entries.get("trace", 0), 2),
        "evidence": (entries.get("evidence", 0),),
        "restart_log_likelihoods": (model.restarts,),
    }
    check_tensors(expected, {name: array.shape for name, array in arrays.items()}, folder)
    model.components_, model.document_topic_ = arrays["components"], arrays["document_topic"]
    model.doc_topic_prior_, model.topic_word_prior_ = arrays["doc_topic_prior"], eta
    model.trace_ = tuple((int(sweep), float(value)) for sweep, value in arrays["trace"])
    model.evidence_ = tuple(map(float, arrays["evidence"]))
    model.restart_log_likelihoods_ = arrays["restart_log_likelihoods"]
    model.log_likelihood_, model.corpus_, model.n_iter_ = likelihood, corpus, iterations
    model.n_features_in_, model._fit = num_words, None
    words = folder / "vocabulary.json"
    model.vocabulary_ = read_json(words) if words.exists() else None
    return model
