"""Old pickled checkpoints into safetensors.

The file is read by PyTorch with `weights_only=True`, which builds tensors and plain containers and runs no
code from the file, and in a process of its own, so that a file that breaks the reader breaks nothing else.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from hortus.artifact import replacing_folder
from hortus.errors import ArtifactError

__all__ = ["convert_pickled"]

_SECONDS = 3600
# Files beside the weights that a folder keeps.
_KEPT = ("*.json", "*.txt", "*.model", "*.md", "*.yaml", "*.jinja")

_READER = """
import sys, torch
from safetensors.torch import save_file
source, target = sys.argv[1:]
found = torch.load(source, map_location="cpu", weights_only=True)
found = found.get("state_dict", found) if isinstance(found, dict) else found
if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
    sys.exit("it holds no dictionary of tensors")
tensors = {name: x for name, x in found.items() if isinstance(x, torch.Tensor)}
if not tensors:
    sys.exit("it holds no tensors")
save_file({name: x.clone().contiguous() for name, x in tensors.items()}, target, metadata={"format": "pt"})
"""


def convert_pickled(source: Path, folder: Path) -> list[str]:
    """Write a folder with safetensors in place of pickled weights.

    Args:
        source: a .bin or .pt file, or a folder that holds such files (shards with their index too).
        folder: where the result goes: the weights, and the other files that lie beside `source`.

    Returns:
        Names of the files read.

    Raises:
        ArtifactError: nothing to convert, or a file that is not plain tensors.
    """
    home = source if source.is_dir() else source.parent
    files = sorted(home.glob("pytorch_model*.bin")) if source.is_dir() else [source]
    if not files or not files[0].is_file():
        raise ArtifactError(f"{source} holds no pickled weights", allowed="a .bin or .pt file, or a folder")
    with replacing_folder(folder) as temporary:
        for pattern in _KEPT:
            for file in home.glob(pattern):
                if not file.name.startswith(("pytorch_model", "model.safetensors")):
                    shutil.copyfile(file, temporary / file.name)
        if len(files) == 1:
            _convert(files[0], temporary / "model.safetensors")
        else:
            _convert_shards(files, temporary)
    return [file.name for file in files]


def _convert_shards(files: list[Path], folder: Path) -> None:
    from safetensors import safe_open

    places: dict[str, str] = {}
    size = 0
    for number, file in enumerate(files, start=1):
        name = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        _convert(file, folder / name)
        size += (folder / name).stat().st_size
        with safe_open(str(folder / name), "pt") as tensors:
            places |= dict.fromkeys(tensors.keys(), name)
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")


def _convert(source: Path, target: Path) -> None:
    command = [sys.executable, "-I", "-c", _READER, str(source), str(target)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or [f"the reader ended with {result.returncode}"])[-1]
        raise ArtifactError(f"{source} is not plain tensors: {reason}", do="ask its author for safetensors")
