"""hortus export: a model in the format of another tool."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from hortus.cli.generate import open_model
from hortus.errors import ConfigError

__all__ = ["export"]


def export(
    model: str,
    *,
    to: Literal["hf", "onnx", "gguf"],
    output: Path,
    weights: Literal["float32", "float16", "bfloat16", "q8_0"] = "float32",
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Write a model for transformers (hf), onnxruntime (onnx) or llama.cpp (gguf).

    What was written is read again and its logits compared; only then does it get its name.

    Parameters
    ----------
    model
        A folder or a hub id.
    to
        hf writes a folder, onnx a folder with model.onnx, gguf one file.
    output
        Where it goes.
    weights
        Number format: hf has float32, float16 and bfloat16; gguf float32, float16 and q8_0; onnx float32.
    json
        Print one JSON object.
    """
    from hortus.language.export import export_gguf, export_hugging_face, export_onnx

    opened = open_model(model, "cpu", "float32")
    if to == "hf":
        result = export_hugging_face(opened, output, weights)
    elif to == "gguf":
        result = export_gguf(opened, output, weights)
    elif weights == "float32":
        result = export_onnx(opened, output)
    else:
        raise ConfigError(f"weights={weights} for onnx", allowed="float32")
    numbers = {"output": str(output), **result._asdict()}
    if json:
        print(json_format.dumps(numbers))
    else:
        print(
            f"{output}: read by {', '.join(result.readers)}; logits differ by {result.difference:.1g} of the "
            f"largest, likeliest token equal at {result.agreement:.1%} of positions"
        )
    return 0
