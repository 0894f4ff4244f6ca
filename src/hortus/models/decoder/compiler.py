"""The decoding kernels, compiled at first use by the machine's own C compiler and kept for later.

The library goes into the user's cache folder under a key of source, flags, compiler and processor features,
so a shared home never serves a program to a processor that cannot run it. Without a compiler, on other
systems than Linux, or with HORTUS_KERNELS=0 in the environment, decoding runs through PyTorch's kernels.

The OpenMP calls are left unresolved and bind to the library that PyTorch has loaded: both share one team of
threads, where a second runtime's would spin against it.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

from hortus.artifact import replacing_file

__all__ = ["SWITCH", "load_kernels"]

SWITCH = "HORTUS_KERNELS"
_FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
_SECONDS = 120
_log = logging.getLogger("hortus")


@functools.lru_cache(maxsize=1)
def load_kernels() -> ctypes.CDLL | None:
    """The compiled kernels, or None where they cannot or shall not be used."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if os.environ.get(SWITCH) == "0" or sys.platform != "linux" or compiler is None:
        return None
    try:
        return ctypes.CDLL(str(_library(compiler)))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # also a full disk or no home
        detail = getattr(error, "stderr", None) or str(error)
        _log.info("decoding runs through PyTorch's kernels: %s", detail.strip())
        return None


def _library(compiler: str) -> Path:
    """The path of the shared library, compiled if it is not there yet."""
    source = resources.files("hortus.models.decoder").joinpath("kernels.c").read_text(encoding="utf-8")
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=_SECONDS).stdout
    parts = (source, *_FLAGS, compiler, version, _processor_features())
    key = hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()
    path = _cache_folder() / f"decoder-{key}.so"
    if not path.is_file():
        with replacing_file(path) as temporary:
            _compile(compiler, source, temporary)
    return path


def _compile(compiler: str, source: str, library: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        text, compiled = Path(folder) / "kernels.c", Path(folder) / "kernels.o"
        text.write_text(source, encoding="utf-8")
        commands = (
            [compiler, *_FLAGS, "-c", str(text), "-o", str(compiled)],
            # Linked without -fopenmp, so that no OpenMP library is named and PyTorch's is found.
            [compiler, "-shared", str(compiled), "-lm", "-o", str(library)],
        )
        for command in commands:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)


def _processor_features() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "hortus" / "kernels"
