"""Freed memory kept for the next step.

glibc gives the end of its heap and every large block back to the system as soon as they are freed, and a
training step frees all its activations: the next one takes them again page by page, at 2-3 GB/s on a virtual
machine. On two cores, 4x512 tokens of a 34M network: 62,000 page faults a step, about 3 % of its time.
"""

from __future__ import annotations

import ctypes
import functools
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
# Of one block. Larger ones (the head's gradient of a large vocabulary) still go back at once: kept, they
# break the heap into pieces, which cost a quarter of a gigabyte at 250,880 words.
_MOST_BYTES = 2**26


@functools.cache
def keep_freed_memory() -> bool:
    """Tell this process's allocator to keep what is freed; true where it could be told (glibc).

    The peak of memory stays what it was; between peaks the process keeps holding it.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl has none
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MOST_BYTES) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
