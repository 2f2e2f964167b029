"""Everything a stage needs to go on where it was, in one file that is complete or absent."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stillhouse.errors import CheckpointError, UserError
from stillhouse.files import checksum_of, write_atomically
from stillhouse.sealed import CHECKSUMS, damaged_beside, read_sealed

CHECKPOINT, FINAL, FINISHED = "checkpoint.pt", "final.safetensors", "finished.json"


@dataclass
class Progress:
    """How far a stage has come.

    Attributes:
        step: Optimiser steps taken.
        best_score: Best score on the selection rows so far; None before the first.
        best_step: The step it belongs to.
        seconds: Training time so far, without the time between a kill and the next start.
        examples: Examples trained on so far.
        best_checksum: Of the file that holds its state; None where there is none.
    """

    step: int = 0
    best_score: float | None = None
    best_step: int = 0
    seconds: float = 0.0
    examples: int = 0
    best_checksum: int | None = None


def save_checkpoint(
    path: Path,
    progress: Progress,
    *,
    identity: str,
    module: dict[str, Tensor],
    optimizer: dict[str, Any],
) -> None:
    """Writes a checkpoint, with the state of torch's generators, atomically.

    Args:
        path: The file.
        progress: How far the stage has come.
        identity: Fingerprint of data, configuration and start; a checkpoint of another identity is not continued.
        module: State of everything that is trained.
        optimizer: State of the optimiser.
    """
    content = {
        "identity": identity,
        "progress": asdict(progress),
        "module": module,
        "optimizer": optimizer,
        "random": _random_state(),
    }

    def write(temporary: Path) -> None:
        # Through a file of Python's, whose errors say what was wrong (no space left); those of torch's own writer don't.
        with temporary.open("wb") as handle:
            summed = _Summed(handle)
            torch.save(content, summed)  # type: ignore[arg-type]
            handle.write(summed.trailer())

    write_atomically(path, write)


class _Summed:
    """A file that is written from front to back, and the checksum of what was."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle, self._value = handle, 0

    def write(self, block: Any) -> int:
        self._value = zlib.crc32(block, self._value)
        return self._handle.write(block)

    def flush(self) -> None:
        self._handle.flush()

    def trailer(self) -> bytes:
        return _TRAILER % self._value


_TRAILER = b"%08x"  # after the checkpoint's archive, which readers find from its end


def _is_whole(path: Path) -> bool:
    """Whether a checkpoint is as it was written."""
    size = len(_TRAILER % 0)
    left, value = path.stat().st_size - size, 0
    with path.open("rb") as handle:
        while left > 0:
            block = handle.read(min(left, 2**20))
            left -= len(block)
            value = zlib.crc32(block, value)
        return left == 0 and handle.read() == _TRAILER % value


def damage_of(folder: Path) -> Path | None:
    """What of an unfinished or finished stage is not as it was written: the stage has to be made again.

    Files without a checksum, as other versions wrote them, are such.

    Args:
        folder: The stage's.
    """
    record, checkpoint = folder / FINISHED, folder / CHECKPOINT
    try:
        if record.exists():
            content = read_sealed(record)
            if not content.get(CHECKSUMS) or not (folder / FINAL).is_file():
                return record
            return damaged_beside(record, content, FINAL)
        if checkpoint.exists():
            if not _is_whole(checkpoint):
                return checkpoint
            progress = Progress(**_read(checkpoint)["progress"])
            best = folder / best_name(progress.best_step)
            if progress.best_checksum is not None and (not best.is_file() or checksum_of(best) != progress.best_checksum):
                return best
    except UserError:
        return record
    except (OSError, RuntimeError, EOFError, LookupError, TypeError, ValueError, pickle.UnpicklingError):
        return checkpoint
    return None


def best_name(step: int) -> str:
    """The file with the state of a step; weights that were written just before a kill are not the checkpoint's."""
    return f"best-{step}.safetensors"


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    return content


def load_checkpoint(path: Path, identity: str, trained: Collection[str]) -> tuple[Progress, dict[str, Any]] | None:
    """The checkpoint at `path`, or None where there is none. Nothing in it is executed (`weights_only`).

    Args:
        path: The file.
        identity: As it was given to `save_checkpoint`.
        trained: The names of all that is trained.

    Raises:
        UserError: It belongs to other data, another configuration or another start, or has other names.
    """
    if not path.exists():
        return None
    try:
        content = _read(path)
        found, progress = content["identity"], Progress(**content.pop("progress"))
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise damaged(path, error) from error
    if found != identity:
        raise foreign(f"the checkpoint {path}")
    if content["module"].keys() != {*trained}:
        raise CheckpointError(
            f"the checkpoint {path} was written by more or fewer processes, on another kind of device, or by another version",
            expected="processes, device and version as when the run was interrupted",
            fix="go on as before, or start anew with --overwrite",
        )
    return progress, content


def _random_state() -> dict[str, Tensor]:
    """State of torch's generators on CPU and, where used, on the accelerators."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda:{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_random_state(states: dict[str, Tensor]) -> None:
    """Puts torch's generators back to a state that a checkpoint holds."""
    torch.set_rng_state(states["cpu"].cpu())
    for name, state in states.items():
        if name.startswith("cuda:") and int(name.removeprefix("cuda:")) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state.cpu(), device=name)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Weights that the run wrote.

    Raises:
        UserError: The file is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise damaged(path, error) from error


def foreign(what: str) -> CheckpointError:
    """The error for what an interrupted run left and another run meets."""
    return CheckpointError(
        f"{what} belongs to other data, another teacher or another configuration than this run, or another version wrote it",
        expected="the same data, teacher and version as when the run was interrupted",
        fix="restore them, or start anew with --overwrite",
    )


def damaged(path: Path, error: Exception) -> CheckpointError:
    """The error for a file of an interrupted run that is not as the run left it."""
    reason = " ".join(str(error).split()).partition(". ")[0]  # torch's advice that follows is no advice for our users
    return CheckpointError(
        f"{path} is damaged: {reason}",
        expected="the file as the interrupted run wrote it",
        fix=f"delete {path.parent}, so that this stage starts anew; or start anew with --overwrite",
    )
