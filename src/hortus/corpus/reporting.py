"""What a corpus holds and how it came about: tables, the flow through the steps, and a data card."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hortus.artifact import read_json, replacing_file
from hortus.corpus.build import TIMING, CorpusStatistics, read_statistics
from hortus.device import describe_machine
from hortus.report import Block, Picture, Samples, Table, Text, write_report

__all__ = ["corpus_blocks", "corpus_tables", "flow_picture", "write_card", "write_corpus_report"]


def corpus_tables(statistics: CorpusStatistics) -> list[Table]:
    """Tables by language, step, source and licence, for a report or the terminal."""
    ordered = sorted(statistics.languages.items(), key=lambda item: -item[1]["train"]["bytes"])
    languages = [
        [language, *(of[split][what] for split in ("train", "validation") for what in ("documents", "bytes"))]
        for language, of in ordered
    ]
    notes = [
        ["repeated dialogues left out within chatterbot", statistics.repeated_conversations],
        ["clusters of near duplicates kept on one side of the split", statistics.clusters],
        ["documents in them", statistics.clustered_documents],
        ["files with repaired bytes", len(statistics.repaired)],
        ["files or rows that broke off", sum(statistics.broken.values())],
        *([f"skipped: {what}", number] for what, number in statistics.skipped.items()),
        *(
            [f"{step}: {what}", number]
            for step, found in statistics.counts.items()
            for what, number in found.items()
        ),
    ]
    columns = ["language", "documents", "bytes", "held-out documents", "held-out bytes"]
    steps = ["step", "outcome", "documents"]
    return [
        Table("Corpus by language", columns, languages),
        Table("Documents kept and dropped by step", steps, _step_rows(statistics)),
        Table("Sources", ["source", "documents"], _ordered(statistics.sources)),
        Table("Licences", ["licence", "documents"], _ordered(statistics.licences)),
        Table("Duplicates, repairs, findings", ["what", "count"], notes),
    ]


def _ordered(counts: Mapping[str, int]) -> list[list[Any]]:
    return [[name, number] for name, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _step_rows(statistics: CorpusStatistics) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for name, counts in statistics.steps.items():
        rows.append([name, "kept", counts.get("kept", 0)])
        changed = statistics.flow.get(name, {}).get("documents_changed", 0)
        rows += [[name, "kept, changed", changed]] if changed else []
        rows += [[name, reason, number] for reason, number in counts.items() if reason != "kept"]
    return rows


def corpus_blocks(statistics: CorpusStatistics, timing: Mapping[str, Any] | None = None) -> list[Block]:
    """The tables, the flow, examples of what was dropped and changed, and the seconds."""
    blocks: list[Block] = [Picture("Bytes through the steps", flow_picture(statistics.flow))]
    blocks += corpus_tables(statistics)
    if statistics.default_bounds:
        named = ", ".join(statistics.default_bounds)
        blocks.append(
            Text("Languages without bounds of their own", f"The default bounds were used for: {named}.")
        )
    for step, samples in statistics.samples.items():
        blocks.append(Samples(f"Examples: {step}", [(reason, text) for reason, text in samples]))
    if timing:
        rows = [[name, seconds] for name, seconds in timing["seconds"].items()]
        blocks.append(Table("Seconds by step, all processes together", ["step", "seconds"], rows))
    return blocks


_WIDTH, _HEIGHT, _BAR = 820, 230, 12


def flow_picture(flow: Mapping[str, Mapping[str, int]]) -> str:
    """A Sankey drawing as SVG: one bar a step, as tall as the bytes it was given; what leaves runs down.

    >>> drawing = flow_picture({"length": {"bytes_in": 100, "bytes_out": 80}})
    >>> drawing.startswith("<svg") and "length" in drawing and "-20.0 %" in drawing
    True
    """
    steps = [(name, of.get("bytes_in", 0), of.get("bytes_out", 0)) for name, of in flow.items()]
    most = max((given for _, given, _ in steps), default=0) or 1
    gap = (_WIDTH - 60) / max(len(steps), 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT + 90}" '
        'font-family="sans-serif" font-size="11">'
    ]
    for place, (name, given, left) in enumerate(steps):
        x, tall, stays = 10 + place * gap, given / most * _HEIGHT, left / most * _HEIGHT
        parts.append(f'<rect x="{x:.1f}" y="20" width="{_BAR}" height="{tall:.1f}" fill="#2a7d4f"/>')
        parts.append(_band(x + _BAR, x + gap, 20, 20, stays, "#2a7d4f55"))
        if tall - stays > 0.3:
            parts.append(
                _band(
                    x + _BAR,
                    x + gap * 0.7,
                    20 + stays,
                    _HEIGHT + 40 - (tall - stays) / 2,
                    tall - stays,
                    "#c0583455",
                )
            )
        share = f"{left / given - 1:+.1%}".replace("%", " %") if given else ""
        parts.append(
            f'<text transform="translate({x:.1f},{_HEIGHT + 50}) rotate(24)">'
            f"{html.escape(name)} {share}</text>"
        )
    end = 10 + len(steps) * gap
    last = steps[-1][2] / most * _HEIGHT if steps else 0
    parts.append(f'<rect x="{end:.1f}" y="20" width="{_BAR}" height="{last:.1f}" fill="#2a7d4f"/>')
    return "".join([*parts, "</svg>"])


def _band(x1: float, x2: float, y1: float, y2: float, tall: float, color: str) -> str:
    middle = (x1 + x2) / 2
    return (
        f'<path fill="{color}" d="M{x1:.1f},{y1:.1f} '
        f"C{middle:.1f},{y1:.1f} {middle:.1f},{y2:.1f} {x2:.1f},{y2:.1f} "
        f"L{x2:.1f},{y2 + tall:.1f} C{middle:.1f},{y2 + tall:.1f} {middle:.1f},{y1 + tall:.1f} "
        f'{x1:.1f},{y1 + tall:.1f} Z"/>'
    )


def write_corpus_report(folder: str | Path, extra: list[tuple[str, list[Block]]] | None = None) -> Path:
    """Write report.html and the card README.md of a corpus folder.

    Args:
        extra: further sections, such as topics.

    Raises:
        DataError: the folder holds no corpus.
    """
    folder = Path(folder)
    statistics, timing = read_statistics(folder), read_json(folder / TIMING)
    path = folder / "report.html"
    sections = [("Corpus", corpus_blocks(statistics, timing)), *(extra or [])]
    write_report(path, f"Corpus {folder.name}", sections, describe_machine())
    write_card(folder, statistics)
    return path


def write_card(folder: Path, statistics: CorpusStatistics) -> None:
    """Write README.md: what the data are, where from, under which licences, what was done to them."""
    licences = ", ".join(statistics.licences)
    lines = [
        "---",
        "language:",
        *(f"- {name}" for name in sorted(statistics.languages)),
        "---",
        f"# {folder.name}",
    ]
    lines.append(
        f"{statistics.documents:,} documents, {statistics.num_bytes / 1e6:,.1f} MB of text in "
        f"{len(statistics.languages)} languages. Licences: {licences}."
    )
    lines += ["## Sources", "| source | licence | provenance |", "|---|---|---|"]
    for name, of in statistics.catalogue.items():
        lines.append(f"| {name} | {of['licence'] or 'unknown'} | {of['provenance'] or 'not stated'} |")
    for table in corpus_tables(statistics):
        lines += [f"## {table.title}", f"| {' | '.join(table.columns)} |", "|---" * len(table.columns) + "|"]
        lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in table.rows]
    redacted = statistics.counts.get("privacy")
    lines += ["## Personal data"]
    lines.append(
        f"Redacted: {', '.join(f'{number} {category}' for category, number in redacted.items())}. "
        "Names, postal addresses and licence plates were not looked for."
        if redacted
        else "No redaction was done, or nothing was found."
    )
    with replacing_file(folder / "README.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
