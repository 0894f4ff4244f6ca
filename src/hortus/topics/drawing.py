"""Drawings of a selection and of a model, as plain SVG: text stays text, nothing is loaded from elsewhere.

* one panel a criterion, its curve over the number of topics with the chosen one marked;
* heatmaps: the top words of topics, the similarity of topics;
* the plane of topics: classical multidimensional scaling of the Hellinger distances between topics.

Axes: K topics, V words.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import isfinite

import numpy as np
import pandas as pd

from hortus.topics.criteria import CRITERIA
from hortus.topics.criteria.stability import cosines
from hortus.topics.lda import LatentDirichletAllocation

__all__ = ["criteria_panels", "plane_of_topics", "similarity_heatmap", "topic_similarity", "word_heatmap"]

PANEL_WIDTH, PANEL_HEIGHT, COLUMNS = 230, 150, 4
ACCENT, LINE = "#2a7d4f", "#c0392b"


def criteria_panels(table: pd.DataFrame, chosen: dict[str, int]) -> str:
    """One panel for each criterion: values over the number of topics, a dot and its number at the choice."""
    names = [name for name in table.columns if name in chosen]
    rows = -(-len(names) // COLUMNS)
    parts = []
    for place, name in enumerate(names):
        x, y = place % COLUMNS * PANEL_WIDTH, place // COLUMNS * PANEL_HEIGHT
        parts.append(f'<g transform="translate({x},{y})">{_panel(table[name], name, chosen[name])}</g>')
    width, height = min(len(names), COLUMNS) * PANEL_WIDTH, rows * PANEL_HEIGHT
    return _svg(width, height, "".join(parts))


def _panel(values: pd.Series, name: str, chosen: int) -> str:
    left, right, top, bottom = 14, PANEL_WIDTH - 14, 30, PANEL_HEIGHT - 24
    points = [(k, v) for k, v in values.items() if isfinite(v)]
    ks, vs = [k for k, _ in points], [v for _, v in points]

    def place(k: float, v: float) -> tuple[float, float]:
        x = left + (right - left) * (k - min(ks)) / (max(ks) - min(ks) or 1)
        y = bottom - (bottom - top) * (v - min(vs)) / (max(vs) - min(vs) or 1)
        return round(x, 1), round(y, 1)

    line = " ".join("{},{}".format(*place(k, v)) for k, v in points)
    x, y = place(chosen, float(values[chosen]))
    direction = "largest" if CRITERIA[name].largest else "smallest"
    return (
        f'<text x="{left}" y="16" font-weight="600">{escape(CRITERIA[name].title)}'
        f'<tspan fill="#888" font-weight="400"> {direction}: {chosen}</tspan></text>'
        f'<line x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}" stroke="#ccc"/>'
        f'<line x1="{x}" x2="{x}" y1="{top}" y2="{bottom}" stroke="{LINE}" stroke-dasharray="2 3"/>'
        f'<polyline points="{line}" fill="none" stroke="{ACCENT}" stroke-width="1.6"/>'
        f'<circle cx="{x}" cy="{y}" r="4" fill="{LINE}"/>'
        f'<text x="{left}" y="{bottom + 14}" fill="#888">{min(ks)}</text>'
        f'<text x="{right}" y="{bottom + 14}" fill="#888" text-anchor="end">{max(ks)}</text>'
    )


def word_heatmap(model: LatentDirichletAllocation, num_words: int = 8) -> str:
    """Probabilities of each topic's top words in all topics; darker is more probable."""
    phi = model.topic_word_
    tops = np.argsort(-phi, axis=1, kind="stable")[:, :num_words]
    columns = list(dict.fromkeys(tops.ravel().tolist()))
    names = model.vocabulary_ or [str(i) for i in range(phi.shape[1])]
    # Shades follow the square root: a word of a tenth of the largest probability stays visible.
    numbers = [str(k + 1) for k in range(len(phi))]
    return _heatmap(np.sqrt(phi[:, columns]), numbers, [names[w] for w in columns])


def similarity_heatmap(model: LatentDirichletAllocation) -> str:
    """Cosines between the topics; darker is more alike."""
    numbers = [str(k + 1) for k in range(len(model.components_))]
    return _heatmap(topic_similarity(model), numbers, numbers)


def topic_similarity(model: LatentDirichletAllocation) -> np.ndarray:
    """(K, K) cosines between the topics."""
    return cosines(model.topic_word_, model.topic_word_)


def _heatmap(values: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> str:
    cell, left = 14, 34
    top = 12 + 6 * max(map(len, columns))
    peak = float(values.max()) or 1.0
    parts = []
    for i, name in enumerate(rows):
        y = top + i * cell
        parts.append(f'<text x="{left - 4}" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
        for j, column in enumerate(columns):
            shade = values[i, j] / peak
            parts.append(
                f'<rect x="{left + j * cell}" y="{y}" width="{cell}" height="{cell}" fill="{ACCENT}" '
                f'fill-opacity="{shade:.3f}"><title>{escape(name)}: {escape(column)}</title></rect>'
            )
    for j, column in enumerate(columns):
        x = left + j * cell + 10
        parts.append(f'<text transform="translate({x},{top - 4}) rotate(-90)">{escape(column)}</text>')
    return _svg(left + len(columns) * cell + 4, top + len(rows) * cell + 4, "".join(parts))


def plane_of_topics(phi: np.ndarray) -> np.ndarray:
    """(K, 2) places in [0, 1] whose distances stand for the Hellinger distances between topics (K, V).

    >>> plane = plane_of_topics(np.array([[1.0, 0.0], [0.0, 1.0]]))
    >>> float(abs(plane[0, 0] - plane[1, 0]).round(6))
    1.0
    """
    roots = np.sqrt(phi)
    centred = roots - roots.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(phi), 2))
    size = min(2, len(singular))
    plane[:, :size] = left[:, :size] * singular[:size]
    low, extent = plane.min(axis=0), np.ptp(plane, axis=0).max() or 1.0
    middle = (extent - np.ptp(plane, axis=0)) / 2
    return np.asarray((plane - low + middle) / extent)


def _svg(width: float, height: float, body: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="#222">{body}</svg>'
    )
