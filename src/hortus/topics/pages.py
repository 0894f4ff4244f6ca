"""What a selection leaves in its folder: tables, a report, the interactive topic map, the recommended model.

Axes: K topics, V words.
"""

from __future__ import annotations

import html
import json
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from hortus.artifact import replacing_file, write_json
from hortus.config import to_mapping
from hortus.device import describe_machine
from hortus.report import Block, Curves, Picture, Table, Text, write_report
from hortus.topics.criteria import CRITERIA
from hortus.topics.drawing import (
    criteria_panels,
    plane_of_topics,
    similarity_heatmap,
    topic_similarity,
    word_heatmap,
)
from hortus.topics.lda import LatentDirichletAllocation
from hortus.topics.selection import Selection

__all__ = ["selection_blocks", "selection_numbers", "topics_table", "write_map", "write_selection"]

WORDS_ON_MAP = 60


def selection_numbers(selection: Selection) -> dict[str, Any]:
    """The selection as plain values: recommendation, choices, corpus, weights."""
    return {
        "num_topics": selection.recommendation.num_topics,
        "recommendation": selection.recommendation.text,
        "trusted": list(selection.recommendation.trusted),
        "chosen": selection.chosen,
        "sbic_weights": {str(k): weight for k, weight in selection.weights.items()},
        "corpus": selection.corpus,
    }


def topics_table(model: LatentDirichletAllocation, num_words: int = 12) -> Table:
    """Each topic's share of the tokens and its top words."""
    shares = topic_shares(model)
    rows = [
        [k + 1, f"{shares[k]:.1%}", ", ".join(words)] for k, words in enumerate(model.top_words(num_words))
    ]
    return Table(f"The {len(rows)} topics", ["topic", "share", "top words"], rows)


def topic_shares(model: LatentDirichletAllocation) -> np.ndarray:
    """(K,) each topic's share of the tokens of the fitted corpus."""
    counts = model.components_.sum(axis=1)
    return np.asarray(counts / counts.sum())


def selection_blocks(selection: Selection) -> list[tuple[str, list[Block]]]:
    """Sections of a report: the answer, the criteria, the fits, the topics."""
    table, chosen = selection.table, selection.chosen
    criteria = [
        [CRITERIA[n].title, k, "largest" if CRITERIA[n].largest else "smallest", CRITERIA[n].source]
        for n, k in chosen.items()
    ]
    numbers = [str(k) for k in table.index]
    values = [[name, *map(float, table[name])] for name in table.columns]
    votes = [[k, int(count), f"{selection.weights[k]:.3g}"] for k, count in selection.agreement.items()]
    corpus = [[name.replace("_", " "), value] for name, value in selection.corpus.items()]
    spread = [
        [k, *map(float, row), float(row.max() - row.min())]
        for k, row in zip(table.index, selection.restarts.to_numpy(), strict=True)
    ]
    traces = {
        f"K = {k}": ([sweep for sweep, _ in trace], [value for _, value in trace])
        for k, trace in list(selection.traces.items())[:: max(1, len(numbers) // 6)]
    }
    model = selection.best
    return [
        ("Answer", [Text("", selection.recommendation.text), Table("Corpus", ["what", "value"], corpus)]),
        (
            "Criteria",
            [
                Picture("Curves, the chosen number marked", criteria_panels(table, chosen)),
                Table("Choices", ["criterion", "chosen", "picks the", "source"], criteria),
                Table("Agreement", ["topics", "criteria that choose it", "sBIC weight"], votes),
                Table("Values", ["criterion", *numbers], values),
            ],
        ),
        (
            "Fits",
            [
                Table("Log-likelihood by restart", ["topics", *selection.restarts.columns, "spread"], spread),
                Curves("Convergence", "sweep", "log-likelihood", traces),
            ],
        ),
        (
            "Topics",
            [
                topics_table(model),
                Picture("Top words in all topics", word_heatmap(model)),
                Picture("Similarity of topics (cosine)", similarity_heatmap(model)),
            ],
        ),
    ]


def write_selection(selection: Selection, folder: str | Path) -> dict[str, Path]:
    """Write report.html, map.html, table.csv, selection.json and the recommended model into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    places = {
        "report": folder / "report.html",
        "map": folder / "map.html",
        "table": folder / "table.csv",
        "selection": folder / "selection.json",
        "model": folder / "model",
    }
    with replacing_file(places["table"]) as temporary:
        selection.table.to_csv(temporary)
    write_json(
        places["selection"], {**selection_numbers(selection), "settings": to_mapping(selection.config)}
    )
    selection.best.save(places["model"], recipe={"topics": to_mapping(selection.config)})
    write_map(selection.best, places["map"])
    write_report(places["report"], "Number of topics", selection_blocks(selection), describe_machine())
    return places


def write_map(model: LatentDirichletAllocation, path: str | Path, title: str | None = None) -> None:
    """Write the interactive topic map: one HTML page, drawn by its own script, nothing loaded."""
    phi, shares = model.topic_word_, topic_shares(model)
    overall = shares @ phi
    plane, similar = plane_of_topics(phi), topic_similarity(model)
    names = model.vocabulary_ or [f"word {i}" for i in range(phi.shape[1])]
    topics = []
    for k, topic in enumerate(phi):
        # Candidates of both ends of the slider: most probable words, and most over-represented ones.
        lift = np.divide(topic, overall, out=np.zeros_like(topic), where=overall > 0)
        frequent = np.argsort(-topic, kind="stable")[:WORDS_ON_MAP]
        special = np.argsort(-lift * (topic > 1e-4), kind="stable")[:WORDS_ON_MAP]
        words = [w for w in dict.fromkeys([*frequent.tolist(), *special.tolist()]) if topic[w] > 0]
        others = [j for j in np.argsort(-similar[k]).tolist() if j != k][:3]
        topics.append(
            {
                "share": round(float(shares[k]), 5),
                "x": round(float(plane[k, 0]), 4),
                "y": round(float(plane[k, 1]), 4),
                "words": [[names[w], float(f"{topic[w]:.4g}"), float(f"{lift[w]:.4g}")] for w in words],
                "neighbours": [[j, round(float(similar[k, j]), 4)] for j in others],
            }
        )
    # "</" would end the script element inside a word.
    data = json.dumps({"topics": topics}, ensure_ascii=False).replace("</", "<\\/").replace("<!--", "<\\!--")
    page = resources.files("hortus.topics").joinpath("map_page.html").read_text(encoding="utf-8")
    heading = html.escape(title or f"Map of {len(topics)} topics")
    with replacing_file(path) as temporary:
        temporary.write_text(Template(page).safe_substitute(title=heading, data=data), encoding="utf-8")
