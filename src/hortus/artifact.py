"""One artifact format: a folder that is written whole or not at all, and read strictly or not at all.

    config.json            model_type and everything needed to rebuild the network
    model.safetensors      the tensors; sharded with model.safetensors.index.json when large
    tokenizer.json, ...    where they apply
    README.md              the model card (see hortus.card)
    recipe.yaml            how it was made

Pickle is never read here. For the language families the folder is a Hugging Face checkpoint.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hortus import registry
from hortus.card import ModelCard
from hortus.errors import ArtifactError, DeviceError, nearest

if TYPE_CHECKING:
    import torch

__all__ = [
    "ModelCard",
    "check_tensors",
    "load",
    "read_config",
    "read_json",
    "read_tensors",
    "replacing_file",
    "replacing_folder",
    "resolve_folder",
    "write_artifact",
    "write_json",
]

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
MOST_LISTED = 10


@contextmanager
def replacing_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it to disk and rename it to `path`.

    On an exception the temporary file is removed and `path` is as it was.

    Raises:
        DeviceError: the disk is full or not writable.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing_file(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise _disk_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success sync its files and put it in place of `path`.

    A folder that was there before is moved aside first and removed last: a reader sees the old one, the
    new one or, for the moment between two renames, none, but never a mixture.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        _swap(temporary, path)
    except OSError as error:
        raise _disk_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(temporary: Path, path: Path) -> None:
    if path.exists():
        aside = path.with_name(f".{path.name}.{os.getpid()}.old")
        path.replace(aside)
        temporary.replace(path)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        temporary.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Make what was written survive a power cut. Some systems can't open folders; that is no error."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno == 28:  # ENOSPC can surface only here, when the pages go to disk
            raise
    finally:
        os.close(descriptor)


def _disk_error(path: Path, error: OSError) -> Exception:
    if isinstance(error, FileNotFoundError):
        return error
    return DeviceError(
        f"cannot write {path}: {error.strerror or error}",
        do="free space or choose another folder; nothing was changed",
    )


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """The value of a JSON file.

    Raises:
        ArtifactError: missing, not UTF-8 or not JSON (with the line).
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"cannot read {path}: {error}", do="check that the folder is whole") from error
    except json.JSONDecodeError as error:
        raise ArtifactError(
            f"{path} is not JSON: line {error.lineno}: {error.msg}", do="restore the file"
        ) from error


def write_artifact(
    folder: str | Path,
    *,
    config: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    card: ModelCard | None = None,
    recipe: Mapping[str, Any] | None = None,
    extra: Callable[[Path], None] | None = None,
    max_shard_bytes: int = 5 * 10**9,
) -> None:
    """Write an artifact folder, whole or not at all.

    Args:
        config: becomes config.json; must name "model_type".
        tensors: by their published names; tensors that share memory must be named once.
        extra: writes further files (the tokenizer's, say) into the folder it is given.
        max_shard_bytes: above this the tensors go into numbered shards with an index.

    Raises:
        ArtifactError: the config names no model_type.
        DeviceError: the disk is full or not writable.
    """
    if not isinstance(config.get("model_type"), str):
        raise ArtifactError("config lacks 'model_type'", allowed=", ".join(sorted(registry.KINDS)))
    with replacing_folder(folder) as temporary:
        write_json(temporary / "config.json", dict(config))
        _write_tensors(temporary, tensors, max_shard_bytes)
        if extra is not None:
            extra(temporary)
        if card is not None:
            (temporary / "README.md").write_text(card.to_markdown(), encoding="utf-8")
        if recipe is not None:
            text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
            (temporary / "recipe.yaml").write_text(text, encoding="utf-8")


def _write_tensors(folder: Path, tensors: Mapping[str, torch.Tensor], max_shard_bytes: int) -> None:
    from safetensors.torch import save_file

    shards = _shards(tensors, max_shard_bytes)
    # transformers refuses a file without this mark.
    metadata = {"format": "pt"}
    if len(shards) == 1:
        save_file(shards[0], str(folder / WEIGHTS), metadata=metadata)
        return
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, str(folder / name), metadata=metadata)
        weight_map.update(dict.fromkeys(shard, name))
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _shards(tensors: Mapping[str, torch.Tensor], max_shard_bytes: int) -> list[dict[str, torch.Tensor]]:
    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        tensor_bytes = tensor.numel() * tensor.element_size()
        if shards[-1] and size + tensor_bytes > max_shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor.detach().cpu().contiguous()
        size += tensor_bytes
    return shards


def resolve_folder(name_or_folder: str | Path, revision: str | None = None) -> Path:
    """The local folder of an artifact: a folder as it is, or a hub id downloaded to (or found in) the cache.

    Only the files that hortus reads are fetched; pickled weights never are. HF_HUB_OFFLINE is honoured.

    Raises:
        ArtifactError: neither a folder nor a reachable hub id.
    """
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(name_or_folder)) or folder.exists():
        raise ArtifactError(
            f"{name_or_folder} is not a folder", allowed="an artifact folder or a hub id OWNER/NAME"
        )
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.md", "*.yaml", "*.model", "*.txt"]
    try:
        return Path(
            huggingface_hub.snapshot_download(str(name_or_folder), revision=revision, allow_patterns=patterns)
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ArtifactError(
            f"{name_or_folder} is no folder here, and the hub says: {str(error).splitlines()[0]}",
            allowed="an artifact folder or a hub id OWNER/NAME",
            do="check the spelling and the network",
        ) from error


def read_config(folder: str | Path) -> dict[str, Any]:
    """config.json of an artifact folder.

    Raises:
        ArtifactError: missing, not JSON, or without a model_type.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ArtifactError(
            f"{folder} has no config.json", do="give the folder that holds config.json and model.safetensors"
        )
    config = read_json(path)
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ArtifactError(f"{path} names no model_type", allowed=", ".join(sorted(registry.KINDS)))
    return config


def read_tensors(folder: str | Path) -> dict[str, torch.Tensor]:
    """All tensors of an artifact folder by name, memory-mapped, on the CPU.

    Raises:
        ArtifactError: no safetensors file, only pickled ones, a shard missing or corrupt (named).
    """
    folder = Path(folder)
    index = folder / INDEX
    if index.is_file():
        names = _shard_names(index)
    elif (folder / WEIGHTS).is_file():
        names = [WEIGHTS]
    else:
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        if pickled:
            raise ArtifactError(
                f"{folder} holds pickled weights ({pickled[0]}), which can run code when read",
                allowed="safetensors files",
                do=f"run: hortus convert {folder / pickled[0]}",
            )
        raise ArtifactError(f"{folder} has no {WEIGHTS}", do="check that the folder is whole")
    tensors: dict[str, torch.Tensor] = {}
    for name in names:
        tensors.update(_read_safetensors(folder / name))
    return tensors


def _shard_names(index: Path) -> list[str]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ArtifactError(f"{index} has no weight_map", do="restore the file")
    names = sorted(set(weight_map.values()))
    # The index is a file from outside: it must not lead out of its own folder.
    stray = [name for name in names if Path(name).name != name]
    if stray:
        raise ArtifactError(f"{index} names the path {stray[0]!r}", allowed="names of files beside it")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise ArtifactError(
            f"{index.parent} lacks {len(missing)} shards: {', '.join(missing[:MOST_LISTED])}",
            do="fetch them again",
        )
    return names


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path} is corrupt: {error}", do="restore or fetch the file again") from error


def check_tensors(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], where: str | Path
) -> None:
    """Compare the shapes that a network expects with those found in a file.

    Raises:
        ArtifactError: lists at most ten of the missing, extra and misshapen tensors.

    >>> check_tensors({"a": (2, 3)}, {"a": (2, 3)}, "model")
    """
    complaints = [f"missing {name}" for name in expected if name not in found]
    complaints += [f"extra {name}" for name in found if name not in expected]
    complaints += [
        f"{name} is {tuple(found[name])}, not {tuple(shape)}"
        for name, shape in expected.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]
    if complaints:
        more = f" and {len(complaints) - MOST_LISTED} more" if len(complaints) > MOST_LISTED else ""
        raise ArtifactError(
            f"the tensors in {where} do not fit its config: {'; '.join(complaints[:MOST_LISTED])}{more}",
            do="check that config.json and the weights belong together",
        )


def load(name_or_folder: str | Path, *, revision: str | None = None, **options: Any) -> Any:
    """Open any artifact by the model_type of its config.json; `options` go to the family's own loader.

    Raises:
        ArtifactError: not an artifact, or a family that hortus does not know.
    """
    folder = resolve_folder(name_or_folder, revision)
    kind = read_config(folder)["model_type"]
    if kind not in registry.KINDS:
        raise ArtifactError(f"{folder}: model_type {kind!r} is not known", do=nearest(kind, registry.KINDS))
    return registry.resolve(registry.KINDS[kind])(folder, **options)
