"""`hortus studio`, and the two commands that run what it deploys."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hortus.cli.generate import write_rows
from hortus.registry import require
from hortus.studio.config import DataSource, StudioConfig

if TYPE_CHECKING:
    from hortus.serving.config import ServingConfig

__all__ = ["predict", "serve_app", "studio"]

_BATCH = 256


def studio(
    *,
    model: tuple[str, ...] = (),
    data: str | None = None,
    subset: str | None = None,
    split: str = "train",
    names: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    config: Annotated[StudioConfig | None, Parameter(name="*")] = None,
) -> int:
    """Try many wordings of a prompt in the browser, prove the best on many rows, deploy it.

    Parameters
    ----------
    model
        A folder, a hub id, or the http(s) address of an OpenAI-compatible endpoint; may be repeated.
    data
        A csv, tsv, jsonl or parquet file, a folder of them, or a hub id.
    subset
        Configuration on the hub, or sub-folder.
    split
        Split in a folder or on the hub.
    names
        Column names of a csv or tsv file without header, with commas.
    device
        auto, cpu, cuda, cuda:N or mps.
    dtype
        auto, float32, bfloat16 or float16.
    config
        Where it listens and where it keeps things.
    """
    for module in ("starlette", "uvicorn"):
        require(module, extra="studio")
    from hortus.studio.models import open_entry, open_remote
    from hortus.studio.server import run_studio

    settings = config if config is not None else StudioConfig()
    entries = []
    for source in model:
        print(f"opening {source}", file=sys.stderr)
        remote = source.startswith(("http://", "https://"))
        entries.append(open_remote(source) if remote else open_entry(source, device=device, dtype=dtype))
    columns = tuple(names.split(",")) if names else ()
    opened = None if data is None else DataSource(source=data, subset=subset, split=split, names=columns)
    run_studio(settings, entries, opened, lambda link: print(link, flush=True))
    return 0


def predict(
    app: Path,
    rows: Path,
    *,
    output: Path | None = None,
    model: str | None = None,
    names: str | None = None,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Classify the rows of a file by a prompt that hortus studio deployed.

    Parameters
    ----------
    app
        The deployed prompt's JSON file.
    rows
        A csv, tsv, jsonl or parquet file.
    output
        A JSONL file for the rows with their answers; without it, to stdout.
    model
        Where the model is now, if not where it was.
    names
        Column names of a csv or tsv file without header, with commas.
    json
        Print one JSON object instead of lines.
    """
    from hortus.prompts import load_dataset
    from hortus.prompts.renderer import default_renderer
    from hortus.studio.apps import PromptApp

    opened = PromptApp.load(app)
    dataset = load_dataset(rows, names=tuple(names.split(",")) if names else ())
    entry = opened.open_model(model)
    answered = []
    for start in range(0, len(dataset), _BATCH):
        part = dataset.take(range(start, min(start + _BATCH, len(dataset))))
        said = opened.classify(part, entry.model, default_renderer())
        kept = ("answer", "value", "sure", "confidence", "reason")
        answered += [
            row | {f"hortus_{name}": one[name] for name in kept if name != "reason" or one[name]}
            for row, one in zip(part, said, strict=True)
        ]
        print(f"{len(answered)} of {len(dataset)} rows", file=sys.stderr)
    write_rows(answered, output, json)
    return 0


def serve_app(path: Path, config: ServingConfig, device: str, dtype: str) -> int:
    """Serve a deployed prompt: POST /classify."""
    from hortus.studio.apps import PromptApp
    from hortus.studio.server import create_classifier, run_server

    app = PromptApp.load(path)
    entry = app.open_model(device=device, dtype=dtype)
    loopback = config.host in ("127.0.0.1", "localhost", "::1")
    served = create_classifier(app, entry, config.token, open_hosts=not loopback)
    name = app.content["name"]
    example = json_format.dumps({"rows": [dict.fromkeys(app.content["fields"], "...")]})
    run_server(
        served,
        config.host,
        config.port,
        lambda address: print(f"{name} at {address}/classify, for {example}", flush=True),
    )
    return 0
