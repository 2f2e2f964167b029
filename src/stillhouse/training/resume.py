"""Everything a stage needs to go on where it was, in one file that is complete or absent."""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stillhouse.errors import CheckpointError
from stillhouse.files import write_atomically


@dataclass
class Progress:
    """How far a stage has come.

    Attributes:
        step: Optimiser steps taken.
        best_score: Best score on the selection rows so far; None before the first.
        best_step: The step it belongs to.
        seconds: Training time so far, without the time between a kill and the next start.
        examples: Examples trained on so far.
        log_bytes: Length of the log when this was written; what comes after it is written again.
    """

    step: int = 0
    best_score: float | None = None
    best_step: int = 0
    seconds: float = 0.0
    examples: int = 0
    log_bytes: int = 0


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
            torch.save(content, handle)

    write_atomically(path, write)


def load_checkpoint(path: Path, identity: str) -> tuple[Progress, dict[str, Any]] | None:
    """The checkpoint at `path`, or None where there is none. Nothing in it is executed (`weights_only`).

    Raises:
        UserError: It belongs to other data, another configuration or another start; or it is damaged.
    """
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        found, progress = content["identity"], Progress(**content.pop("progress"))
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise damaged(path, error) from error
    if found != identity:
        raise foreign(f"the checkpoint {path}")
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
