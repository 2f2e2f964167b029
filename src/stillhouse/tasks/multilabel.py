"""Multilabel: any number of labels for each text, or each pair of texts.

hard loss   mean over labels of the cross-entropy of sigmoid(z) and y              z: logits, y: 1 where a label applies
soft loss   mean over labels of T^2 KL(sigmoid(z_teacher / T) || sigmoid(z / T))   between Bernoulli distributions
decoding    z >= 0
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from stillhouse.data.batch import Batch
from stillhouse.data.columns import Columns
from stillhouse.data.examples import Examples
from stillhouse.data.labels import MINUS_ONE, class_name, doubtful_classes, is_missing
from stillhouse.data.literals import check_no_lists, literal_values
from stillhouse.data.missing import is_nan, missing_mark
from stillhouse.data.readers.table import Table
from stillhouse.data.tokenize import Encoded
from stillhouse.errors import UserError, shown
from stillhouse.evaluation.evaluate import Predictions, Split
from stillhouse.evaluation.fidelity import bernoulli_kl, sigmoid_confidence
from stillhouse.evaluation.metrics import Metric, micro_f1, multilabel_macro_f1
from stillhouse.objectives.hard_labels import binary_cross_entropy
from stillhouse.objectives.soft_labels import SoftLabels, binary_soft_labels
from stillhouse.task import Task
from stillhouse.tasks import RowKind

_EXPECTED = "the names (or ids) of the labels that apply, each once"


class Multilabel(RowKind):
    """A label by name is a sorted tuple of the names of those that apply, by id one of their numbers; () where none does."""

    problem_type: ClassVar[str] = "multi_label_classification"
    metrics: ClassVar[tuple[Metric, ...]] = (micro_f1, multilabel_macro_f1)
    value_key: ClassVar[str] = "labels"

    def is_head_of(self, config: Any) -> bool:
        return super().is_head_of(config) and config.num_labels != 1 and config.problem_type == self.problem_type

    # Labels: lists, or names parted by |, else by ;, else by commas.

    def label_cells(self, table: Table, columns: Columns) -> Iterable[Sequence[Any]]:
        check_no_lists(table, str(columns.label))
        values = literal_values(table, str(columns.label))
        strings = [value for value in values if isinstance(value, str)]
        separator = next((mark for mark in "|;" if any(mark in value for value in strings)), ",")
        return [value if isinstance(value, list) else _parts(value, separator) for value in values]

    def doubtful_classes(self, table: Table, columns: Columns, known: Collection[str], *, by_share: bool) -> frozenset[str]:
        classes = doubtful_classes(self.label_cells(table, columns), known, by_share=by_share)
        return classes | ({MINUS_ONE} & set(known))

    def read_labels(self, table: Table, columns: Columns, rows: Sequence[int]) -> list[tuple[str, ...] | None]:
        values, cells = literal_values(table, str(columns.label)), list(self.label_cells(table, columns))
        _check_no_vectors(cells, table)
        return [
            None if is_missing(values[row], columns.classes) else _names(cells[row], values[row], table, row, columns.classes)
            for row in rows
        ]

    def names_of(self, label: tuple[str, ...]) -> Iterable[str]:
        return label

    def to_ids(self, label: Sequence[str], ids: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(sorted(ids[name] for name in label))

    def to_names(self, label: tuple[int, ...], task: Task) -> list[str]:
        return [task.labels[index] for index in label]

    def check_labels(self, names: Sequence[str], labels: Sequence[Any], source: str, column: str) -> None:
        if not names:
            raise UserError(f"{source}: the lists of labels are all empty ({column})", expected="at least one label")

    def label_notes(self, table: Table, column: str, names: Sequence[str], labels: Sequence[Any], *, check: bool) -> list[str]:
        empty = sum(missing_mark(value) == "" for value in table.column(column))
        note = (
            f"{empty:,} rows have an empty cell in `{column}` and are taken as text without a label; where it "
            "means that no label applies, write [] in JSON lines"
        )
        return [note] if empty else []

    def label_array(self, examples: Examples, task: Task, encoded: Encoded) -> NDArray[np.float32]:
        return _multi_hot([label or () for label in examples.labels], len(task.labels)).astype(np.float32)

    # Losses.

    def hard_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return binary_cross_entropy(logits, batch.labels, batch.has_label)

    def soft_loss(self, student: Tensor, teacher: Tensor, batch: Batch, objective: SoftLabels) -> Tensor:
        return objective.scaled(binary_soft_labels(student, teacher, objective.temperature, objective.divergence))

    # Scores: of each label's decision, not of whole sets.

    def measured(self, split: Split, decoded: Sequence[tuple[int, ...]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        labels = len(split.task.labels)
        return _multi_hot(split.examples.labels, labels), _multi_hot(decoded, labels)

    def floor(self, labels: Sequence[tuple[int, ...]], task: Task) -> float:
        """The best of the constant answers that give the most frequent labels: none, one, two of them, and so on."""
        by_frequency = [label for label, _ in Counter(label for row in labels for label in row).most_common()]
        constants = [by_frequency[:count] for count in range(len(by_frequency) + 1)]
        gold = _multi_hot(labels, len(task.labels))
        return max(micro_f1.score(gold, _multi_hot([given] * len(labels), len(task.labels))) for given in constants)

    def compared(self, split: Split, predictions: Predictions) -> NDArray[np.bool_]:
        return _multi_hot(predictions.decoded, len(split.task.labels))

    def divergence(self, split: Split, teacher: Predictions, student: Predictions) -> tuple[float, NDArray[np.float64]]:
        assert isinstance(teacher.logits, np.ndarray)
        assert isinstance(student.logits, np.ndarray)
        by_row = bernoulli_kl(teacher.logits, student.logits)
        return float(by_row.mean()), by_row

    def decisions(self, split: Split, predictions: Predictions) -> tuple[NDArray[Any], NDArray[Any]]:
        assert isinstance(predictions.logits, np.ndarray)
        gold, given = self.measured(split, predictions.decoded)
        return sigmoid_confidence(predictions.logits), gold == given

    # Decoding.

    def decode(self, split: Split, logits: NDArray[np.float32], view: int) -> Predictions:
        return Predictions(logits, [tuple(np.flatnonzero(row >= 0).tolist()) for row in logits], view)

    def written(self, split: Split, predictions: Predictions, row: int) -> dict[str, Any]:
        assert isinstance(predictions.logits, np.ndarray)
        probabilities = expit(predictions.logits[row].astype(np.float64))
        labels = self.to_names(predictions.decoded[row], split.task)
        return {"labels": labels, "probabilities": [round(float(value), 6) for value in probabilities]}

    def read(self, values: Sequence[Sequence[str]], labels: Sequence[str]) -> NDArray[np.bool_]:
        ids = {name: number for number, name in enumerate(labels)}
        return _multi_hot([[ids[name] for name in row] for row in values], len(labels))


def _names(parts: Sequence[Any], value: Any, table: Table, row: int, classes: Collection[str]) -> tuple[str, ...]:
    for part in parts:
        if isinstance(part, (list, dict, bytes)) or (isinstance(part, float) and not part.is_integer() and not is_nan(part)):
            raise UserError(
                f"{table.where(row)}: {shown(value)} is no list of labels, because {shown(part)} is no name", expected=_EXPECTED
            )
    names = [name for name in (class_name(part, table, row, classes) for part in parts) if name is not None]
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise UserError(
            f"{table.where(row)}: the label {repeated[0]!r} stands twice in {shown(value)}",
            expected=f"{_EXPECTED}; not a vector of zeros and ones",
        )
    return tuple(sorted(names))


def _parts(value: Any, separator: str) -> Sequence[Any]:
    return value.split(separator) if isinstance(value, str) else [value]


def _check_no_vectors(cells: Sequence[Sequence[Any]], table: Table) -> None:
    """Refuses zeros and ones over all labels: [1, 0] and [0, 1] would both say that the labels 0 and 1 apply."""
    filled = {row: cell for row, cell in enumerate(cells) if not all(map(is_missing, cell))}
    widths = set(map(len, filled.values()))
    digits = {str(part).strip().casefold() for cell in filled.values() for part in cell}
    if len(widths) == 1 and min(widths) > 1 and digits <= {"0", "1", "0.0", "1.0", "false", "true"}:
        row, cell = next(iter(filled.items()))
        raise UserError(
            f"{table.where(row)}: the labels of all rows are zeros and ones, {min(widths)} of them, such as {shown(cell)}",
            expected=f"{_EXPECTED}; not a vector of zeros and ones",
            fix="write names in their place",
        )


def _multi_hot(rows: Sequence[Sequence[int]], labels: int) -> NDArray[np.bool_]:
    """Label ids of each row as a table, `(rows, labels)`."""
    table = np.zeros((len(rows), labels), dtype=bool)
    for row, ids in enumerate(rows):
        table[row, list(ids)] = True
    return table
