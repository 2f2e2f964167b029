"""Regression: a number for each text, or each pair of texts.

hard loss   (z - y)^2                          z: the one logit, y: the gold number
soft loss   (z - z_teacher)^2                  without a temperature: softmax of one logit is a constant
decoding    z
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from stillhouse.data.batch import Batch
from stillhouse.data.columns import Columns, number
from stillhouse.data.examples import Examples
from stillhouse.data.labels import finite, one_label
from stillhouse.data.missing import missing_mark
from stillhouse.data.readers.table import Table
from stillhouse.data.tokenize import Encoded
from stillhouse.errors import UserError, shown
from stillhouse.evaluation.evaluate import Predictions, Split
from stillhouse.evaluation.metrics import Metric, mse, pearson, spearman
from stillhouse.objectives.hard_labels import squared_error
from stillhouse.objectives.soft_labels import SoftLabels
from stillhouse.task import Task
from stillhouse.tasks import RowKind

_LARGEST = 1e18  # the square of its error still fits into float32


class Regression(RowKind):
    """A label is a float."""

    problem_type: ClassVar[str] = "regression"
    has_classes: ClassVar[bool] = False
    has_distribution: ClassVar[bool] = False
    metrics: ClassVar[tuple[Metric, ...]] = (pearson, spearman, mse)
    value_key: ClassVar[str] = "value"

    def width(self, task: Task) -> int:
        return 1

    def is_head_of(self, config: Any) -> bool:
        return super().is_head_of(config) and config.num_labels == 1

    # Labels: -1 is a number like any other.

    def read_labels(self, table: Table, columns: Columns, rows: Sequence[int]) -> list[float | None]:
        values = table.columns[str(columns.label)]
        return [_score(values[row], table, row) for row in rows]

    def names_of(self, label: float) -> Iterable[str]:
        return ()

    def to_ids(self, label: float, ids: Mapping[str, int]) -> float:
        return label

    def to_names(self, label: float, task: Task) -> float:
        return label

    def check_labels(self, names: Sequence[str], labels: Sequence[float], source: str, column: str) -> None:
        if len(set(labels)) == 1:
            raise one_label(str(labels[0]), len(labels), source, column)

    def are_hidden(self, labels: Sequence[float]) -> bool:
        return set(labels) == {-1.0}  # how published test splits hide their scores

    def label_array(self, examples: Examples, task: Task, encoded: Encoded) -> NDArray[np.float32]:
        return np.array([np.nan if label is None else label for label in examples.labels], dtype=np.float32)

    # Losses.

    def hard_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return squared_error(logits, batch.labels, batch.has_label)

    def soft_loss(self, student: Tensor, teacher: Tensor, batch: Batch, objective: SoftLabels) -> Tensor:
        return F.mse_loss(student.float(), teacher.detach().float())

    # Scores: a constant has no correlation with anything, and the floor is 0.

    def measured(self, split: Split, decoded: Sequence[float]) -> tuple[NDArray[Any], NDArray[Any]]:
        return np.asarray(split.examples.labels), np.asarray(decoded)

    def floor_variance(self, floor: float, rows: int) -> float:
        return rows / max(1, rows - 1)  # a correlation of 0 has the standard error 1 / sqrt(n - 1)

    def agreement(self, teacher: Any, student: Any) -> float:
        return pearson.score(teacher, student)

    def divergence(self, split: Split, teacher: Predictions, student: Predictions) -> tuple[None, NDArray[np.float64]]:
        """No divergence, but the squared difference of each example."""
        return None, np.square(np.asarray(student.decoded) - np.asarray(teacher.decoded))

    def decisions(self, split: Split, predictions: Predictions) -> None:
        return None

    # Decoding.

    def decode(self, split: Split, logits: NDArray[np.float32], view: int) -> Predictions:
        return Predictions(logits, logits[:, 0].tolist(), view)

    def written(self, split: Split, predictions: Predictions, row: int) -> dict[str, Any]:
        return {"value": predictions.decoded[row]}

    def read(self, values: Sequence[float], labels: Sequence[str]) -> NDArray[np.float64]:
        return np.array(values, dtype=float)


def _score(value: Any, table: Table, row: int) -> float | None:
    if missing_mark(value) is not None:
        return None
    parsed = number(value)
    if parsed is None:
        raise UserError(
            f"{table.where(row)}: the label {shown(value)} is not a number",
            expected="numbers, because the task is regression",
            fix="correct the row, or use --task classification",
        )
    return finite(parsed if abs(parsed) <= _LARGEST else math.inf, value, table, row)
