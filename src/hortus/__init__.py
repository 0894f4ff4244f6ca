"""hortus: an open-model workbench.

`hortus.load` opens any artifact: a language model, a topic model, an affinity or a counterfactual network.
Nothing heavy is imported until it is used.
"""

from __future__ import annotations

from typing import Any

__all__ = ["__version__", "load"]

__version__ = "0.1.0"


def load(name_or_folder: str, **options: Any) -> Any:
    """Open any artifact, from a folder or a hub id. See `hortus.artifact.load`."""
    from hortus.artifact import load as load_artifact

    return load_artifact(name_or_folder, **options)
