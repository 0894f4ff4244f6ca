"""hortus share: an artifact folder to a hub."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def share(
    folder: Path,
    name: str,
    *,
    private: Annotated[bool, Parameter(negative=())] = False,
    message: str = "",
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Upload a model folder and its card.

    Parameters
    ----------
    folder
        The artifact.
    name
        OWNER/NAME on the hub.
    private
        Make a new repository a private one.
    message
        Of the commit.
    json
        Print one JSON object.
    """
    from hortus.language.share import share as upload

    address = upload(folder, name, private=private, message=message)
    print(json_format.dumps({"address": address}) if json else address)
    return 0
