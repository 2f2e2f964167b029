"""The run folder: whose it is, whether its run is finished, and what is in it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from stillhouse.errors import UserError
from stillhouse.files import explained, write_text
from stillhouse.run_config import RunConfig

CONFIG = "run.yaml"
METRICS = "metrics.json"
LOG = "log.jsonl"
PREDICTIONS = "predictions.jsonl"
REPORT = "report.html"
STUDENT = "student"
TEACHER = "teacher"
CHECKPOINTS = "checkpoints"


class RunFolder:
    """A folder that holds one run, unfinished or finished.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def is_finished(self) -> bool:
        return (self / METRICS).exists() and (self / REPORT).exists()

    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds."""
        content: dict[str, Any] = json.loads((self / METRICS).read_text(encoding="utf-8"))
        return content

    def check(self, config: RunConfig, *, overwrite: bool) -> None:
        """Checks, writing nothing, that the folder is new, or holds the same run, or may be overwritten.

        Raises:
            UserError: The folder belongs to another run, or holds something else.
        """
        with explained(self.path):
            if (self / CONFIG).exists():
                if not overwrite:
                    self._check_same_run(config)
            elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise UserError(
                    f"{self.path} is not a run folder and is not empty",
                    expected="a new folder, or the folder of the same run",
                    fix="choose another --out",
                )

    def create(self, *, overwrite: bool) -> None:
        """Makes the folder, emptied on `overwrite`, and removes what a killed process left half-written.

        Raises:
            UserError: It cannot be written.
        """
        with explained(self.path):
            if overwrite and (self / CONFIG).exists():
                shutil.rmtree(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self / f".probe.{os.getpid()}.tmp"
            probe.write_bytes(b"x")
            probe.unlink()
            for leftover in self.path.rglob(".*.tmp"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()

    def save_config(self, config: RunConfig) -> None:
        write_text(self / CONFIG, config.to_yaml())

    def forget_checkpoints(self) -> None:
        shutil.rmtree(self / CHECKPOINTS, ignore_errors=True)

    def _check_same_run(self, config: RunConfig) -> None:
        before = yaml.safe_load((self / CONFIG).read_text(encoding="utf-8"))
        changes = list(_differences(before, config.model_dump(mode="json")))
        if changes:
            raise UserError(
                f"{self.path} is the folder of another run: {'; '.join(changes[:3])}",
                expected="the same configuration as the run that is there",
                fix="choose another --out, or --overwrite to delete that run",
            )


# Settings that decide nothing about the result: a run goes on whatever they were.
_FREE = ("engine.log_every", "engine.checkpoint_seconds", "engine.trackers", "teacher.allow_weak", "out")


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Where a configuration differs from a resolved one; what is None now was left to be resolved, and differs not."""
    if now is None or name in _FREE:
        return []
    if isinstance(before, dict) and isinstance(now, dict) and (before or now):
        changes = []
        for key in sorted(before.keys() | now.keys()):
            changes += _differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
        return changes
    return [] if before == now else [f"{name} is {before!r} there, {now!r} here"]
