"""hortus serve: a model for many clients over HTTP."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from hortus.artifact import resolve_folder
from hortus.cli.generate import open_model
from hortus.errors import DataError
from hortus.registry import require
from hortus.serving.config import ServingConfig

__all__ = ["serve"]


def serve(
    model: str,
    *,
    weights: Literal["int8", "bfloat16"] | None = None,
    measure: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    config: Annotated[ServingConfig | None, Parameter(name="*")] = None,
) -> int:
    """Serve a model over an OpenAI-compatible HTTP API until stopped.

    Parameters
    ----------
    model
        A folder or a hub id.
    weights
        Keep the weights in fewer bits than the arithmetic; what that costs is measured and printed.
    measure
        A text file to measure that on; without it, on text that the model writes.
    device
        auto, cpu, cuda, cuda:N or mps.
    dtype
        auto, float32, bfloat16 or float16.
    config
        Where it listens and what it admits. The token may also stand in HORTUS_TOKEN.
    """
    for module in ("fastapi", "uvicorn", "prometheus_client"):
        require(module, extra="serve")
    settings = config if config is not None else ServingConfig()
    if settings.token is None:
        settings = dataclasses.replace(settings, token=os.environ.get("HORTUS_TOKEN") or None)
    folder = resolve_folder(model)
    opened = open_model(str(folder), device, dtype)
    if weights is not None:
        from hortus.language.packing import pack

        print(pack(opened, weights, _texts(measure)), file=sys.stderr)
    from hortus.serving.server import serve as run

    name = Path(model).name
    settings = settings if settings.name else dataclasses.replace(settings, name=name)
    run(
        opened, settings, folder=folder, announce=lambda address: print(f"{name} at {address}/v1", flush=True)
    )
    return 0


def _texts(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    try:
        return [path.read_text(encoding="utf-8")]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}", do="check the path and that it is UTF-8") from error
