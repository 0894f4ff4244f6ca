"""An artifact folder to a hub, with its card."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hortus.artifact import read_config, read_tensors
from hortus.card import ModelCard
from hortus.errors import ArtifactError, ConfigError

__all__ = ["share"]

# What is never uploaded: pickles, and what a run leaves beside a model.
_IGNORED = ["*.bin", "*.pt", "*.pkl", "*.part", ".*", "checkpoints/*"]


def share(folder: str | Path, name: str, *, private: bool = False, message: str = "", api: Any = None) -> str:
    """Upload a folder as OWNER/NAME, once it proves to be whole.

    Args:
        folder: an artifact.
        name: OWNER/NAME.
        private: for a repository that is made by this call.
        message: of the commit.
        api: what stands for `huggingface_hub.HfApi()`, whose token is the one of `hf auth login` or HF_TOKEN.

    Returns:
        The address of the commit.

    Raises:
        ConfigError: not OWNER/NAME.
        ArtifactError: the folder is no artifact, has no card, or the hub refuses.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ConfigError(f"{name!r} is no name on a hub", allowed="OWNER/NAME")
    folder = Path(folder)
    kind = read_config(folder)["model_type"]
    read_tensors(folder)
    if not (folder / "README.md").is_file():
        raise ArtifactError(
            f"{folder} has no card", do="write one: hortus.load(folder), set .card, then .save(folder)"
        )
    card = ModelCard.read(folder)
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    api = huggingface_hub.HfApi() if api is None else api
    try:
        api.create_repo(name, exist_ok=True, private=private)
        commit = api.upload_folder(
            repo_id=name,
            folder_path=str(folder),
            commit_message=message or f"{card.name} ({kind})",
            ignore_patterns=_IGNORED,
        )
    except (HfHubHTTPError, OSError) as error:
        raise ArtifactError(
            f"the hub refuses: {str(error).splitlines()[0]}", do="log in with: hf auth login"
        ) from error
    return str(commit.commit_url)
