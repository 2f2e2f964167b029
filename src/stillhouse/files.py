"""Writing files so that a reader, or a run that goes on after a kill, never meets a half-written one."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import stat
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stillhouse.errors import StillhouseError, UserError, shown
from stillhouse.writers import is_writing, writer_mark

# What the folder of a run holds, and that of a comparison.
RUN_CONFIG, METRICS, LOG, PREDICTIONS, REPORT = "run.yaml", "metrics.json", "log.jsonl", "predictions.jsonl", "report.html"
STUDENT, TEACHER, CHECKPOINTS, TRACKERS = "student", "teacher", "checkpoints", "trackers"
ASSISTANT, GENERAL, GENERAL_ASSISTANT = "assistant", "general", "general_assistant"
MASKED_LM_TEACHER = "masked_lm_teacher"
COMPARE_CONFIG, COMPARISON, COMPARISON_TABLE, INPUTS = "compare.yaml", "comparison.json", "comparison.md", "inputs.json"
COMPARED_RUNS, SHARED_TEACHERS = "rows", "teachers"

LEFTOVERS = ".*.tmp"  # the names of temporary files and folders, which a killed process leaves behind
_LEFTOVER = r"\..*\.(\d+(?:-[0-9a-f]+){0,2}?)(?:-[0-9a-f]+)?\.tmp"  # with the mark of the writer
STALE_SECONDS = 3600.0  # age at which writers of whom nothing is known are long gone


@contextmanager
def explained(path: Path, place: str = "--out") -> Iterator[None]:
    """Turns what the system refuses at `path` (no space, no permission, ...) into one clear message.

    Args:
        path: What is written.
        place: The option, or whatever else it is, that says where.
    """
    try:
        yield
    except StillhouseError:
        raise
    except Exception as error:  # torch and the writers in Rust raise errors of their own kinds
        number = _error_number(error)
        if number is None:
            raise
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(
                f"no space left while writing {path}",
                expected="room for the run folder" if place == "--out" else "room for it",
                fix=f"free some, or choose another {place}",
            ) from error
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(
                f"no permission to write {path}", expected="a folder that can be written", fix=f"choose another {place}"
            ) from error
        if number in (errno.ENOTDIR, errno.EEXIST):
            raise UserError(
                f"{path} is in the way: a file stands where a folder is needed", fix=f"choose another {place}"
            ) from error
        raise UserError(
            f"{path} cannot be written: {os.strerror(number)}",
            expected="a place that can be written",
            fix=f"choose another {place}",
        ) from error


def _error_number(error: BaseException) -> int | None:
    """The system's number of an error: torch hides it in the context of its own error, writers in Rust in the text."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.errno
        if found := re.search(r"\(os error (\d+)\)", str(cause)):
            return int(found[1])
        cause = cause.__cause__ or cause.__context__
    return None


def given_path(given: str | Path, what: str) -> Path:
    """The path that somebody gave, with `~` as their home; what is there, if anything, is a file or a folder.

    Args:
        given: As it was given; not blank.
        what: What it was given as, for messages: `--data`.

    Raises:
        UserError: No file can be there, the system does not say what is there, or it is a pipe, a device or a socket.
    """
    text = os.fspath(given)
    fault, fix = "", "check the path"
    try:
        text.encode()
        path = Path(text).expanduser()
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            fault, fix = "is no ordinary file", "write what it gives to a file first"
    except (FileNotFoundError, NotADirectoryError):
        pass
    except UnicodeEncodeError:
        fault, fix = "is not UTF-8, which records are written in", "rename the file, or link to it under another name"
    except RuntimeError:
        fault, fix = "begins with an unknown user", f"give its full path, or {shown(f'./{text}')} if it begins so"
    except ValueError:
        fault = "can be no path: it holds a NUL character"
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
    if fault:
        raise UserError(f"{what} {shown(text)} {fault}", expected="a file or a folder", fix=fix)
    return path


def free_space(path: Path) -> float:
    """Bytes that are free where `path` is or will be; infinite on a file system that is no disk and says 0 of 0."""
    place = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
    disk = shutil.disk_usage(place)
    return disk.free if disk.total else math.inf


def out_path(given: str | Path) -> Path:
    """The path given as `--out`.

    Raises:
        UserError: It is blank, as a variable of the shell that is not set; or see `given_path`.
    """
    if not os.fspath(given).strip():
        raise UserError("--out is empty", expected="a path", fix="name one, or leave --out out")
    return given_path(given, "--out")


def require_writable(given: Path, inputs: Iterable[str | None] = ()) -> Path:
    """The path of a file that is to be written, before the work whose result goes there.

    Args:
        given: As it was given.
        inputs: What the work reads, as it was given: a file or folder, or a name from elsewhere.

    Raises:
        UserError: It cannot be written, or is one of the inputs or in one of them.
    """
    path = out_path(given)
    if path.is_file() and any(_is_part(path, given_path(name, "the input")) for name in inputs if name):
        raise UserError(f"--out {path} would be written over what is read", expected="a new file", fix="choose another --out")
    if path.is_dir():
        raise UserError(f"{path} is a folder", expected="a file to write", fix="name a file in it")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = temporary_beside(path)
        probe.touch()
        probe.unlink()
    return path


def _is_part(file: Path, read: Path) -> bool:
    """Whether a file is one that is read, or in a folder that is; beside a run's own files people may keep others."""
    if read.is_file():
        return read.samefile(file)
    own = (RUN_CONFIG, METRICS, PREDICTIONS, LOG, REPORT)
    inside, real = read.resolve(), file.resolve()
    return inside in real.parents and not ((read / RUN_CONFIG).exists() and real.parent == inside and real.name not in own)


def is_leftover(path: Path) -> bool:
    """Whether a temporary file or folder is one of ours, by its name and owner."""
    return re.fullmatch(_LEFTOVER, path.name) is not None and is_ours(path)


def temporary_beside(path: Path) -> Path:
    """A name of its own for what is not finished, one of `LEFTOVERS`."""
    return path.with_name(f".{path.name}.{writer_mark()}-{uuid.uuid4().hex[:8]}.tmp")


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary file beside `path`, then moves it into place; nothing is left behind on failure."""
    path = path.resolve() if path.is_symlink() else path  # what the link points to is written, not the link
    temporary = temporary_beside(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes a renaming last through a power cut, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def user_id() -> int | None:
    """Whose files this process makes; None where the system does not say (Windows)."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def not_ours(path: Path) -> str:
    """Why what is at a place in a cache, which others may write, is left alone: it is a link, or somebody else's; else "".

    Raises:
        OSError: Nothing is there.
    """
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return f"{path} is a link"
    if user_id() not in (None, found.st_uid):
        return f"{path} belongs to another user"
    return ""


def is_ours(path: Path) -> bool:
    """Whether a file or folder in a cache is there, no link, and this user's."""
    with suppress(OSError):
        return not not_ours(path)
    return False


def sweep(folder: Path) -> None:
    """Deletes what writers of ours have left behind: at once where they are known to be gone, else when they must be."""
    for leftover in filter(is_leftover, folder.glob(LEFTOVERS)):
        with suppress(OSError):  # another process may be sweeping
            if _is_given_up(leftover):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _is_given_up(leftover: Path) -> bool:
    found = re.fullmatch(_LEFTOVER, leftover.name)
    assert found is not None
    is_written = is_writing(found[1])
    return time.time() - leftover.stat().st_mtime > STALE_SECONDS if is_written is None else not is_written


def write_text(path: Path, text: str) -> None:
    """Writes text atomically, UTF-8."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically, indented; NaN is refused rather than written."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_folder(path: Path, write: Callable[[Path], None], *, place: str = "--out", replaces: bool = True) -> None:
    """Lets `write` fill a temporary folder beside `path`, then moves it into place.

    Args:
        path: Of the folder.
        write: Fills a folder; nothing of it is left behind on failure.
        place: What says where it is written, for messages.
        replaces: Whether an older folder there is replaced; else it stays, for the same has been written into it meanwhile.
    """
    temporary = temporary_beside(path)
    with explained(path, place):
        temporary.mkdir(parents=True)
        try:
            write(temporary)
            for file in temporary.rglob("*"):
                if file.is_file():
                    with file.open("rb") as handle:
                        os.fsync(handle.fileno())
            if path.exists() and not replaces:
                return
            if path.exists():
                shutil.rmtree(path)
            try:
                os.replace(temporary, path)
            except OSError:
                if replaces or not path.is_dir():
                    raise
                return  # another process was faster by a moment
            _sync_folder(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def checksum_of(path: Path) -> int:
    """CRC-32 of a file: fast beside writing and reading it, and other for every flipped bit."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            value = zlib.crc32(block, value)
    return value


def cache_folder(kind: str) -> Path:
    """The folder for one kind of kept thing: below `STILLHOUSE_CACHE`, else the user's cache folder. Not created here."""
    root = os.environ.get("STILLHOUSE_CACHE")
    if root:
        return given_path(root, "STILLHOUSE_CACHE") / kind
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stillhouse" / kind
