"""What a finished run wrote of each validation row, as statistics that scores and paired intervals are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.evaluation.intervals import Array
from stillhouse.files import PREDICTIONS
from stillhouse.task import Kind


def read_predictions(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's predictions.jsonl."""
    # Split at newlines only: text may hold other characters that Python counts as line ends.
    lines = (run / PREDICTIONS).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def recorded_statistics(kind: Kind, labels: Sequence[str], lines: Sequence[Mapping[str, Any]], role: str) -> Array:
    """Per-example statistics of one model under the main metric of the task, a row an example.

    Args:
        kind: Of the task.
        labels: Its labels.
        lines: Of predictions.jsonl.
        role: `teacher`, `student` or `baseline`.
    """
    gold, said = [line["gold"] for line in lines], [line[role][kind.value_key] for line in lines]
    statistics: Array = kind.main_metric.statistics(kind.read(gold, labels), kind.read(said, labels))
    return statistics


def recorded_agreement(
    kind: Kind, labels: Sequence[str], teacher: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]
) -> float:
    """Agreement of the `student` of one run with the `teacher` of another, on the same rows."""
    sides = [line["teacher"] for line in teacher], [line["student"] for line in other]
    return kind.agreement(*(kind.read_compared(side, labels) for side in sides))
