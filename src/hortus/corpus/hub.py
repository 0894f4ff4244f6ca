"""Data sets of a hub: `hub:OWNER/NAME`, optionally `@REVISION` and `:GLOB` of the files wanted.

Files are fetched one at a time when their partition is read, into the hub's own cache.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from hortus.corpus.catalogue import HUB, Source
from hortus.corpus.files import kind_of
from hortus.errors import DataError

__all__ = ["fetch_hub_file", "list_hub_files"]

_NAME = re.compile(r"hub:(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?::(?P<pattern>.+))?")


def list_hub_files(source: Source) -> tuple[Source, list[str]]:
    """The source with the licence and provenance of its card, and "hub:NAME@COMMIT:FILE" of its files.

    Raises:
        DataError: not a data set's name, out of reach, or without a readable file.
    """
    match = _NAME.fullmatch(source.path)
    if not match:
        raise DataError(f"source {source.path!r} is no data set", allowed="hub:OWNER/NAME[@REVISION][:GLOB]")
    info = _info(match["name"], match["revision"])
    names = sorted(sibling.rfilename for sibling in info.siblings or ())
    wanted = [
        name for name in names if fnmatch.fnmatch(name, match["pattern"] or "*") and kind_of(Path(name))
    ]
    # A README beside tables is no text of the data set.
    tables = [name for name in wanted if kind_of(Path(name)) in ("jsonl", "parquet", "csv")]
    if not wanted:
        raise DataError(
            f"{source.path} holds no readable file", allowed="jsonl, parquet, csv, txt", do="name a glob"
        )
    card = info.card_data or {}
    licence = source.licence or card.get("license")
    return replace(
        source,
        licence=licence if isinstance(licence, str) else None,
        provenance=source.provenance or f"data set {match['name']} at {info.sha}",
    ), [f"{HUB}{match['name']}@{info.sha}:{name}" for name in tables or wanted]


def _info(name: str, revision: str | None) -> Any:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return huggingface_hub.HfApi().dataset_info(name, revision=revision)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise DataError(
            f"data set {name} is out of reach: {str(error).splitlines()[0]}",
            do="check the name and the network",
        ) from error


def fetch_hub_file(piece: str) -> Path:
    """The local path of "hub:NAME@COMMIT:FILE", fetched where it is not in the cache.

    Raises:
        DataError: out of reach.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    match = _NAME.fullmatch(piece)
    assert match is not None
    try:
        return Path(
            huggingface_hub.hf_hub_download(
                match["name"], match["pattern"], repo_type="dataset", revision=match["revision"]
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise DataError(
            f"cannot fetch {piece}: {str(error).splitlines()[0]}", do="check the network"
        ) from error
