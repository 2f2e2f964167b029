"""How much memory this process takes at its most."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from stillhouse.machine.allocator import give_back_freed_memory


def forget_peak_memory() -> None:
    """Lets `peak_memory_mib` begin anew, where the system can (Linux), without what is only kept for reuse."""
    give_back_freed_memory()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mib() -> float:
    """Largest resident size of this process, since `forget_peak_memory` was called; 0 on Windows, which does not say."""
    with suppress(OSError, StopIteration, ValueError):  # Linux; what getrusage says there may be the parent process's
        status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in status if line.startswith("VmHWM:")).split()[1]) / 1024
    try:
        import resource
    except ImportError:
        return 0.0
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
