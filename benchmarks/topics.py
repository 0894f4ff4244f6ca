"""Topic models against their peers: speed at equal likelihood, the whole selection, sBIC, perplexity parity.

    python benchmarks/topics.py --data DATA --peer-python .peers/topics/bin/python --out topics.json

DATA holds reuters395/ and 20ng_etm/ (LDA-C). The peers run in an environment of their own (peers/topics.txt),
in turn with ours, on one machine. Every peer's topics come back as matrices, and one function judges all:
plug-in log-likelihood of the training documents and held-out perplexity by document completion.

Rows (--rows):
    sbic        sBIC of 200 models, milliseconds
    reuters     time to tomotopy's log p(w, z) after 200 sweeps, K = 20: ours, tomotopy (2 workers), lda
    newsgroups  the same for 20 Newsgroups, K = 100
    selection   K = 2..30 step 2, 3 restarts, Reuters: ours with all criteria; tmtoolkit with those both have
    perplexity-reuters, perplexity-newsgroups
                held-out perplexity of ours (Gibbs, variational), tomotopy, scikit-learn, over several seeds
Each row can be run by itself; results are merged into the file given by --out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

ALPHA, ETA, SEED = 0.1, 0.01, 1
SWEEPS = 200
CORPORA = {
    "reuters": ("reuters395/reuters.ldac", 20, 350),
    "newsgroups": ("20ng_etm/20ng_train.ldac.gz", 100, 10_000),
}
# Runs in the peers' environment: argument 1 is a JSON file with the job, argument 2 the .npz to write.
PEER = r"""
import json, os, sys, time
os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np
from scipy import sparse
job = json.load(open(sys.argv[1]))
X = sparse.load_npz(job["counts"]).tocsr()
K, alpha, eta, sweeps = job["K"], job["alpha"], job["eta"], job["sweeps"]
out = {}
if job["peer"] == "tomotopy":
    import tomotopy
    model = tomotopy.LDAModel(k=K, alpha=alpha, eta=eta, seed=job["seed"], min_cf=0, rm_top=0)
    model.optim_interval = 0
    for d in range(X.shape[0]):
        row = slice(X.indptr[d], X.indptr[d + 1])
        model.add_doc([str(w) for w, c in zip(X.indices[row], X.data[row]) for _ in range(c)])
    model.train(0)
    began = time.perf_counter()
    model.train(sweeps, workers=job["workers"])
    out["seconds"] = time.perf_counter() - began
    names = [int(w) for w in model.used_vocabs]
    phi = np.zeros((K, X.shape[1]))
    for k in range(K):
        phi[k, names] = model.get_topic_word_dist(k)
    out["phi"], out["joint"] = phi, model.ll_per_word * X.sum()
elif job["peer"] == "lda":
    import logging
    import lda
    logging.getLogger("lda").setLevel(logging.ERROR)
    began = time.perf_counter()
    model = lda.LDA(K, n_iter=sweeps, alpha=alpha, eta=eta, random_state=job["seed"], refresh=10**6)
    model.fit(np.asarray(X.todense()) if job.get("dense") else X)
    out["seconds"] = time.perf_counter() - began
    out["phi"], out["joint"] = model.topic_word_, model.loglikelihood()
elif job["peer"] == "sklearn":
    from sklearn.decomposition import LatentDirichletAllocation
    began = time.perf_counter()
    model = LatentDirichletAllocation(K, doc_topic_prior=alpha, topic_word_prior=eta, learning_method="batch",
                                      max_iter=sweeps, random_state=job["seed"], n_jobs=job["workers"]).fit(X)
    out["seconds"] = time.perf_counter() - began
    out["phi"] = model.components_ / model.components_.sum(axis=1, keepdims=True)
elif job["peer"] == "tmtoolkit":
    from tmtoolkit.topicmod import tm_lda
    began = time.perf_counter()
    grid = [{"n_topics": k, "random_state": r} for k in job["grid"] for r in range(job["restarts"])]
    constant = {"n_iter": sweeps, "refresh": 10, "alpha": alpha, "eta": eta}
    tm_lda.evaluate_topic_models(X, grid, constant, n_max_processes=job["workers"],
        metric=["griffiths_2004", "cao_juan_2009", "arun_2010", "coherence_mimno_2011"])
    out["seconds"] = time.perf_counter() - began
np.savez(sys.argv[2], **out)
"""


def run_peer(python: str, matrix: Any, job: dict[str, Any]) -> dict[str, Any]:
    """One job in the peers' environment; seconds are the peer's own, without its imports and input."""
    from scipy import sparse

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sparse.save_npz(place / "counts.npz", sparse.csr_matrix(matrix).astype(np.int32))
        settings = {"counts": str(place / "counts.npz"), "alpha": ALPHA, "eta": ETA, "seed": SEED, **job}
        (place / "job.json").write_text(json.dumps(settings))
        (place / "peer.py").write_text(PEER)
        command = [python, str(place / "peer.py"), str(place / "job.json"), str(place / "out.npz")]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            sys.exit(f"the peer failed:\n{result.stderr[-3000:]}")
        with np.load(place / "out.npz") as arrays:
            return {name: arrays[name] if arrays[name].ndim else float(arrays[name]) for name in arrays.files}


def read(data: Path, name: str, most: int | None = None) -> tuple[Any, Any, int]:
    """Training counts (of the first documents, when `most` is given), held-out counts over their words, K."""
    from hortus.topics.counts import check_counts
    from hortus.topics.formats import read_ldac

    path, num_topics, size = CORPORA[name]
    matrix = read_ldac(data / path)
    training = check_counts(matrix[: most or size])
    return training, matrix[size:][:, training.words], num_topics


def joint_log_likelihood(word_topic: Any, document_topic: Any) -> float:
    """log p(w, z) with both Dirichlet priors, as tomotopy and lda report it."""
    from scipy.special import gammaln

    from hortus.topics.priors import log_evidence_of_words

    num_topics = document_topic.shape[1]
    documents = (
        gammaln(document_topic + ALPHA).sum() - gammaln(document_topic.sum(axis=1) + num_topics * ALPHA).sum()
    )
    constant = len(document_topic) * (gammaln(num_topics * ALPHA) - num_topics * gammaln(ALPHA))
    return log_evidence_of_words(word_topic, ETA) + float(documents + constant)


def time_to(target: float, training: Any, num_topics: int, threads: int, most: int = 600) -> dict[str, Any]:
    """Sample until log p(w, z) reaches the target (looked at every 5 sweeps, the look not timed)."""
    from concurrent.futures import ThreadPoolExecutor

    from hortus.topics.gibbs import _Chain

    alpha = np.full(num_topics, ALPHA)
    seconds = 0.0
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        chain = _Chain(training, num_topics, alpha, ETA, SEED, threads)
        chain.begin("sequential", None)
        seconds += time.perf_counter() - began
        sweep, reached = 0, -np.inf
        while reached < target and sweep < most:
            sweep += 5
            began = time.perf_counter()
            for _ in range(5):
                chain.advance(pool)
            seconds += time.perf_counter() - began
            reached = joint_log_likelihood(chain.word_topic, chain.document_topic())
        fit = chain.result(chain.word_topic, chain.document_topic())
    return {"seconds": seconds, "sweeps": sweep, "joint": reached, "phi": fit.phi}


def race(data: Path, python: str, name: str) -> dict[str, Any]:
    """Ours against tomotopy's 200 sweeps with 2 workers, and lda's seconds a sweep."""
    from hortus.topics.inference import completion_perplexity

    training, held_out, num_topics = read(data, name)
    alpha = np.full(num_topics, ALPHA)
    time_to(0.0, training, num_topics, 2, most=5)  # compile
    peer = run_peer(
        python, training.matrix, {"peer": "tomotopy", "K": num_topics, "sweeps": SWEEPS, "workers": 2}
    )
    ours = time_to(peer["joint"], training, num_topics, threads=2)
    lda_sweeps = SWEEPS if name == "reuters" else 10
    slow = run_peer(python, training.matrix, {"peer": "lda", "K": num_topics, "sweeps": lda_sweeps})
    # lda needs at least as many sweeps as tomotopy (same chain, same start): its time for 200 is a lower
    # bound.
    lda_seconds = slow["seconds"] * SWEEPS / lda_sweeps
    return {
        "documents": training.num_documents,
        "words": training.num_words,
        "tokens": training.num_tokens,
        "num_topics": num_topics,
        "target_joint_per_token": peer["joint"] / training.num_tokens,
        "ours_seconds": ours["seconds"],
        "ours_sweeps": ours["sweeps"],
        "ours_reached": bool(ours["joint"] >= peer["joint"]),
        "tomotopy_seconds": peer["seconds"],
        "lda_seconds_200_sweeps": lda_seconds,
        "lda_sweeps_timed": lda_sweeps,
        "speed_against_tomotopy": peer["seconds"] / ours["seconds"],
        "speed_against_lda": lda_seconds / ours["seconds"],
        "ours_perplexity": completion_perplexity(held_out, ours["phi"], alpha),
        "tomotopy_perplexity": completion_perplexity(held_out, peer["phi"], alpha),
    }


def perplexities(data: Path, python: str, name: str) -> dict[str, Any]:
    """Held-out perplexity after as many sweeps or iterations, one fit a seed, all judged by one function."""
    from hortus.topics.inference import completion_perplexity
    from hortus.topics.lda import LatentDirichletAllocation

    alpha = np.full(CORPORA[name][1], ALPHA)
    found: dict[str, Any] = {"sweeps": SWEEPS}
    common: dict[str, Any] = {"doc_topic_prior": ALPHA, "topic_word_prior": ETA, "num_threads": 2}

    def judge(label: str, phi: Any, held_out: Any) -> None:
        found.setdefault(label, []).append(completion_perplexity(held_out, phi, alpha))

    seeds = range(1, 6 if name == "reuters" else 2)
    training, held_out, num_topics = read(data, name)
    for seed in seeds:
        model = LatentDirichletAllocation(num_topics, num_sweeps=SWEEPS, random_state=seed, **common)
        judge("ours_gibbs", model.fit(training.matrix).topic_word_, held_out)
        job = {"K": num_topics, "workers": 2, "seed": seed, "peer": "tomotopy", "sweeps": SWEEPS}
        judge("tomotopy", run_peer(python, training.matrix, job)["phi"], held_out)
    # Variational Bayes takes seconds an iteration: fewer documents of the larger corpus, fewer iterations.
    training, held_out, _ = read(data, name, None if name == "reuters" else 2000)
    iterations = 50 if name == "reuters" else 6
    found |= {"documents_variational": training.num_documents, "iterations_variational": iterations}
    for seed in seeds:
        model = LatentDirichletAllocation(
            num_topics,
            method="variational",
            num_sweeps=iterations,
            tolerance=0.0,
            random_state=seed,
            **common,
        )
        judge("ours_variational", model.fit(training.matrix).topic_word_, held_out)
        job = {"K": num_topics, "workers": 2, "seed": seed, "peer": "sklearn", "sweeps": iterations}
        judge("sklearn", run_peer(python, training.matrix, job)["phi"], held_out)
    for ours, peer_name in (("ours_gibbs", "tomotopy"), ("ours_variational", "sklearn")):
        ratio = np.mean(found[ours]) / np.mean(found[peer_name])
        found[f"{ours}_against_{peer_name}"] = float(ratio)
    return found


def selection(data: Path, python: str) -> dict[str, Any]:
    """The whole selection: ours with every criterion, tmtoolkit with the four that both have."""
    from hortus.topics.config import ModelConfig, SelectConfig
    from hortus.topics.formats import read_ldac
    from hortus.topics.selection import select_num_topics

    matrix = read_ldac(data / CORPORA["reuters"][0])
    model = ModelConfig(num_sweeps=SWEEPS, doc_topic_prior=ALPHA, topic_word_prior=ETA)
    config = SelectConfig(candidates="2:30:2", restarts=3, jobs=2, model=model)
    warm = SelectConfig(candidates="2,4", restarts=2, jobs=2, model=ModelConfig(num_sweeps=10))
    select_num_topics(matrix, config=warm)  # compile
    began = time.perf_counter()
    chosen = select_num_topics(matrix, config=config).chosen
    ours = time.perf_counter() - began
    # tmtoolkit is timed on one restart of three numbers of topics that average to the grid's; its cost is
    # linear in K.
    part = [8, 16, 24]
    job = {"peer": "tmtoolkit", "K": 0, "grid": part, "restarts": 1, "sweeps": SWEEPS, "workers": 2}
    seconds = run_peer(python, matrix, job)["seconds"]
    whole = seconds * 15 * 3 / len(part)
    return {
        "ours_seconds_all_criteria": ours,
        "chosen": chosen,
        "tmtoolkit_seconds_timed": seconds,
        "tmtoolkit_fits_timed": len(part),
        "tmtoolkit_seconds_45_fits": whole,
        "speed_against_tmtoolkit": whole / ours,
    }


def sbic_speed() -> dict[str, Any]:
    """Milliseconds for coefficients and sBIC of 200 models, best of 5."""
    from hortus.topics.criteria.information import sbic_of_topics

    topics = np.arange(1, 201)
    likelihoods = -1e6 - 1e5 / topics
    times = []
    for _ in range(5):
        began = time.perf_counter()
        sbic_of_topics(likelihoods, 4000, 400, topics, 84_000)
        times.append(1000 * (time.perf_counter() - began))
    return {"models": 200, "milliseconds": min(times)}


def main() -> None:
    """Run the rows asked for and merge them into the output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer-python", default=".peers/topics/bin/python")
    rows = ("sbic", "reuters", "newsgroups", "selection", "perplexity-reuters", "perplexity-newsgroups")
    parser.add_argument("--rows", nargs="+", choices=rows, default=rows)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    from hortus.device import describe_machine

    found: dict[str, Any] = {"machine": describe_machine()}
    if arguments.out and arguments.out.exists():
        found = json.loads(arguments.out.read_text())
    work = {
        "sbic": sbic_speed,
        "reuters": lambda: race(arguments.data, arguments.peer_python, "reuters"),
        "newsgroups": lambda: race(arguments.data, arguments.peer_python, "newsgroups"),
        "selection": lambda: selection(arguments.data, arguments.peer_python),
        "perplexity-reuters": lambda: perplexities(arguments.data, arguments.peer_python, "reuters"),
        "perplexity-newsgroups": lambda: perplexities(arguments.data, arguments.peer_python, "newsgroups"),
    }
    for row in arguments.rows:
        found[row] = work[row]()
        print(json.dumps({row: found[row]}), flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
