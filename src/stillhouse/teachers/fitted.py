"""Fine-tuning a teacher that has no head for the task; fitted teachers are kept by content and used again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from stillhouse.cache import cache_folder
from stillhouse.config import StageConfig
from stillhouse.data.batch import TokenizedSplit
from stillhouse.errors import UserError
from stillhouse.files import sweep, write_folder
from stillhouse.method import Stage
from stillhouse.models.quiet import quiet_transformers
from stillhouse.objectives.hard_labels import HardLabels
from stillhouse.training.stages import Workshop, run_stages, weights_digest
from stillhouse.training.trainer import StageResult

# Raised when a change of the loop changes what a fitted teacher looks like: older ones are then fitted again.
RECIPE = 4
WEIGHTS, CHECKSUM = "model.safetensors", "model.safetensors.sha256"


def fit_teacher(
    encoder: Any,
    tokenizer: Any,
    split: TokenizedSplit,
    score: Callable[[], float],
    workshop: Workshop,
    config: StageConfig,
    *,
    seed: int,
    selection: str,
    folder: Path,
    shared: Path | None = None,
    before_saving: Callable[[], None] = lambda: None,
) -> StageResult | None:
    """Fine-tunes `encoder` in place on gold labels, or takes the one that was fitted on the same things before.

    Args:
        encoder: The pretrained encoder with a fresh head.
        tokenizer: Kept beside it.
        split: Training rows; those without a gold label are left out.
        score: Score of the encoder on the selection rows.
        workshop: Engine, log and checkpoints.
        config: The stage.
        seed: The teacher's seed.
        selection: Fingerprint of the rows on which the checkpoint is chosen.
        folder: Where the fitted teacher is saved.
        shared: Where it is kept if the user's cache cannot be written: a folder of the caller's own.
        before_saving: Called when the encoder has its final weights.

    Returns:
        What was trained, or None where a kept teacher was used.
    """
    labelled = split.labelled()
    if len(labelled) == 0:
        raise UserError(
            "the teacher has no head for this task and no training row has a label",
            expected="a teacher that was fine-tuned for the task, or labels to fine-tune it",
            fix="give --teacher a model with a head, or data with labels",
        )
    kind = split.task.kind
    stage = Stage("teacher", (HardLabels(kind=kind),), config)
    parts = [RECIPE, weights_digest(encoder), labelled.fingerprint(), selection, config.model_dump(), seed]
    parts += [str(workshop.accelerator.mixed_precision), labelled.student.pad_token_id]
    name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    places = [place / name for place in (teachers_root(), shared) if place is not None]
    result = None
    # A run that was interrupted after its own fit goes on with that one, and reports it.
    fitted_here = (workshop.checkpoints / stage.name / "finished.json").exists()
    if not fitted_here and any(_load_kept(kept, encoder, workshop.say) for kept in places):
        encoder.eval()
    else:
        (result,) = run_stages((stage,), encoder, labelled, score, workshop, selection=selection, seed=seed)
    before_saving()
    if workshop.accelerator.is_main_process:
        # Always anew: a folder of an earlier start may hold a teacher that was fitted on other data.
        write_folder(folder, lambda path: save_model(encoder, tokenizer, path))
        if result is not None:
            any(_keep(kept, folder) for kept in places)
    return result


def save_model(encoder: Any, tokenizer: Any, folder: Path) -> None:
    """A Hugging Face folder: safetensors, configuration and tokenizer."""
    with quiet_transformers():
        encoder.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    # Weights come out readable by their owner alone, unlike the files beside them.
    for weights in folder.glob("*.safetensors"):
        weights.chmod((folder / "config.json").stat().st_mode)


def _is_kept(kept: Path) -> bool:
    return (kept / WEIGHTS).exists() and (kept / CHECKSUM).exists()


def _load_kept(kept: Path, encoder: Any, say: Callable[[str], None]) -> bool:
    if not _is_kept(kept):
        return False
    try:
        if is_damaged(kept):
            say(f"  the kept teacher in {kept} is damaged: it is deleted, and fitted again")
            shutil.rmtree(kept, ignore_errors=True)
            return False
        state = load_file(kept / WEIGHTS)
    except OSError:  # not its content: it may be readable another time
        return False
    if state.keys() != encoder.state_dict().keys():
        return False
    encoder.load_state_dict(state)
    with suppress(OSError):
        os.utime(kept)  # when it was last used
    return True


def teachers_root() -> Path:
    """Where fitted teachers are kept."""
    return cache_folder("teachers")


def fitted_teachers() -> list[Path]:
    """The folders of those that are kept."""
    return [weights.parent for weights in sorted(teachers_root().glob(f"*/{WEIGHTS}")) if _is_kept(weights.parent)]


def is_damaged(kept: Path) -> bool:
    """Whether a teacher's weights are other than they were written.

    Raises:
        OSError: They cannot be read.
    """
    return _digest(kept / WEIGHTS).encode() != (kept / CHECKSUM).read_bytes()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _keep(kept: Path, folder: Path) -> bool:
    """Copies a fitted teacher to where it is kept; a place that cannot be written costs only the next run's time."""

    def copy(path: Path) -> None:
        shutil.copytree(folder, path, dirs_exist_ok=True)
        (path / CHECKSUM).write_text(_digest(path / WEIGHTS), encoding="utf-8")

    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        sweep(kept.parent)
        if not _is_kept(kept):  # another run may have been faster
            write_folder(kept, copy)
    except (OSError, UserError):
        return False
    return True
