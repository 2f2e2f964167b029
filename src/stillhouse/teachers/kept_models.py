"""Fitted teachers and general students, kept by content so that no run trains the same one twice."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file

from stillhouse.errors import UserError
from stillhouse.files import cache_folder, is_ours, not_ours, sweep, write_folder
from stillhouse.models.model_folder import WEIGHTS

CHECKSUM = f"{WEIGHTS}.sha256"


def _is_kept(kept: Path) -> bool:
    """Whether a model of ours is there: others may write the cache, and what they put there is neither read nor deleted."""
    return all(map(is_ours, (kept, kept / WEIGHTS, kept / CHECKSUM)))


def find_kept(kept: Path, say: Callable[[str], None]) -> bool:
    """Whether a model is kept in a folder, and its weights are whole; a damaged one is deleted."""
    if not _is_kept(kept):
        if os.path.lexists(kept):
            say(f"  what is kept in {kept} is not used: {_why_not(kept)}")
        return False
    try:
        if is_damaged(kept):
            say(f"  the model that is kept in {kept} is damaged: it is deleted, and made again")
            shutil.rmtree(kept, ignore_errors=True)
            return False
    except OSError:  # not its content: it may be readable another time
        return False
    with suppress(OSError):
        os.utime(kept)  # when it was last used
    return True


def fits_kept(kept: Path, encoder: Any, say: Callable[[str], None]) -> bool:
    """Whether weights are kept in a folder that are whole, and those of such an encoder."""
    if not find_kept(kept, say):
        return False
    try:
        with safe_open(kept / WEIGHTS, framework="pt") as tensors:
            names = set(tensors.keys())
    except OSError:
        return False
    own = encoder.state_dict()
    given = {tensor.data_ptr() for name, tensor in own.items() if name in names}
    # Of tied weights one alone is written.
    return not names - own.keys() and all(own[name].data_ptr() in given for name in own.keys() - names)


def load_kept(kept: Path, encoder: Any) -> None:
    """Gives an encoder the weights that are kept in a folder, and that fit."""
    encoder.load_state_dict(load_file(kept / WEIGHTS), strict=False)


def _why_not(kept: Path) -> str:
    for path in (kept, kept / WEIGHTS, kept / CHECKSUM):
        if not os.path.lexists(path):
            return f"it has no {path.name}"
        if reason := not_ours(path):
            return reason
    return "it is not whole"


def teachers_root() -> Path:
    """Where fitted teachers are kept."""
    return cache_folder("teachers")


def students_root() -> Path:
    """Where students are kept that have learnt from a corpus."""
    return cache_folder("students")


def models_in(root: Path) -> list[Path]:
    """The folders of the models that are kept in a folder."""
    return [weights.parent for weights in sorted(root.glob(f"*/{WEIGHTS}")) if _is_kept(weights.parent)]


def is_damaged(kept: Path) -> bool:
    """Whether a model's weights are other than they were written.

    Raises:
        OSError: They cannot be read.
    """
    return _digest(kept / WEIGHTS).encode() != (kept / CHECKSUM).read_bytes()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksum(folder: Path) -> None:
    """Writes beside a model's weights what they are known by to be whole."""
    (folder / CHECKSUM).write_text(_digest(folder / WEIGHTS), encoding="utf-8")


def keep(kept: Path, folder: Path) -> bool:
    """Copies a model to where it is kept; a place that cannot be written costs only the next run's time."""

    def copy(path: Path) -> None:
        shutil.copytree(folder, path, dirs_exist_ok=True)
        write_checksum(path)

    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        sweep(kept.parent)
        is_rest = is_ours(kept) and is_ours(kept / CHECKSUM) and not _is_kept(kept)
        if is_rest or not os.path.lexists(kept):  # another run may have been faster; what is not ours stays
            write_folder(kept, copy)
    except (OSError, UserError):
        return False
    return True
