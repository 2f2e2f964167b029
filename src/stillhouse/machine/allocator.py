"""What glibc does with memory that is freed; on other systems nothing is done.

Asking the system for each large tensor's pages anew is, on a CPU, up to a tenth of a training step.
"""

from __future__ import annotations

import ctypes
import os
import platform
from contextlib import suppress

# Their numbers in malloc.h, and the largest value that glibc takes for the first.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD = -1, -3, 2**25
SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_")


def keep_freed_memory() -> None:
    """Lets the process keep what is freed, up to 2 GiB of it, unless its environment says what to do."""
    is_set = any(name in os.environ for name in SETTINGS) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if _is_glibc() and not is_set:
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            library.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
            library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def give_back_freed_memory() -> None:
    """Gives the system what the process has kept."""
    if _is_glibc():
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
