"""What two runs have in common, whatever the clock said."""

from __future__ import annotations

from typing import Any

CLOCK = {"checksums", "seconds", "train_seconds", "examples_per_second", "latency", "latency_ms", "latency_ms_p50", "cost"}


def timeless(value: Any) -> Any:
    """A record without what depends on the clock."""
    if isinstance(value, dict):
        return {name: timeless(entry) for name, entry in value.items() if name not in CLOCK}
    return [timeless(entry) for entry in value] if isinstance(value, list) else value
