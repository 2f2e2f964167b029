"""log.jsonl: one line per logging step, cut back to the checkpoint when a run goes on; trackers get the same numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from stillhouse.files import explained


class RunLog:
    """Appends JSON lines; only the main process writes.

    Args:
        path: The file; None = nowhere.
        accelerator: Passes the numbers on to experiment trackers; None = no trackers.
    """

    def __init__(self, path: Path | None, accelerator: Any = None) -> None:
        self.path = path
        self._accelerator = accelerator

    def write(self, stage: str, step: int, **values: Any) -> None:
        line = {"stage": stage, "step": step, **values}
        if self.path is not None:
            with explained(self.path), self.path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(line, ensure_ascii=False) + "\n")
        if self._accelerator is not None:
            # Steps start again with every stage, which trackers that want one rising number refuse: it is a value instead.
            self._accelerator.log(_flat({"step": step, **values}, f"{stage}/"))

    def size(self) -> int:
        """Length of what is on the disk for good: a checkpoint relies on it."""
        if self.path is None or not self.path.exists():
            return 0
        with self.path.open("rb") as handle:
            os.fsync(handle.fileno())
        return self.path.stat().st_size

    def cut(self, size: int) -> None:
        """Forgets what was written after the first `size` bytes: the steps that will be taken again."""
        if self.path is not None and self.path.exists() and self.path.stat().st_size > size:
            with self.path.open("rb+") as handle:
                handle.truncate(size)


def _flat(values: dict[str, Any], prefix: str) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            flat[prefix + name] = float(value)
    return flat
