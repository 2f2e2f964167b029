"""One stage of training, from a model and its text to the trained model; a finished one is never run again."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from stillhouse.config import EngineConfig, TeacherConfig
from stillhouse.console import Console
from stillhouse.data.seeds import FRESH_BESIDE, stage_seed
from stillhouse.data.text import Text
from stillhouse.errors import NotFinite
from stillhouse.files import write_atomically
from stillhouse.method import Stage
from stillhouse.models.digest import weights_digest
from stillhouse.sealed import read_sealed, write_sealed
from stillhouse.teachers.source import Source, build_teacher
from stillhouse.training.log import RunLog
from stillhouse.training.optimizer import let_rest
from stillhouse.training.resume import CHECKPOINT, FINAL, FINISHED, damage_of, foreign, read_weights
from stillhouse.training.trainer import StageResult, Trainer, contiguous, stage_steps, steps_an_epoch


@dataclass(frozen=True)
class TrainingContext:
    """What all stages of a run share.

    Attributes:
        accelerator: The engine.
        engine: Logging and checkpoint intervals.
        checkpoints: Folder of the run's checkpoints, one folder a stage below it.
        log: The run's log.
        console: Told about every step, and what people have to know.
    """

    accelerator: Any
    engine: EngineConfig
    checkpoints: Path
    log: RunLog
    console: Console


def train_stage(
    stage: Stage,
    encoder: nn.Module,
    text: Text,
    score: Callable[[], float],
    context: TrainingContext,
    *,
    number: int,
    seed: int,
    selection: str = "",
    teacher: nn.Module | None = None,
    source: Source | None = None,
) -> StageResult:
    """Trains `encoder` in place; a finished stage is never run again.

    Args:
        stage: What to minimise.
        encoder: The student, at the stage's start.
        text: The training rows.
        score: Score of the encoder on the selection rows.
        context: Engine, log and checkpoints.
        number: Of the stage among those of this student, from 0: each draws from a stream of its own.
        seed: The student's seed.
        selection: Fingerprint of the rows that `score` looks at.
        teacher: The teacher's encoder, where the stage needs one.
        source: Where the teacher's features come from, with the teacher's digest.
    """
    source = source or Source(TeacherConfig(), digest="" if teacher is None else weights_digest(teacher))
    folder = context.checkpoints / stage.name
    identity = _identity(stage, seed, (text.fingerprint(), selection, weights_digest(encoder), source.digest), context)
    _drop_damaged(folder, stage.name, context)
    finished = _load_finished(folder, encoder, identity)
    if finished is not None:
        return finished
    started = time.perf_counter()
    steps, _ = stage_steps(stage, len(text.lengths))
    try:
        features = build_teacher(
            teacher,
            text,
            stage.teacher_needs,
            source,
            epochs=steps / steps_an_epoch(stage, len(text.lengths)),
            accelerator=context.accelerator,
            report=context.console.scoring,
            say=context.console.warn,
        )
    except NotFinite as error:
        raise NotFinite(f"stage {stage.name!r}, teacher on the training rows: {error}") from error
    teacher_seconds = time.perf_counter() - started
    if teacher is not None:
        teacher.to(context.accelerator.device)
    torch.manual_seed(stage_seed(seed, FRESH_BESIDE + number))
    side = stage.side.build(encoder, teacher, stage.student_needs)
    let_rest(encoder, stage.trained)
    trainer = Trainer(
        stage,
        side,
        text,
        features,
        score,
        accelerator=context.accelerator,
        folder=folder,
        engine=context.engine,
        seed=stage_seed(seed, number),
        identity=identity,
        log=context.log,
        report=context.console.progress,
    )
    try:
        finished = replace(trainer.run(), teacher_seconds=teacher_seconds)
    finally:
        side.eval()
        side.release()
        encoder.requires_grad_(True)
    context.accelerator.free_memory()
    if context.accelerator.is_main_process:
        _save_finished(folder, encoder, identity, finished)
    context.accelerator.wait_for_everyone()
    return finished


def described(stage: Stage) -> list[Any]:
    """What a stage minimises, with what beside the student, and how it runs, as JSON has it."""
    objectives = [(type(objective).__name__, objective.model_dump(mode="json")) for objective in stage.objectives]
    side = [type(stage.side).__name__, stage.side.model_dump(mode="json")]
    return [stage.name, objectives, side, stage.config.model_dump(mode="json"), stage.evaluate_every]


def _identity(stage: Stage, seed: int, fingerprints: Sequence[str], context: TrainingContext) -> str:
    parts = [*described(stage), seed]
    parts += [asdict(stage.trained), stage.dropout, stage.student]
    parts += [*fingerprints, str(context.accelerator.mixed_precision)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _drop_damaged(folder: Path, stage: str, context: TrainingContext) -> None:
    """Starts a stage anew where what an earlier start left of it is not as that wrote it: what comes out is the same."""
    if (found := damage_of(folder)) is not None:
        context.console.warn(f"  {found} is damaged, or of another version: stage {stage} starts anew")
        if context.accelerator.is_main_process:
            shutil.rmtree(folder, ignore_errors=True)
    context.accelerator.wait_for_everyone()


def _save_finished(folder: Path, encoder: nn.Module, identity: str, result: StageResult) -> None:
    final = folder / FINAL
    write_atomically(final, lambda path: save_file(contiguous(encoder.state_dict()), path))
    write_sealed(folder / FINISHED, {"identity": identity, "result": asdict(result)}, [final])
    for working in (*folder.glob("best-*.safetensors"), folder / CHECKPOINT):
        working.unlink(missing_ok=True)


def _load_finished(folder: Path, encoder: nn.Module, identity: str) -> StageResult | None:
    record = folder / FINISHED
    if not record.exists():
        return None
    content = read_sealed(record)
    if content["identity"] != identity:
        raise foreign(f"the finished stage in {folder}")
    result = StageResult(**content["result"])
    encoder.load_state_dict(read_weights(folder / FINAL))
    encoder.eval()
    return result
