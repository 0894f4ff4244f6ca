"""hortus generate: continue a text, or every text of a JSONL file."""

from __future__ import annotations

import dataclasses
import json as json_format
import re
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hortus.artifact import load, replacing_file
from hortus.errors import ArtifactError, ConfigError, DataError
from hortus.language.config import GenerationConfig

if TYPE_CHECKING:
    from hortus.language.model import LanguageModel

__all__ = ["GenerationFlags", "generate", "given", "open_model", "read_rows", "write_rows"]


def _field_help() -> dict[str, str]:
    """What GenerationConfig's docstring says of each field."""
    text = re.sub(r"\n {8}", " ", typing.cast(str, GenerationConfig.__doc__))
    return dict(re.findall(r"^ {4}(\w+): (.+)$", text, flags=re.MULTILINE))


def _flags() -> type:
    """GenerationConfig's fields as optional flags: what is not given is what the model's folder says."""
    kinds, explained = typing.get_type_hints(GenerationConfig), _field_help()
    fields = []
    for field in dataclasses.fields(GenerationConfig):
        parameter = Parameter(help=explained[field.name], show_default=False, negative=())
        kind: Any = Annotated[typing.Optional[kinds[field.name]], parameter]  # noqa: UP045  (built at run time)
        fields.append((field.name, kind, dataclasses.field(default=None)))
    # cyclopts takes a class of the standard library, which a made one seems to be, for a plain value.
    home = {"__module__": __name__}
    return dataclasses.make_dataclass("GenerationFlags", fields, frozen=True, kw_only=True, namespace=home)


GenerationFlags: Any = _flags()


def given(flags: Any) -> dict[str, Any]:
    """The settings that were given on the command line."""
    values = {} if flags is None else dataclasses.asdict(flags)
    return {name: value for name, value in values.items() if value is not None}


def open_model(model: str, device: str, dtype: str, weights: str | None = None) -> LanguageModel:
    """Open a language model.

    Raises:
        ArtifactError: there is no such artifact, or it is another kind.
    """
    packing = {} if weights is None else {"weights": weights}
    opened = load(model, device=device, dtype=dtype, **packing)
    if not hasattr(opened, "stream"):
        raise ArtifactError(f"{model} holds no language model", do="give the folder of one")
    return typing.cast("LanguageModel", opened)


def generate(
    model: str,
    text: str | None = None,
    *,
    input: Path | None = None,
    output: Path | None = None,
    settings: Annotated[GenerationFlags | None, Parameter(name="*")] = None,
    truncate: Annotated[bool, Parameter(negative=())] = False,
    batch_size: int = 16,
    device: str = "auto",
    dtype: str = "auto",
    weights: typing.Literal["int8", "bfloat16"] | None = None,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Continue a text and print the new part as it comes.

    Parameters
    ----------
    model
        A folder or a hub id.
    text
        The text to continue.
    input
        Instead of a text, a JSONL file; each line is an object with "text".
    output
        Where the lines of --input go, each with "generated" added; without it, to stdout.
    truncate
        Cut the beginning off a text that is too long instead of refusing it.
    batch_size
        Texts of --input run together.
    device
        auto, cpu, cuda, cuda:N or mps.
    dtype
        auto, float32, bfloat16 or float16.
    weights
        Keep a decoder's weights in fewer bits than the arithmetic, for speed.
    json
        Print one JSON object instead of bare text.
    """
    if (text is None) == (input is None):
        raise ConfigError("generate needs one source", allowed="a text or --input FILE.jsonl, not both")
    options = given(settings) | {"truncate": truncate}
    if input is not None:
        rows = read_rows(input)
        opened = open_model(model, device, dtype, weights)
        answers = opened.generate([row["text"] for row in rows], batch_size=batch_size, **options)
        write_rows([row | {"generated": new} for row, new in zip(rows, answers, strict=True)], output, json)
        return 0
    opened = open_model(model, device, dtype, weights)
    assert text is not None
    if json:
        _print_line({"text": text, "generated": opened.generate(text, **options)})
        return 0
    for piece in opened.stream(text, **options):
        print(piece, end="", flush=True)
    print()
    return 0


def read_rows(path: Path, needed: Sequence[str] = ("text",)) -> list[dict[str, Any]]:
    """The objects of a JSONL file, each with the needed strings; empty lines are skipped.

    Raises:
        DataError: the file cannot be read, or a line (named) is no such object.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}", do="check the path and that it is UTF-8") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json_format.loads(line)
        except json_format.JSONDecodeError as error:
            raise DataError(f"{path} line {number} is not JSON: {error.msg}", do="mend the line") from error
        for name in needed:
            if not isinstance(row, dict) or not isinstance(row.get(name), str):
                raise DataError(
                    f'{path} line {number} has no "{name}"', allowed=f'objects with a string "{name}"'
                )
        rows.append(row)
    return rows


def write_rows(rows: Sequence[dict[str, Any]], output: Path | None, json: bool) -> None:
    """Lines to a file, or to stdout as lines or as one object."""
    if output is not None:
        with replacing_file(output) as temporary, temporary.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json_format.dumps(row, ensure_ascii=False) + "\n")
        print(f"{len(rows)} texts written to {output}", file=sys.stderr)
        if json:
            _print_line({"texts": len(rows), "output": str(output)})
    elif json:
        _print_line({"rows": list(rows)})
    else:
        for row in rows:
            _print_line(row)


def _print_line(value: dict[str, Any]) -> None:
    print(json_format.dumps(value, ensure_ascii=False), flush=True)
