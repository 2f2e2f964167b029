"""Classification: one class for each text, or each pair of texts.

hard loss   -log softmax(z)[y]                                            z: logits, y: the gold class
soft loss   T^2 KL(softmax(z_teacher / T) || softmax(z / T))
decoding    argmax z
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor

from stillhouse.data.batch import IGNORED, Batch
from stillhouse.data.columns import Columns
from stillhouse.data.examples import Examples
from stillhouse.data.labels import MINUS_ONE, class_name, doubtful_classes, is_minus_one, is_missing, one_label
from stillhouse.data.literals import check_no_lists, literal_values
from stillhouse.data.readers.table import Table
from stillhouse.data.tokenize import Encoded
from stillhouse.errors import UserError
from stillhouse.evaluation.evaluate import Predictions, Split
from stillhouse.evaluation.fidelity import softmax_confidence, softmax_kl
from stillhouse.evaluation.metrics import Metric, accuracy, macro_f1, mcc
from stillhouse.objectives.hard_labels import cross_entropy
from stillhouse.objectives.soft_labels import SoftLabels, soft_labels
from stillhouse.task import Task
from stillhouse.tasks import RowKind

_WHOLE = re.compile(r"[+-]?\d+(\.0+)?")
_MANY_SINGLE = 20  # labels of one row each, from which a column rather holds numbers, dates or names than classes
_SIGNED = re.compile(r"[+-]\d+")


class Classification(RowKind):
    """A label by name is the class's name; by id a whole number."""

    problem_type: ClassVar[str] = "single_label_classification"
    metrics: ClassVar[tuple[Metric, ...]] = (accuracy, macro_f1, mcc)
    value_key: ClassVar[str] = "label"

    def is_head_of(self, config: Any) -> bool:
        # One output is a regression; no problem type is what most models of the hub have.
        return super().is_head_of(config) and config.num_labels != 1 and config.problem_type in (None, self.problem_type)

    # Labels: null, empty, marks of missing values and -1 mean none, where they are no classes.

    def doubtful_classes(self, table: Table, columns: Columns, known: Collection[str], *, by_share: bool) -> frozenset[str]:
        """See `Kind.doubtful_classes`.

        Raises:
            UserError: Nobody can tell what -1 means.
        """
        classes = doubtful_classes(self.label_cells(table, columns), known, by_share=by_share)
        values = {value for value in literal_values(table, str(columns.label)) if not isinstance(value, (list, dict))}
        names = {str(value).strip().removesuffix(".0") for value in values if not is_missing(value, classes)}
        # -1 and 1 are two signs of an opinion, and so is -1 beside other signs; beside other numbers it hides a label.
        if names == {"1"} or any(map(_SIGNED.fullmatch, names)) or MINUS_ONE in known:
            return classes | {MINUS_ONE}
        if names in ({"0"}, {"0", "1"}) and not names <= set(known) and any(map(is_minus_one, values)):
            raise UserError(
                f"{table.source}: the labels are -1, {' and '.join(sorted(names))} (column {columns.label!r}), and -1 may be a "
                "class or mean no label",
                expected="classes by name, or nothing where there is no label",
                fix="write words (such as negative, neutral, positive), or empty the cells with -1; or give the names that the "
                "teacher has for the classes, with or without -1: --label-map -1=NAME --label-map 0=NAME",
            )
        return classes

    def label_notes(self, table: Table, column: str, names: Sequence[str], labels: Sequence[Any], *, check: bool) -> list[str]:
        counts = Counter(label for label in labels if label is not None)
        single = sum(count == 1 for count in counts.values())
        if not check or single < _MANY_SINGLE or 2 * single < counts.total():
            return []
        return [
            f"{single:,} of {len(counts):,} labels in `{column}` stand in one row alone; if they are numbers, write them "
            "plainly, such as 1.5; if they are no labels, name another column with --label"
        ]

    def read_labels(self, table: Table, columns: Columns, rows: Sequence[int]) -> list[str | None]:
        check_no_lists(table, str(columns.label))
        values = literal_values(table, str(columns.label))
        of_text: dict[str, str | None] = {}
        names = []
        for row in rows:
            value = values[row]
            if not isinstance(value, str):
                names.append(class_name(value, table, row, columns.classes))
                continue
            if value not in of_text:
                of_text[value] = class_name(value, table, row, columns.classes)
            names.append(of_text[value])
        distinct = {name for name in names if name is not None}
        if all(_WHOLE.fullmatch(name) for name in distinct):
            # Integers with a gap come out of a spreadsheet or data frame as 0.0 and 1.0.
            whole: dict[str | None, str | None] = {name: name.partition(".")[0] for name in distinct}
            names = [whole.get(name) for name in names]
        return names

    def names_of(self, label: str) -> Iterable[str]:
        return (label,)

    def to_ids(self, label: str, ids: Mapping[str, int]) -> int:
        return ids[label]

    def to_names(self, label: int, task: Task) -> str:
        return task.labels[label]

    def check_labels(self, names: Sequence[str], labels: Sequence[Any], source: str, column: str) -> None:
        if len(names) == 1:
            raise one_label(names[0], len(labels), source, column)

    def sole_class(self, labels: Sequence[int]) -> int | None:
        return labels[0] if len(set(labels)) == 1 else None

    def are_hidden(self, labels: Sequence[str]) -> bool:
        return set(labels) == {MINUS_ONE}  # of a whole split, even where it is a class of the training rows

    def strata(self, labels: Sequence[Any]) -> list[Any]:
        return list(labels)

    def label_array(self, examples: Examples, task: Task, encoded: Encoded) -> NDArray[np.int64]:
        return np.array([IGNORED if label is None else label for label in examples.labels], dtype=np.int64)

    # Losses.

    def hard_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return cross_entropy(logits, batch.labels, batch.has_label)

    def soft_loss(self, student: Tensor, teacher: Tensor, batch: Batch, objective: SoftLabels) -> Tensor:
        value = soft_labels(student, teacher, objective.temperature, objective.divergence)
        return objective.scaled(value, student.shape[-1])

    # Scores.

    def measured(self, split: Split, decoded: Sequence[int]) -> tuple[NDArray[Any], NDArray[Any]]:
        return np.asarray(split.examples.labels), np.asarray(decoded)

    def floor(self, labels: Sequence[int], task: Task) -> float:
        return Counter(labels).most_common(1)[0][1] / len(labels)

    def floor_variance(self, floor: float, rows: int) -> float:
        return floor * (1 - floor)

    def divergence(self, split: Split, teacher: Predictions, student: Predictions) -> tuple[float, NDArray[np.float64]]:
        assert isinstance(teacher.logits, np.ndarray)
        assert isinstance(student.logits, np.ndarray)
        by_row = softmax_kl(teacher.logits, student.logits)
        return float(by_row.mean()), by_row

    def decisions(self, split: Split, predictions: Predictions) -> tuple[NDArray[Any], NDArray[Any]]:
        assert isinstance(predictions.logits, np.ndarray)
        gold, given = self.measured(split, predictions.decoded)
        return softmax_confidence(predictions.logits), gold == given

    # Decoding.

    def decode(self, split: Split, logits: NDArray[np.float32], view: int) -> Predictions:
        return Predictions(logits, logits.argmax(axis=1).tolist(), view)

    def written(self, split: Split, predictions: Predictions, row: int) -> dict[str, Any]:
        assert isinstance(predictions.logits, np.ndarray)
        probabilities = softmax(predictions.logits[row].astype(np.float64))
        label = split.task.labels[predictions.decoded[row]]
        return {"label": label, "probabilities": [round(float(value), 6) for value in probabilities]}

    def read(self, values: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
        ids = {name: number for number, name in enumerate(labels)}
        return np.array([ids[label] for label in values])
