"""Who writes a temporary file: a process, told apart from those of other machines and of other times."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from functools import cache
from pathlib import Path


def writer_mark() -> str:
    """Number, machine and start of this process; the number alone where the system does not tell the rest (it is no Linux)."""
    process, machine = os.getpid(), _machine()
    began = _began(process)
    return f"{process}-{machine}-{began:x}" if machine and began is not None else str(process)


def is_writing(mark: str) -> bool | None:
    """Whether the process of a mark is still there; None where nobody can tell, as of another machine on a shared disk."""
    found = re.fullmatch(r"(\d+)-([0-9a-f]+)-([0-9a-f]+)", mark)
    if found is None or found[2] != _machine():
        return None
    return _began(int(found[1])) == int(found[3], 16)  # numbers are used again, but not with the same start


@cache
def _machine() -> str:
    """Short for this machine since it was started, and for the container whose processes have the numbers seen here."""
    try:
        known = [platform.node(), Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    except OSError:
        return ""
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:8]


def _began(process: int) -> int | None:
    """When a process began, in ticks since the machine did; None where there is none any more, or nobody knows."""
    try:
        about = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if about[0] in "ZX" else int(about[19])  # one that has ended may be listed on
    except (OSError, ValueError, IndexError):
        return None
