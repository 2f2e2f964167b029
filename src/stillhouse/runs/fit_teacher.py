"""Fine-tuning a teacher that has no head for the task, or taking the one that was fitted on the same things before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stillhouse.config import StageConfig
from stillhouse.data.batch import TokenizedSplit
from stillhouse.errors import UserError
from stillhouse.files import write_folder
from stillhouse.method import Stage
from stillhouse.models.digest import weights_digest
from stillhouse.models.saving import save_model
from stillhouse.objectives.hard_labels import HardLabels
from stillhouse.teachers.kept_models import keep, load_kept, teachers_root
from stillhouse.training.stages import Workshop, run_stages
from stillhouse.training.trainer import StageResult

# Raised when a change of the loop changes what a fitted teacher looks like: older ones are then fitted again.
RECIPE = 4


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
    stage = Stage("teacher", (HardLabels(),), config)
    parts = [RECIPE, weights_digest(encoder), labelled.fingerprint(), selection, config.model_dump(), seed]
    parts += [str(workshop.accelerator.mixed_precision), labelled.student.pad_token_id]
    name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    places = [place / name for place in (teachers_root(), shared) if place is not None]
    result = None
    # A run that was interrupted after its own fit goes on with that one, and reports it.
    fitted_here = (workshop.checkpoints / stage.name / "finished.json").exists()
    if not fitted_here and any(load_kept(kept, encoder, workshop.say) for kept in places):
        encoder.eval()
    else:
        (result,) = run_stages((stage,), encoder, labelled, score, workshop, selection=selection, seed=seed)
    before_saving()
    if workshop.accelerator.is_main_process:
        # Always anew: a folder of an earlier start may hold a teacher that was fitted on other data.
        write_folder(folder, lambda path: save_model(encoder, tokenizer, path))
        if result is not None:
            any(keep(kept, folder) for kept in places)
    return result
