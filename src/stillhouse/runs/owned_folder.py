"""A folder that Stillhouse made: whose it is, who is working in it, and what of it may be deleted."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol

from stillhouse.errors import UserError, listed, shown
from stillhouse.files import LEFTOVERS, explained, given_path, is_leftover, write_text
from stillhouse.runs.reading import read_config, spelled_out
from stillhouse.sealed import damaged_beside, damaged_file, read_sealed, write_sealed

# Settings of the teacher that change neither what is learnt nor by which precision.
KEEPING = ("teacher.allow_weak", "teacher.store", "teacher.store_limit_gib")
OWNED_MARK = "# Written by Stillhouse, which may delete this folder when it is told to overwrite it."


class WholeConfig(Protocol):
    """What decides the content of such a folder, written into it first."""

    @property
    def inputs(self) -> Sequence[str]:
        """Files, folders and names that it is made from."""
        ...

    def to_yaml(self) -> str: ...

    def model_dump(self, *, mode: str) -> dict[str, Any]: ...


class OwnedFolder:
    """A folder that holds one piece of work, unfinished or finished.

    Args:
        path: The folder.
    """

    noun: ClassVar[str]  # what it holds: a run
    config_name: ClassVar[str]
    result_name: ClassVar[str]  # the last thing that is written of what cannot be made again
    # All that is ever written into it, the configuration last: whoever is killed while these are deleted leaves a folder
    # that may be overwritten.
    own: ClassVar[tuple[str, ...]]
    # Settings that decide nothing about the result.
    free: ClassVar[tuple[str, ...]] = ()
    # Settings that are open until data, models and machine have been seen, and what they are until then.
    unresolved: ClassVar[dict[str, str | None]] = {}

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: BinaryIO | None = None

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def result(self) -> dict[str, Any]:
        """The record that a finished one leaves.

        Raises:
            UserError: It is missing or damaged.
        """
        return read_sealed(self / self.result_name, expected=f"the folder of a finished {self.noun}", fix=self._anew)

    def write_result(self, content: Mapping[str, Any], parts: Sequence[str]) -> None:
        """Writes the record.

        Args:
            content: What it says.
            parts: Files, and folders of files, that belong to it and are checked when they are read; but no model cards,
                which people may go on writing.
        """
        files = [path for name in parts for path in (self / name, *(self / name).rglob("*"))]
        write_sealed(self / self.result_name, content, [path for path in files if path.is_file() and path.suffix != ".md"])

    def check_part(self, name: str) -> None:
        """Refuses a file, or a folder of files, that is not as the finished work left it.

        Raises:
            UserError: It is damaged, or the record is.
        """
        if (path := damaged_beside(self / self.result_name, self.result(), name)) is not None:
            fix = f"{self._anew}; a folder that was changed on purpose can be used under another path"
            raise damaged_file(path, "its checksum does not agree" if path.is_file() else "it is missing", fix)

    @property
    def _anew(self) -> str:
        return f"give the {self.noun}'s command again, with --overwrite where it counts as finished"

    def check(self, config: WholeConfig, *, overwrite: bool) -> None:
        """Checks, writing nothing, that the folder is new, or holds the same work, or may be overwritten.

        Raises:
            UserError: The folder belongs to other work, or holds something else.
        """
        with explained(self.path):
            if (self / self.config_name).exists():
                if overwrite:
                    self._check_ours()
                    self._check_nothing_else()
                    self._check_inputs(config)
                else:
                    self._check_same(config)
            elif self.path.exists() and not self.path.is_dir():
                raise UserError(f"{self.path} is a file", expected="a new folder", fix="choose another --out")
            elif self.path.exists() and set(self.path.iterdir()) - set(self.path.glob(LEFTOVERS)):
                raise UserError(
                    f"{self.path} is not a {self.noun} folder and is not empty",
                    expected=f"a new folder, or the folder of the same {self.noun}",
                    fix="choose another --out",
                )

    def create(self, config: WholeConfig, *, overwrite: bool) -> None:
        """Makes the folder with its configuration, emptied on `overwrite`, without what a killed process left half-written.

        Until `release`, or the end of the process, no other process can do the same.

        Raises:
            UserError: Another process is working in it, or it cannot be written; a folder that was not there before is
                gone again.
        """
        self._claim()
        self.release()  # the lock is on the configuration, which is about to be replaced
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        with explained(self.path):
            if overwrite and (self / self.config_name).exists():
                for name in self.own:
                    _remove(self / name)
            for leftover in list(self.path.rglob(LEFTOVERS)):
                if is_leftover(leftover):
                    _remove(leftover)
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                write_text(self / self.config_name, f"{OWNED_MARK}\n{config.to_yaml()}")
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
        """Locks the configuration, where there is one and the system can; a lock ends with its process, however that ends."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            handle = (self / self.config_name).open("rb")
        except OSError:
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            raise UserError(
                f"another process is working in {self.path}",
                expected=f"one {self.noun} at a time in a folder",
                fix="wait until it is finished, or choose another --out",
            ) from None
        except OSError:  # a file system without locks
            handle.close()
            return
        self._lock = handle

    def _check_ours(self) -> None:
        """Overwriting deletes what we wrote; a project may have a file of that name, too."""
        if not (self / self.config_name).read_text(encoding="utf-8", errors="replace").startswith(OWNED_MARK):
            raise UserError(
                f"{self / self.config_name} was not written by a {self.noun}: --overwrite deletes nothing here",
                expected=f"the folder of a {self.noun}",
                fix="choose another --out",
            )

    def _check_nothing_else(self) -> None:
        """Nor must it meet anything else."""
        foreign = {entry.name for entry in self.path.iterdir()} - {*self.own}
        foreign -= {entry.name for entry in self.path.glob(LEFTOVERS)}
        if foreign:
            raise UserError(
                f"{self.path} holds more than a {self.noun}: {listed(sorted(foreign), most=5)}",
                expected=f"a {self.noun} folder, which --overwrite may delete",
                fix="choose another --out, or move those files away",
            )

    def _check_inputs(self, config: WholeConfig) -> None:
        """Overwriting must not delete what the new work is made from, such as the teacher of the run that is there."""
        for source in config.inputs:
            path = given_path(source, "the input")
            if source and path.exists() and path.resolve().is_relative_to(self.path.resolve()):
                raise UserError(
                    f"--overwrite would delete {source}, which this {self.noun} needs, in {self.path}",
                    expected="data, teacher and student from elsewhere",
                    fix="choose another --out, or copy it to another place",
                )

    def _check_same(self, config: WholeConfig) -> None:
        before = spelled_out(read_config(self / self.config_name))
        changes = self._differences(before, config.model_dump(mode="json"))
        if changes:
            raise UserError(
                f"{self.path} is the folder of another {self.noun}: {'; '.join(changes[:3])}",
                expected=f"the same configuration as the {self.noun} that is there",
                fix=f"choose another --out, or --overwrite to delete that {self.noun}",
            )

    def _differences(self, before: Any, now: Any, name: str = "") -> list[str]:
        """Where a configuration differs from a resolved one; what is still open now differs not."""
        if name in self.free or (name in self.unresolved and now == self.unresolved[name]):
            return []
        if isinstance(before, dict) and isinstance(now, dict) and (before or now):
            changes = []
            for key in sorted(before.keys() | now.keys(), key=lambda key: (key != "name", key)):  # a method's name says most
                changes += self._differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
            return changes
        if before == now or _is_same_place(before, now):
            return []
        if before is None or now is None:  # such as a whole method
            return [f"{name} is {_short(before)} there, {_short(now)} here"]
        return [f"{name} is {shown(before)} there, {shown(now)} here"]


def _is_same_place(before: Any, now: Any) -> bool:
    """Whether two texts are ways to one file or folder, such as a relative and an absolute one."""
    if not (isinstance(before, str) and isinstance(now, str)):
        return False
    try:
        return Path(before).samefile(now)
    except (OSError, ValueError):  # one of them is no path
        return False


def _short(value: Any) -> str:
    return "given" if isinstance(value, dict) else shown(value)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
