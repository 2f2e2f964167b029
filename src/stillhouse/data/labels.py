"""Labels as data hold them -> one form for each task, checked; then names -> class ids."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stillhouse.data.columns import Columns
from stillhouse.data.readers.table import Table, check_surrogates
from stillhouse.errors import UserError, listed
from stillhouse.task import Kind


def read_labels(table: Table, columns: Columns, rows: Sequence[int]) -> list[Any]:
    """The labels of the given rows, still by name, see `Kind.read_labels`; None where a row, or all of them, have none."""
    if columns.label is None or columns.label not in table.columns:
        return [None] * len(rows)
    return columns.kind.read_labels(table, columns, rows)


def label_names(kind: Kind, labels: Iterable[Any]) -> tuple[str, ...]:
    """All names that occur, sorted (integers by value)."""
    found = {name for label in labels if label is not None for name in kind.names_of(label)}
    integers = all(re.fullmatch(r"-?\d+", name) for name in found)
    return tuple(sorted(found, key=lambda name: (int(name), name)) if integers else sorted(found))


def check_training_labels(kind: Kind, names: Sequence[str], labels: Sequence[Any], source: str, label: str) -> None:
    """Refuses labels from which nothing can be learnt: none at all, or only one class."""
    present = [value for value in labels if value is not None]
    if not present:
        raise UserError(
            f"{source}: no row has a label (column {label!r}; null, empty and -1 mean no label)",
            expected="training rows with labels",
            fix="name the right column with --label, or give such text with --transfer",
        )
    kind.check_labels(names, present, source, label)


def one_label(label: str, rows: int, source: str, column: str) -> UserError:
    """What to say where all labels are the same."""
    return UserError(
        f"{source}: all {rows} labels are {label!r} (column {column!r}; null, empty and -1 mean no label)",
        expected="at least two different labels",
        fix="name the right column with --label, or check how the rows were chosen",
    )


def check_known(kind: Kind, names: Sequence[str], labels: Iterable[Any], source: str) -> None:
    """Refuses labels of an evaluation split that the training rows lack."""
    unknown = [name for name in label_names(kind, labels) if name not in set(names)]
    if unknown:
        raise UserError(
            f"{source} has labels that the training rows lack: {quoted(unknown)}",
            expected=f"only {quoted(names)}",
            fix="correct those rows, or add training rows with these labels",
        )


def to_ids(kind: Kind, labels: Sequence[Any], ids: Mapping[str, int]) -> list[Any]:
    """Names replaced by class ids, where a kind of task has classes."""
    return [None if label is None else kind.to_ids(label, ids) for label in labels]


def quoted(names: Iterable[str]) -> str:
    """Labels for a message, the first few of many, in quotes."""
    return listed(map(repr, names))


def is_minus_one(value: Any) -> bool:
    """Whether a label is -1, which published data sets write for a label that is hidden."""
    return value == -1 or (isinstance(value, str) and value.strip() in ("-1", "-1.0"))


def is_missing(value: Any) -> bool:
    """Whether a label is null, empty or -1."""
    return value is None or is_minus_one(value) or (isinstance(value, str) and not value.strip())


def class_name(value: Any, table: Table, row: int) -> str | None:
    """The name of one class; None where there is none.

    Raises:
        UserError: The value is a list, or not finite.
    """
    if is_missing(value):
        return None
    if isinstance(value, (list, dict)):
        raise UserError(
            f"{table.where(row)}: the label {value!r} is not one class",
            expected="one label a row",
            fix="use --task multilabel if several labels may apply",
        )
    if isinstance(value, float):
        finite(value, value, table, row)
    return check_surrogates(str(value).strip(), table.where(row), "label")


def finite(parsed: float, value: Any, table: Table, row: int) -> float:
    """The number that a label was parsed as.

    Raises:
        UserError: It is not finite.
    """
    if not math.isfinite(parsed):
        raise UserError(f"{table.where(row)}: the label {value!r} is not finite", expected="a finite number, or nothing")
    return parsed
