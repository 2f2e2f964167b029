"""log.jsonl: one line per logging step, cut back to the checkpoint when a run goes on; trackers get the same numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stillhouse.documents import DocumentError, read_json
from stillhouse.files import explained, write_atomically


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

    def sync(self) -> None:
        """Puts what is written on the disk for good: a checkpoint relies on it."""
        if self.path is not None and self.path.exists():
            with self.path.open("rb") as handle:
                os.fsync(handle.fileno())

    def mend(self, say: Callable[[str], None]) -> None:
        """Leaves out what no run wrote; half a line at the end, which a kill leaves, without a word."""
        if self.path is None or not self.path.exists():
            return
        lines = self._lines()
        good = [line for line in lines if _parsed(line) is not None]
        bad = len(lines) - len(good) - (bool(lines) and not lines[-1].endswith(b"\n") and lines[-1] not in good)
        if bad:
            say(f"  {self.path} is damaged: {bad} of {len(lines)} lines are left out")
        self._keep(good, lines)

    def forget(self, stage: str, step: int) -> None:
        """Forgets the lines of a stage after a step: those of the steps that will be taken again."""
        if self.path is None or not self.path.exists():
            return
        lines = self._lines()
        read = [(line, _parsed(line)) for line in lines]
        self._keep([line for line, value in read if value and (value["stage"] != stage or value["step"] <= step)], lines)

    def _lines(self) -> list[bytes]:
        assert self.path is not None
        return self.path.read_bytes().splitlines(keepends=True)

    def _keep(self, kept: list[bytes], lines: list[bytes]) -> None:
        assert self.path is not None
        if len(kept) < len(lines):

            def write(temporary: Path) -> None:
                temporary.write_bytes(b"".join(kept))

            write_atomically(self.path, write)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """What a line says; None where no run wrote it so, or not to its end."""
    try:
        value = read_json(line, "")
    except DocumentError:
        return None
    return value if line.endswith(b"\n") and _is_log_line(value) else None


def _is_log_line(value: Any) -> bool:
    """Whether this is what `RunLog.write` writes."""
    if not isinstance(value, dict) or not isinstance(value.get("stage"), str) or not isinstance(value.get("step"), int):
        return False
    return all(isinstance(value[name], dict) for name in ("objectives",) if name in value)


def _flat(values: dict[str, Any], prefix: str) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            flat[prefix + name] = float(value)
    return flat
