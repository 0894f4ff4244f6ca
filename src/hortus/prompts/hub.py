"""Where a dataset's files are: one file, a folder by split, or the hub's parquet files.

The hub keeps a parquet conversion of nearly every public dataset on the branch `refs/convert/parquet`, laid
out as SUBSET/SPLIT/0000.parquet; that is read, and the dataset's own parquet files where there is none. No
code of a dataset repository is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from hortus.errors import DataError, nearest
from hortus.prompts.rows import SUFFIXES

__all__ = ["find_files"]

CONVERTED = "refs/convert/parquet"


def find_files(source: str, subset: str | None, split: str) -> list[Path]:
    """The data files of a file, a folder or a hub id, in order.

    Raises:
        DataError: nothing fits, with what there is.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        names = sorted(
            file.relative_to(path).as_posix() for file in path.rglob("*") if file.suffix in SUFFIXES
        )
        return [path / name for name in choose_files(names, subset, split, source)]
    if path.suffix in SUFFIXES or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise DataError(f"there is no file or folder {source}")
    return _download(source, subset, split)


def choose_files(names: Sequence[str], subset: str | None, split: str, source: str) -> list[str]:
    """Those of the relative file names that belong to a subset and split.

    A file belongs to a split when its stem is the split, or the split and a shard number, or when it lies in
    a folder of the split's name.

    >>> choose_files(["rte/train/0000.parquet", "rte/test/0000.parquet"], "rte", "train", "super_glue")
    ['rte/train/0000.parquet']
    >>> choose_files(["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"], None, "train", "here")
    ['train-00000-of-00002.jsonl', 'train-00001-of-00002.jsonl']
    """
    if subset is not None:
        within = [name for name in names if subset in PurePosixPath(name).parts[:-1]]
        if not within:
            known = {part for name in names for part in PurePosixPath(name).parts[:1]}
            raise DataError(f"{source} has no subset {subset!r}", do=nearest(subset, known))
        names = within
    chosen = [name for name in names if _split_of(name) == split]
    if not chosen:
        splits = {_split_of(name) for name in names}
        raise DataError(
            f"{source} has no split {split!r}", do=nearest(split, splits) if splits else "it is empty"
        )
    folders = {PurePosixPath(name).parts[0] for name in chosen if len(PurePosixPath(name).parts) > 1}
    if subset is None and len(folders) > 1:
        if "default" not in folders:
            raise DataError(
                f"{source} has several subsets", allowed=", ".join(sorted(folders)), do="set `subset`"
            )
        chosen = [name for name in chosen if PurePosixPath(name).parts[0] == "default"]
    kinds = {PurePosixPath(name).suffix for name in chosen}
    if len(kinds) > 1:
        raise DataError(f"{source} has split {split!r} as {', '.join(sorted(kinds))}", do="name one file")
    return sorted(chosen)


def _split_of(name: str) -> str:
    path = PurePosixPath(name)
    if path.stem.isdigit() and len(path.parts) > 1:
        return path.parts[-2].removeprefix("partial-")
    return re.sub(r"-\d+(-of-\d+)?(-[0-9a-f]{16})?$", "", path.stem)


def _download(repository: str, subset: str | None, split: str) -> list[Path]:
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    api, revision = HfApi(), CONVERTED
    try:
        try:
            names = api.list_repo_files(repository, repo_type="dataset", revision=revision)
        except RevisionNotFoundError:
            revision = "main"
            names = api.list_repo_files(repository, repo_type="dataset", revision=revision)
        names = [name for name in names if name.endswith(".parquet")]
        chosen = choose_files(names, subset, split, f"the hub's dataset {repository}")
        return [
            Path(hf_hub_download(repository, name, repo_type="dataset", revision=revision)) for name in chosen
        ]
    except RepositoryNotFoundError as error:
        raise DataError(
            f"{repository!r} is neither a file, a folder nor a dataset of the hub", do="check its spelling"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise DataError(
            f"cannot read {repository!r} from the hub: {str(error).splitlines()[0]}",
            do="check the connection, or name a local file",
        ) from error
