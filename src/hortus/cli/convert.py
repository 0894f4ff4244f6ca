"""hortus convert: old pickled weights into safetensors."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def convert(
    source: Path,
    *,
    output: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Turn pickled weights into safetensors: read without running their code, in a process of its own.

    Parameters
    ----------
    source
        A .bin or .pt file, or a folder with pytorch_model*.bin.
    output
        The new folder (default: beside the source, with -safetensors added).
    json
        Print one JSON object.
    """
    from hortus.models.convert import convert_pickled

    home = source if source.is_dir() else source.parent
    folder = output if output is not None else home.resolve().with_name(f"{home.resolve().name}-safetensors")
    files = convert_pickled(source, folder)
    if json:
        print(json_format.dumps({"folder": str(folder), "files": files}))
    else:
        print(f"{', '.join(files)} -> {folder}")
    return 0
