"""What a finished run wrote of each validation row, as statistics that scores and paired intervals are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.documents import read_json
from stillhouse.errors import UserError
from stillhouse.evaluation.intervals import Array
from stillhouse.files import METRICS, PREDICTIONS
from stillhouse.sealed import damaged_beside, damaged_file, read_sealed
from stillhouse.task import Kind


def read_predictions(run: Path) -> list[dict[str, Any]]:
    """The lines of a finished run's predictions.jsonl.

    Raises:
        UserError: The file is not as the run wrote it.
    """
    path, fix = run / PREDICTIONS, f"delete {run} and give the command again, which runs it again"
    if damaged_beside(run / METRICS, read_sealed(run / METRICS, fix=fix), PREDICTIONS) is not None:
        raise damaged_file(path, "its checksum does not agree", fix)
    try:
        # Split at newlines only: text may hold other characters that Python counts as line ends.
        lines = path.read_bytes().split(b"\n")
        return [read_json(line, str(path), line=number, fix=fix) for number, line in enumerate(lines, 1) if line]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", fix=fix) from error


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
