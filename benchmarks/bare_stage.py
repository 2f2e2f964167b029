"""One stage of training of a classifier and nothing else: no checkpoints, no log, no scores."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from stillhouse.config import EngineConfig, StageConfig
from stillhouse.console import Console
from stillhouse.data.text import Text
from stillhouse.machine.engine import build_accelerator
from stillhouse.method import Method, Stage
from stillhouse.methods import load_method
from stillhouse.models.adapter import dimensions
from stillhouse.task import load_kind
from stillhouse.teachers.source import Source
from stillhouse.training.log import RunLog
from stillhouse.training.stages import TrainingContext
from stillhouse.training.stages import train_stage as run_stage
from stillhouse.training.trainer import StageResult


def first_stage(method: str | Method, student: Any, teacher: Any, *, epochs: float = 1, batch_size: int = 32) -> Stage:
    """A method's first stage, of so many epochs."""
    chosen = load_method(method).model_validate({}) if isinstance(method, str) else method
    planned = chosen.plan(load_kind("classification"), dimensions(student.config), dimensions(teacher.config))[0]
    return replace(planned, config=bare_config(epochs, batch_size))


def bare_config(epochs: float = 1, batch_size: int = 32) -> StageConfig:
    """Nothing is chosen by a score."""
    return StageConfig(epochs=epochs, batch_size=batch_size, select_on="none")


def train_stage(
    stage: Stage,
    student: Any,
    text: Text,
    *,
    teacher: Any = None,
    source: Source | None = None,
    precision: str = "auto",
) -> StageResult:
    """Trains `student` in place."""
    engine = EngineConfig(precision=precision, log_every=100_000, checkpoint_seconds=1e9)
    with tempfile.TemporaryDirectory() as folder:
        context = TrainingContext(build_accelerator(engine), engine, Path(folder), RunLog(None), Refusing(quiet=True))
        return run_stage(stage, student, text, lambda: 0.0, context, number=0, seed=0, teacher=teacher, source=source)


class Refusing(Console):
    """What is said is that something else would be measured, such as the teacher online because the disk is full."""

    def warn(self, text: str) -> None:
        raise RuntimeError(text.strip())
