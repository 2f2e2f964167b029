"""One stage of training and nothing else: no checkpoints, no log, no scores."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from stillhouse.config import EngineConfig
from stillhouse.data.batch import TokenizedSplit
from stillhouse.method import Stage
from stillhouse.teachers.source import Source
from stillhouse.training.engine import build_accelerator
from stillhouse.training.log import RunLog
from stillhouse.training.stages import Workshop, run_stages
from stillhouse.training.trainer import StageResult


def train_stage(
    stage: Stage,
    student: Any,
    rows: TokenizedSplit,
    *,
    teacher: Any = None,
    source: Source | None = None,
    precision: str = "auto",
) -> StageResult:
    """Trains `student` in place."""
    engine = EngineConfig(precision=precision, log_every=100_000, checkpoint_seconds=1e9)
    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop(build_accelerator(engine), engine, Path(folder), RunLog(None), lambda *_: None)
        (result,) = run_stages((stage,), student, rows, lambda: 0.0, shop, teacher=teacher, source=source, seed=0)
    return result
