"""Runs the stages of a method in order; a finished stage is never run again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from stillhouse.config import EngineConfig, TeacherConfig
from stillhouse.console import OnProgress
from stillhouse.data.batch import TokenizedSplit
from stillhouse.errors import NotFinite
from stillhouse.files import write_atomically, write_json
from stillhouse.method import Stage
from stillhouse.models.digest import weights_digest
from stillhouse.teachers.source import Source, build_teacher
from stillhouse.training.log import RunLog
from stillhouse.training.resume import damaged, foreign, read_weights
from stillhouse.training.seeding import stage_seed
from stillhouse.training.trainer import StageResult, Trainer, contiguous, stage_steps, steps_an_epoch

# Streams of the run's seed from which fresh weights beside the student are drawn, apart from those of the stages.
FRESH_STREAM = 2000


@dataclass(frozen=True)
class Workshop:
    """What all stages of a run share.

    Attributes:
        accelerator: The engine.
        engine: Logging and checkpoint intervals.
        checkpoints: Folder of the run's checkpoints, one folder a stage below it.
        log: The run's log.
        report: Told about every step.
        scoring: Told about every batch that is scored before the first step.
        say: Told what people have to know.
    """

    accelerator: Any
    engine: EngineConfig
    checkpoints: Path
    log: RunLog
    report: OnProgress
    scoring: OnProgress | None = None
    say: Callable[[str], None] = lambda _: None


def run_stages(
    stages: Sequence[Stage],
    encoder: nn.Module,
    split: TokenizedSplit,
    score: Callable[[], float],
    workshop: Workshop,
    *,
    selection: str = "",
    teacher: nn.Module | None = None,
    source: Source | None = None,
    seed: int,
) -> list[StageResult]:
    """Trains `encoder` in place through all stages.

    Args:
        stages: What to minimise, in order.
        encoder: The student, at its start.
        split: The training rows.
        score: Score of the encoder on the selection rows.
        workshop: Engine, log and checkpoints.
        selection: Fingerprint of the rows that `score` looks at.
        teacher: The teacher's encoder, where a stage needs one.
        source: Where the teacher's features come from; its digest is filled in here.
        seed: The run's seed; each stage draws from a stream of its own.
    """
    results = []
    teacher_digest = "" if teacher is None else weights_digest(teacher)
    source = replace(source or Source(TeacherConfig()), digest=teacher_digest)
    whole = split
    for number, stage in enumerate(stages):
        split = whole.labelled() if stage.needs_gold else whole
        folder = workshop.checkpoints / stage.name
        identity = _identity(stage, seed, (split.fingerprint(), selection, weights_digest(encoder), teacher_digest), workshop)
        finished = _load_finished(folder, encoder, identity)
        if finished is None:
            started = time.perf_counter()
            steps, _ = stage_steps(stage, len(split))
            try:
                features = build_teacher(
                    teacher,
                    split,
                    stage.teacher_needs,
                    source,
                    epochs=steps / steps_an_epoch(stage, len(split)),
                    accelerator=workshop.accelerator,
                    report=workshop.scoring,
                    say=workshop.say,
                )
            except NotFinite as error:
                raise NotFinite(f"stage {stage.name!r}, teacher on the training rows: {error}") from error
            teacher_seconds = time.perf_counter() - started
            if teacher is not None:
                teacher.to(workshop.accelerator.device)
            torch.manual_seed(stage_seed(seed, FRESH_STREAM + number))
            side = stage.side.build(encoder, teacher, stage.student_needs, stage_seed(seed, number))
            stage.side.freeze(encoder)
            trainer = Trainer(
                stage,
                side,
                split,
                features,
                score,
                accelerator=workshop.accelerator,
                folder=folder,
                engine=workshop.engine,
                seed=stage_seed(seed, number),
                identity=identity,
                log=workshop.log,
                report=workshop.report,
            )
            try:
                finished = replace(trainer.run(), teacher_seconds=teacher_seconds)
            finally:
                side.eval()
                side.release()
                encoder.requires_grad_(True)
            workshop.accelerator.free_memory()
            if workshop.accelerator.is_main_process:
                _save_finished(folder, encoder, identity, finished)
            workshop.accelerator.wait_for_everyone()
        results.append(finished)
    return results


def _identity(stage: Stage, seed: int, fingerprints: Sequence[str], workshop: Workshop) -> str:
    objectives = [(type(objective).__name__, objective.model_dump(mode="json")) for objective in stage.objectives]
    side = [type(stage.side).__name__, stage.side.model_dump(mode="json")]
    parts = [stage.name, objectives, side, stage.config.model_dump(mode="json"), stage.steps, stage.evaluate_every, seed]
    parts += [*fingerprints, str(workshop.accelerator.mixed_precision)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _save_finished(folder: Path, encoder: nn.Module, identity: str, result: StageResult) -> None:
    write_atomically(folder / "final.safetensors", lambda path: save_file(contiguous(encoder.state_dict()), path))
    write_json(folder / "finished.json", {"identity": identity, "result": asdict(result)})
    for working in (*folder.glob("best-*.safetensors"), folder / "checkpoint.pt"):
        working.unlink(missing_ok=True)


def _load_finished(folder: Path, encoder: nn.Module, identity: str) -> StageResult | None:
    record = folder / "finished.json"
    if not record.exists():
        return None
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        found, result = content["identity"], StageResult(**content["result"])
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(record, error) from error
    if found != identity:
        raise foreign(f"the finished stage in {folder}")
    encoder.load_state_dict(read_weights(folder / "final.safetensors"))
    encoder.eval()
    return result
