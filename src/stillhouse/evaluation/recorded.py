"""What a finished run wrote of each validation row, as statistics that scores and paired intervals are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.evaluation.evaluate import multi_hot
from stillhouse.evaluation.fidelity import agreement
from stillhouse.evaluation.intervals import Array
from stillhouse.evaluation.metrics import main_metric
from stillhouse.files import PREDICTIONS
from stillhouse.task import TaskKind

_VALUES = {"classification": "label", "multilabel": "labels", "regression": "value", "tagging": "tags", "qa": "answer"}


def read_predictions(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's predictions.jsonl."""
    # Split at newlines only: text may hold other characters that Python counts as line ends.
    lines = (run / PREDICTIONS).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def recorded_statistics(kind: TaskKind, labels: Sequence[str], lines: Sequence[Mapping[str, Any]], role: str) -> Array:
    """Per-example statistics of one model under the main metric of the task, a row an example.

    Args:
        kind: Of the task.
        labels: Its labels.
        lines: Of predictions.jsonl.
        role: `teacher`, `student` or `baseline`.
    """
    gold, said = [line["gold"] for line in lines], [line[role][_VALUES[kind]] for line in lines]
    return main_metric(kind).statistics(_decided(kind, labels, gold), _decided(kind, labels, said))


def recorded_agreement(
    kind: TaskKind, labels: Sequence[str], teacher: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]
) -> float:
    """Agreement of the `student` of one run with the `teacher` of another, on the same rows."""
    if kind == "qa":
        pair = [
            [[line["start"], line["end"]] for line in lines] for lines in (_said(teacher, "teacher"), _said(other, "student"))
        ]
        spans = [np.array([[-1 if end is None else end for end in span] for span in side]) for side in pair]
        return agreement(kind, *spans)
    sides = (_said(teacher, "teacher"), _said(other, "student"))
    return agreement(kind, *(_decided(kind, labels, [line[_VALUES[kind]] for line in side]) for side in sides))


def _said(lines: Sequence[Mapping[str, Any]], role: str) -> list[Mapping[str, Any]]:
    return [line[role] for line in lines]


def _decided(kind: TaskKind, labels: Sequence[str], values: Sequence[Any]) -> Any:
    """Names as the numbers that metrics take."""
    numbers = {name: number for number, name in enumerate(labels)}
    if kind == "classification":
        return np.array([numbers[label] for label in values])
    if kind == "multilabel":
        return multi_hot([[numbers[label] for label in row] for row in values], len(labels))
    return np.array(values, dtype=float) if kind == "regression" else values
