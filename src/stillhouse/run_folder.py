"""The run folder: whose it is, whether its run is finished, and what is in it."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any, BinaryIO

from stillhouse.errors import UserError
from stillhouse.files import LEFTOVERS, explained, write_text
from stillhouse.run_config import RunConfig, read_config

CONFIG = "run.yaml"
METRICS = "metrics.json"
LOG = "log.jsonl"
PREDICTIONS = "predictions.jsonl"
REPORT = "report.html"
STUDENT = "student"
TEACHER = "teacher"
CHECKPOINTS = "checkpoints"
TRACKERS = "trackers"
# All that a run writes. run.yaml last: a run that is killed while it deletes these still has a folder that it may overwrite.
OWN = (METRICS, LOG, PREDICTIONS, REPORT, STUDENT, TEACHER, CHECKPOINTS, TRACKERS, CONFIG)


class RunFolder:
    """A folder that holds one run, unfinished or finished.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: BinaryIO | None = None

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def is_finished(self) -> bool:
        """Whether metrics.json is there, the last thing that needs the run; the report can be written again at any time."""
        return (self / METRICS).exists()

    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds.

        Raises:
            UserError: It is missing or damaged.
        """
        try:
            content: dict[str, Any] = json.loads((self / METRICS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self / METRICS} cannot be read: {error}",
                expected="the folder of a finished run",
                fix="give the run's command again, with --overwrite where it counts as finished",
            ) from error
        return content

    def check(self, config: RunConfig, *, overwrite: bool) -> None:
        """Checks, writing nothing, that the folder is new, or holds the same run, or may be overwritten.

        Raises:
            UserError: The folder belongs to another run, or holds something else.
        """
        with explained(self.path):
            if (self / CONFIG).exists():
                if overwrite:
                    self._check_nothing_else()
                    self._check_inputs(config)
                else:
                    self._check_same_run(config)
            elif self.path.exists() and not self.path.is_dir():
                raise UserError(f"{self.path} is a file", expected="a new folder", fix="choose another --out")
            elif self.path.exists() and set(self.path.iterdir()) - set(self.path.glob(LEFTOVERS)):
                raise UserError(
                    f"{self.path} is not a run folder and is not empty",
                    expected="a new folder, or the folder of the same run",
                    fix="choose another --out",
                )

    def create(self, config: RunConfig, *, overwrite: bool) -> None:
        """Makes the folder with its run.yaml, emptied on `overwrite`, without what a killed process left half-written.

        Until `release`, or the end of the process, no other process can do the same.

        Raises:
            UserError: Another process is working in it, or it cannot be written; a folder that was not there before is
                gone again.
        """
        self._claim()
        self.release()  # the lock is on run.yaml, which is about to be replaced
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        with explained(self.path):
            if overwrite and (self / CONFIG).exists():
                for name in OWN:
                    _remove(self / name)
            for leftover in list(self.path.rglob(LEFTOVERS)):
                _remove(leftover)
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                write_text(self / CONFIG, config.to_yaml())
            except (OSError, UserError):
                for folder in made:
                    with contextlib.suppress(OSError):
                        folder.rmdir()
                raise
        self._claim()

    def release(self) -> None:
        """Lets other processes work in the folder again."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _claim(self) -> None:
        """Locks run.yaml, where there is one and the system can; the lock of a process ends with it, however it ends."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            handle = (self / CONFIG).open("rb")
        except OSError:
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            raise UserError(
                f"another process is working in {self.path}",
                expected="one run at a time in a folder",
                fix="wait until it is finished, or choose another --out",
            ) from None
        except OSError:  # a file system without locks
            handle.close()
            return
        self._lock = handle

    def require_space(self, needed: int) -> None:
        """Refuses a disk too full for `needed` bytes; what the run has written already counts as room.

        Raises:
            UserError: There is less room.
        """
        with explained(self.path):
            place = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.is_dir())
            written = sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
            disk = shutil.disk_usage(place)
            free = disk.free + written
        if disk.total and free < needed:  # file systems that are no disk say 0 of 0
            raise UserError(
                f"no space left for {self.path}: {free // 2**20:,} MiB are free",
                expected=f"about {-(-needed // 2**20):,} MiB for weights and checkpoints",
                fix="free some, or choose another --out",
            )

    def forget_checkpoints(self) -> None:
        shutil.rmtree(self / CHECKPOINTS, ignore_errors=True)

    def _check_nothing_else(self) -> None:
        """Overwriting deletes what a run writes, and must not meet anything else: a project may have a run.yaml, too."""
        foreign = {entry.name for entry in self.path.iterdir()} - {*OWN} - {entry.name for entry in self.path.glob(LEFTOVERS)}
        if foreign:
            raise UserError(
                f"{self.path} holds more than a run: {', '.join(sorted(foreign)[:5])}",
                expected="a run folder, which --overwrite may delete",
                fix="choose another --out, or move those files away",
            )

    def _check_inputs(self, config: RunConfig) -> None:
        """Overwriting must not delete what the new run is made from, such as the teacher of the run that is there."""
        given = (config.data.source, *config.data.transfer, config.teacher.source, config.student.shape or "")
        for source in given:
            path = Path(source).expanduser()
            if source and path.exists() and path.resolve().is_relative_to(self.path.resolve()):
                raise UserError(
                    f"--overwrite would delete {source}, which this run needs, in {self.path}",
                    expected="data, teacher and student from elsewhere",
                    fix="choose another --out, or copy it to another place",
                )

    def _check_same_run(self, config: RunConfig) -> None:
        before = read_config(self / CONFIG)
        changes = list(_differences(before, config.model_dump(mode="json")))
        if changes:
            raise UserError(
                f"{self.path} is the folder of another run: {'; '.join(changes[:3])}",
                expected="the same configuration as the run that is there",
                fix="choose another --out, or --overwrite to delete that run",
            )


# Settings that decide nothing about the result: a run goes on whatever they were.
_FREE = ("engine.log_every", "engine.checkpoint_seconds", "engine.trackers", "teacher.allow_weak", "out")
# Settings that are open until data, models and machine have been seen, and what they are until then.
_OPEN: dict[str, str | None] = {"engine.precision": "auto"}
_OPEN |= {"data.max_length": None, "data.task": None, "data.text": None, "data.text_pair": None, "data.label": None}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Where a configuration differs from a resolved one; what is still open now differs not."""
    if name in _FREE or (name in _OPEN and now == _OPEN[name]):
        return []
    if isinstance(before, dict) and isinstance(now, dict) and (before or now):
        changes = []
        for key in sorted(before.keys() | now.keys()):
            changes += _differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
        return changes
    return [] if before == now else [f"{name} is {before!r} there, {now!r} here"]
