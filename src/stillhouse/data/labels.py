"""Labels as data hold them -> one form for each task, checked; then names -> class ids."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from stillhouse.data.columns import Columns, number
from stillhouse.data.missing import LIKELY_MARKS, SURE_MARKS, is_nan, missing_mark
from stillhouse.data.readers.table import Table, check_surrogates
from stillhouse.errors import UserError, listed, shown
from stillhouse.task import Kind

_FREQUENT = 0.05  # of the rows that are not empty: so many do not lack their label by accident
_OWN, _MANY = 0.9, 20  # share of different names above which they are no classes, among so many labels
MINUS_ONE = "-1"


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


def check_training_labels(
    names: Sequence[str], labels: Sequence[Any], table: Table, columns: Columns, known: Collection[str] = ()
) -> None:
    """Refuses labels from which nothing can be learnt: none at all, only one class, or one for each row.

    Args:
        names: All that occur.
        labels: Of the training rows, by name.
        table: Where they come from.
        columns: Its columns.
        known: Names of the teacher's, which may stand but once.
    """
    present = [value for value in labels if value is not None]
    if not present:
        raise no_labels(table, columns, ", or give such text with --transfer")
    others = ", ".join(_without_label(table, columns))
    place = f"column {columns.label!r}" + (f"; of the others {others}, which means no label" if others else "")
    columns.kind.check_labels(names, present, table.source, place)
    times = sum(len([*columns.kind.names_of(label)]) for label in present) if names else 0
    if times >= _MANY and len(names) > _OWN * times and not set(names) <= set(known):
        are_numbers = all(number(name) is not None for name in names)
        raise UserError(
            f"{table.source}: nearly every row has a label of its own, {len(names):,} in {len(present):,} rows ({place})",
            expected="labels that many rows share",
            fix="name the right column with --label" + (", or give --task regression for numbers" if are_numbers else ""),
        )


def no_labels(table: Table, columns: Columns, else_fix: str = "") -> UserError:
    """What to say where no row has a label: why, and what to do about it."""
    lost, why = columns.kind.lost_labels(table, columns, rows := range(len(table)), read_labels(table, columns, rows))
    if lost:
        first = min(lost)
        return UserError(
            f"{table.source}: {len(lost):,} {why}, and no other has an answer",
            expected="answers that stand in their contexts, letter for letter",
            fix=f"compare them: {table.where(first)}, answers {shown(table.column(str(columns.label))[first])}",
        )
    found = ", ".join(_without_label(table, columns))
    return UserError(
        f"{table.source}: no row has a label (column {columns.label!r}" + (f": {found})" if found else ")"),
        expected="rows with labels",
        fix="name the right column with --label" + else_fix,
    )


def _without_label(table: Table, columns: Columns) -> list[str]:
    """What stands in rows instead of a label, each counted, in words."""
    return [
        f"{count:,} {'is' if count == 1 else 'are'} {repr(mark) if mark else 'empty'}"
        for mark, count in mark_counts(table, columns).items()
        if mark not in columns.classes
    ]


def mark_counts(table: Table, columns: Columns) -> Counter[str]:
    """How many rows hold each mark of a missing label, classes or not; "" for nothing at all, -1 among classes."""
    if columns.label is None or columns.label not in table.columns:
        return Counter()
    counts: Counter[str] = Counter()
    for cell, times in _distinct(columns.kind.label_cells(table, columns)).items():
        counts.update(dict.fromkeys((mark for value in cell if (mark := _mark(value, columns.kind)) is not None), times))
    return counts


def _distinct(cells: Iterable[Sequence[Any]]) -> Counter[tuple[Any, ...]]:
    """How many rows have the same cell, but for lists in it, which mark nothing."""
    return Counter(tuple(value for value in cell if not isinstance(value, (list, dict))) for cell in cells)


def _mark(value: Any, kind: Kind) -> str | None:
    return MINUS_ONE if kind.has_classes and is_minus_one(value) else missing_mark(value)


def mark_notes(table: Table, columns: Columns) -> list[str]:
    """What people have to know of labels that may say that there is none."""
    notes = []
    for mark, count in sorted(mark_counts(table, columns).items()):
        means = "is read as a class" if mark in columns.classes else "means no label"
        if mark in LIKELY_MARKS - columns.classes and columns.kind.has_classes:
            means += "; if it is a class, write another name"
        if mark and (mark != MINUS_ONE or mark not in columns.classes):
            notes.append(f"{count:,} rows have the label {mark}, which {means}")
    return notes


def doubtful_classes(cells: Iterable[Sequence[Any]], known: Collection[str], *, by_share: bool) -> frozenset[str]:
    """Marks of missing labels that are classes: see `Kind.doubtful_classes`; "-" also where "+" is one."""
    counts: Counter[str] = Counter()
    rows, signs = 0, False
    for cell, times in _distinct(cells).items():
        marks = {missing_mark(value) for value in cell}
        rows += times if marks - SURE_MARKS - {""} else 0
        signs |= any(isinstance(value, str) and value.strip() == "+" for value in cell)
        counts.update(dict.fromkeys((mark for mark in marks if mark), times))
    named = {name.casefold() for name in known}
    frequent = {mark for mark in counts if by_share and mark in LIKELY_MARKS and counts[mark] > _FREQUENT * rows}
    return frozenset(frequent | {mark for mark in counts if mark.casefold() in named or (mark == "-" and signs)})


def alike_notes(names: Sequence[str]) -> list[str]:
    """Names the labels that people may take for one and the same."""
    groups = defaultdict(list)
    for name in names:
        groups[folded(name)].append(name)
    return [
        f"the labels {', '.join(map(_distinctly, group))} differ only in case, spaces, plus sign or Unicode form; "
        "if they mean the same, write them alike"
        for group in groups.values()
        if len(group) > 1
    ]


def folded(name: str) -> str:
    """A label without its case, a number's plus sign, and what is another form of the same text to Unicode."""
    text = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return text.removeprefix("+") if re.fullmatch(r"\+\d+", text) else text


def _distinctly(name: str) -> str:
    return repr(name) if unicodedata.is_normalized("NFKC", name) else ascii(name)


def one_label(label: str, rows: int, source: str, column: str) -> UserError:
    """What to say where all labels are the same."""
    return UserError(
        f"{source}: all {rows} labels are {shown(label)} ({column})",
        expected="at least two different labels",
        fix="name the right column with --label, or check how the rows were chosen",
    )


def check_known(kind: Kind, names: Sequence[str], labels: Iterable[Any], source: str) -> None:
    """Refuses labels of an evaluation split that the training rows lack."""
    unknown = [name for name in label_names(kind, labels) if name not in set(names)]
    if unknown:
        alike = [note for note in alike_notes([*names, *unknown]) if any(_distinctly(name) in note for name in unknown)]
        raise UserError(
            f"{source} has labels that the training rows lack: {quoted(unknown)}",
            expected=f"only {quoted(names)}",
            fix=alike[0] if alike else "correct those rows, or add training rows with these labels",
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


def is_missing(value: Any, classes: Collection[str] = ()) -> bool:
    """Whether a label is null, empty, -1 or a mark of a missing value, and none of the given classes."""
    if is_minus_one(value):
        return MINUS_ONE not in classes
    mark = missing_mark(value)
    return mark is not None and (mark not in classes or is_nan(value))


def class_name(value: Any, table: Table, row: int, classes: Collection[str] = ()) -> str | None:
    """The name of one class; None where there is none.

    Args:
        value: What stands in the data.
        table: In which table.
        row: In which row.
        classes: See `Columns.classes`.

    Raises:
        UserError: The value is a list, bytes, or not finite.
    """
    if is_missing(value, classes):
        return None
    if isinstance(value, (list, dict, bytes)):
        raise UserError(
            f"{table.where(row)}: the label {shown(value)} is not one class",
            expected="one label a row",
            fix="use --task multilabel if several labels may apply"
            if isinstance(value, list)
            else "write the label as text, or where several may apply a list of their names",
        )
    is_number = not isinstance(value, str) or re.fullmatch(r"[+-]?\d+", value.strip())
    if is_number and (parsed := number(value)) is not None:
        finite(parsed, value, table, row)
    return check_surrogates(str(value).strip(), table.where(row), "label")


def finite(parsed: float, value: Any, table: Table, row: int) -> float:
    """The number that a label was parsed as.

    Raises:
        UserError: It is not finite.
    """
    if not math.isfinite(parsed):
        given = f"{table.where(row)}: the label {shown(value)}"
        raise UserError(f"{given} is not finite, or too large", expected="a finite number, or nothing")
    return parsed
