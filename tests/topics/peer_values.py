"""Write peer_values.json: the criteria of tmtoolkit and gensim on a small corpus. Run in the peers' own
environment:

python -m venv .peers/topics && .peers/topics/bin/pip install -r benchmarks/peers/topics.txt
.peers/topics/bin/python tests/topics/peer_values.py
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gensim.corpora import Dictionary
from gensim.models.coherencemodel import CoherenceModel
from tmtoolkit.topicmod import evaluate

NUM_TOP = 6


def spread(rng: np.random.Generator, chances: np.ndarray, length: int) -> list:
    """A text in which no word stands twice within 10 words."""
    text: list = []
    for _ in range(length):
        free = chances.copy()
        free[text[-10:]] = 0
        text.append(int(rng.choice(len(free), p=free / free.sum())))
    return text


def main() -> None:
    """Draw topics, documents and texts; judge them by each peer."""
    rng = np.random.default_rng(11)
    phi = rng.dirichlet(np.full(40, 0.3), 5) + 1e-4
    phi /= phi.sum(axis=1, keepdims=True)
    theta = rng.dirichlet(np.full(5, 0.4), 30)
    lengths = rng.integers(8, 160, 30)
    texts = [rng.choice(40, size=length, p=theta[d] @ phi).tolist() for d, length in enumerate(lengths)]
    counts = np.array([np.bincount(text, minlength=40) for text in texts])
    tops = np.argsort(-phi, axis=1)[:, :NUM_TOP]
    spaced = [spread(rng, theta[d] @ phi, length) for d, length in enumerate(lengths)]
    topics = [[f"w{i:02d}" for i in row] for row in tops]

    def gensim(measure: str, numbers: list) -> list[float]:
        words = [[f"w{i:02d}" for i in text] for text in numbers]
        dictionary = Dictionary(words)
        model = CoherenceModel(
            topics=topics, texts=words, dictionary=dictionary, coherence=measure, topn=NUM_TOP, processes=1
        )
        return [float(value) for value in model.get_coherence_per_topic()]

    log_likelihoods = (-5000 + 3 * rng.standard_normal(8)).tolist()
    values = {
        "versions": {name: version(name) for name in ("tmtoolkit", "gensim")},
        "phi": phi.tolist(),
        "theta": theta.tolist(),
        "texts": texts,
        "num_top": NUM_TOP,
        "log_likelihoods": log_likelihoods,
        "tmtoolkit": {
            "cao_juan": float(evaluate.metric_cao_juan_2009(phi)),
            "arun": float(evaluate.metric_arun_2010(phi, theta, counts.sum(axis=1))),
            "umass": evaluate.metric_coherence_mimno_2011(phi, counts, top_n=NUM_TOP).tolist(),
            "griffiths_steyvers": float(evaluate.metric_griffiths_2004(log_likelihoods)),
        },
        "gensim": {measure: gensim(measure, texts) for measure in ("u_mass", "c_npmi", "c_v")},
        # Where no word stands twice in a window, gensim's windows hold what they should.
        "spaced_texts": spaced,
        "spaced_gensim": {"c_npmi": gensim("c_npmi", spaced), "c_v": gensim("c_v", [t[:30] for t in spaced])},
    }
    Path(__file__).with_name("peer_values.json").write_text(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
