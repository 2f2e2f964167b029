"""log.jsonl as curves: the losses of each stage by objective, and the selection score after each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

from stillhouse.report.plots import StageCurve

_STAGE_NAMES = {
    "teacher": "teacher",
    "distil": "student, distilled",
    "baseline": "student without teacher",
    "masked_lm_teacher": "teacher, masked-LM head",
    "general": "student, on plain text",
    "assistant-general": "assistant, on plain text",
}


def stage_name(stage: str) -> str:
    """A stage's name as a reader meets it."""
    return _STAGE_NAMES.get(stage, stage.replace("_", " "))


def read_curves(log: Sequence[Mapping[str, Any]], metric: Callable[[str], str]) -> list[StageCurve]:
    """One curve a stage, in the log's order; values that are not finite numbers are left out.

    Args:
        log: Lines of log.jsonl.
        metric: Of a stage, the name of its score on what is kept for selection.
    """
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for line in log:
        stages.setdefault(str(line.get("stage", "")), []).append(line)
    curves = []
    for stage, lines in stages.items():
        losses: dict[str, list[tuple[float, float]]] = {}
        selection: list[tuple[float, float]] = []
        for line in lines:
            step = line.get("step")
            if not _is_finite(step):
                continue
            for objective, value in (line.get("objectives") or {}).items():
                if _is_finite(value):
                    losses.setdefault(str(objective), []).append((step, value))
            score = _selection_score(line, metric(stage))
            if _is_finite(score):
                selection.append((step, score))
        if losses or selection:
            curves.append(
                StageCurve(
                    stage, {name: _columns(points) for name, points in losses.items()}, _columns(selection), metric(stage)
                )
            )
    return curves


def _selection_score(line: Mapping[str, Any], metric: str) -> Any:
    """The run's metric on the selection rows, logged as a number or under the metric's name."""
    logged = line.get("selection")
    return logged.get(metric) if isinstance(logged, Mapping) else logged


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    ordered = sorted(points, key=lambda point: point[0])
    return [step for step, _ in ordered], [value for _, value in ordered]


def _is_finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)
