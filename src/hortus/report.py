"""One self-contained HTML page from blocks: text, tables, curves, samples. No script, no network.

A stage returns blocks; they are stored as JSON beside its output, so a report can be made again, and
made from stages that were cached.
"""

from __future__ import annotations

import dataclasses
import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hortus.artifact import replacing_file

__all__ = ["Block", "Curves", "Picture", "Samples", "Table", "Text", "from_json", "to_json", "write_report"]


@dataclass(frozen=True)
class Text:
    """A paragraph. Plain text; blank lines separate paragraphs."""

    title: str
    body: str


@dataclass(frozen=True)
class Table:
    """A table. Numbers are right-aligned and shown with four significant digits."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Curves:
    """Lines over a common axis: `series` is name -> (xs, ys)."""

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True)
class Samples:
    """Prompts and what a model answered."""

    title: str
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Picture:
    """An SVG drawing made by a room itself. Scripts and outside references are refused."""

    title: str
    svg: str


Block = Text | Table | Curves | Samples | Picture
_KINDS = {kind.__name__: kind for kind in (Text, Table, Curves, Samples, Picture)}


def to_json(block: Block) -> dict[str, Any]:
    """The block as plain values, with its kind."""
    return {"kind": type(block).__name__, **dataclasses.asdict(block)}


def from_json(value: Mapping[str, Any]) -> Block:
    """The inverse of `to_json`.

    >>> from_json(to_json(Text("Title", "Body")))
    Text(title='Title', body='Body')
    """
    fields = dict(value)
    return _KINDS[fields.pop("kind")](**fields)


def write_report(
    path: str | Path,
    title: str,
    sections: Sequence[tuple[str, Sequence[Block]]],
    environment: Mapping[str, Any],
) -> None:
    """Write the report, whole or not at all.

    Args:
        sections: headings and their blocks, in reading order.
        environment: what the numbers depend on: machine, versions, times; shown as the last table.
    """
    parts = [f"<h1>{html.escape(title)}</h1>", _contents(sections)]
    for heading, blocks in sections:
        parts.append(f'<h2 id="{_anchor(heading)}">{html.escape(heading)}</h2>')
        parts += [_render(block) for block in blocks]
    rows = [[name, ", ".join(map(str, v)) if isinstance(v, list) else v] for name, v in environment.items()]
    parts += ['<h2 id="environment">Environment</h2>', _render(Table("", ["what", "value"], rows))]
    page = _PAGE.format(title=html.escape(title), style=_STYLE, body="\n".join(parts))
    with replacing_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _contents(sections: Sequence[tuple[str, Sequence[Block]]]) -> str:
    names = [heading for heading, _ in sections] + ["Environment"]
    links = " · ".join(f'<a href="#{_anchor(name)}">{html.escape(name)}</a>' for name in names)
    return f"<nav>{links}</nav>"


def _anchor(heading: str) -> str:
    return re.sub(r"\W+", "-", heading.lower()).strip("-")


def _render(block: Block) -> str:
    title = f"<h3>{html.escape(block.title)}</h3>" if block.title else ""
    match block:
        case Text():
            body = "".join(f"<p>{html.escape(p)}</p>" for p in block.body.split("\n\n") if p.strip())
        case Table():
            body = _table(block)
        case Curves():
            body = f"<figure>{_draw(block)}</figure>"
        case Samples():
            body = "".join(
                f"<dt>{html.escape(prompt)}</dt><dd>{html.escape(text)}</dd>" for prompt, text in block.items
            )
            body = f"<dl>{body}</dl>"
        case Picture():
            body = f"<figure>{_checked_svg(block.svg)}</figure>"
    return title + body


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(str(column))}</th>" for column in table.columns)
    rows = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in table.rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"<td>{html.escape('' if value is None else str(value))}</td>"
    return f'<td class="number">{format_number(value)}</td>'


def format_number(value: float) -> str:
    """Four significant digits; whole numbers with thousands separators.

    >>> format_number(1234567), format_number(0.123456)
    ('1,234,567', '0.1235')
    """
    return f"{value:,d}" if isinstance(value, int) else f"{value:,.4g}"


def _draw(curves: Curves) -> str:
    """The figure as inline SVG. Fonts stay text, so the page is small and searchable."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # A fixed salt and no date make the same data give the same bytes.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "hortus", "font.size": 10}):
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for name, (xs, ys) in curves.series.items():
            axes.plot(xs, ys, label=name, marker="." if len(xs) < 30 else "", linewidth=1.5)
        axes.set(xlabel=curves.x_label, ylabel=curves.y_label)
        axes.grid(alpha=0.3)
        if len(curves.series) > 1:
            axes.legend(frameon=False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return _checked_svg(svg[svg.index("<svg") :])


def _checked_svg(svg: str) -> str:
    if re.search(r"<script|\son\w+\s*=|(?:href|src)\s*=\s*[\"'](?!#)", svg, re.IGNORECASE):
        raise ValueError("a picture must hold no script and no outside reference")
    return svg


_STYLE = """
:root { color-scheme: light dark; --line: #8884; --accent: #2a7d4f; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem; }
h1 { color: var(--accent); } h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem; }
nav { color: gray; } a { color: var(--accent); }
table { border-collapse: collapse; font-size: .92rem; } .wide { overflow-x: auto; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; background: white; border-radius: 6px; } figure svg { width: 100%; height: auto; }
dt { font-weight: 600; white-space: pre-wrap; margin-top: 1rem; }
dd { white-space: pre-wrap; margin: .2rem 0 0; padding: .5rem .8rem; border-left: 3px solid var(--accent); }
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body>
{body}
</body></html>
"""
