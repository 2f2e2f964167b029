"""Labels as data hold them -> one form for each task, checked; then names -> class ids."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stillhouse.data.columns import TAG, Columns, number
from stillhouse.data.readers.table import Table, check_surrogates
from stillhouse.errors import UserError
from stillhouse.task import Answer, TaskKind

_SHOWN = 10  # names in a message


def read_labels(table: Table, columns: Columns, rows: Sequence[int]) -> list[Any]:
    """The labels of the given rows, still by name; None where a row has none: null, empty, or -1 unless 1 is the only other.

    Returns:
        By kind: a class name; a sorted tuple of names (multilabel); a float (regression, where -1 is a number); a tuple
        of tags; a tuple of `Answer`. Answers that aren't in the context are left out: see `lost_answers`.

    Raises:
        UserError: If a label doesn't fit the task; the message says the row and the value.
    """
    if columns.label is None or columns.label not in table.columns:
        return [None] * len(rows)
    values = table.columns[columns.label]
    if columns.kind == "tagging":
        texts = table.columns[columns.text]
        return [_tags(values[row], texts[row], table, row) for row in rows]
    if columns.kind == "qa":
        contexts = table.columns[str(columns.text_pair)]
        return [_answers(values[row], str(contexts[row]), table, row) for row in rows]
    if columns.kind == "regression":
        return [_score(values[row], table, row) for row in rows]
    if columns.kind == "multilabel":
        separator = _separator(values)
        return [_names(values[row], separator, table, row) for row in rows]
    names = [_class_name(values[row], table, row) for row in rows]
    distinct = {name for name in names if name is not None}
    if all(re.fullmatch(r"-?\d+(\.0+)?", name) for name in distinct):
        # Integers with a gap come out of a spreadsheet or data frame as 0.0 and 1.0.
        whole: dict[str | None, str | None] = {name: name.partition(".")[0] for name in distinct}
        names = [whole.get(name) for name in names]
    if set(names) - {None} == {"1"}:  # -1 and 1 are two signs of an opinion; beside other numbers -1 hides a label
        names = ["-1" if is_minus_one(values[row]) else name for row, name in zip(rows, names, strict=True)]
    return names


def lost_answers(table: Table, columns: Columns, rows: Sequence[int], labels: Sequence[Any]) -> list[int]:
    """Positions in `labels` of the questions that came with answers, none of which is in the context."""
    values = table.columns.get(str(columns.label), [])
    return [
        position
        for position, (row, label) in enumerate(zip(rows, labels, strict=True))
        if label == () and _given_answers(values[row], table, row)
    ]


def label_names(kind: TaskKind, labels: Iterable[Any]) -> tuple[str, ...]:
    """All names that occur, sorted (integers by value); empty for regression and question answering."""
    if kind in ("regression", "qa"):
        return ()
    present = (label for label in labels if label is not None)
    found = set(present) if kind == "classification" else {name for label in present for name in label}
    integers = all(re.fullmatch(r"-?\d+", name) for name in found)
    return tuple(sorted(found, key=lambda name: (int(name), name)) if integers else sorted(found))


def check_training_labels(kind: TaskKind, names: Sequence[str], labels: Sequence[Any], source: str, label: str) -> None:
    """Refuses labels from which nothing can be learnt: none at all, or only one class."""
    present = [value for value in labels if value is not None]
    if not present:
        raise UserError(
            f"{source}: no row has a label (column {label!r}; null, empty and -1 mean no label)",
            expected="training rows with labels",
            fix="name the right column with --label, or give such text with --transfer",
        )
    one = names[0] if len(names) == 1 else str(present[0])
    if (kind in ("classification", "tagging") and len(names) == 1) or (kind == "regression" and len(set(present)) == 1):
        raise UserError(
            f"{source}: all {len(present)} labels are {one!r} (column {label!r}; null, empty and -1 mean no label)",
            expected="at least two different labels",
            fix="name the right column with --label, or check how the rows were chosen",
        )
    if kind == "multilabel" and not names:
        raise UserError(f"{source}: the lists of labels are all empty (column {label!r})", expected="at least one label")


def check_minus_one(names: Sequence[str], source: str, label: str) -> None:
    """Refuses -1 beside 0 and 1, which may be a third class as well as no label."""
    if set(names) == {"0", "1"}:
        raise UserError(
            f"{source}: the labels are -1, 0 and 1 (column {label!r}), and -1 may be a class or mean no label",
            expected="three classes by name, or two and nothing where there is no label",
            fix="write words (such as negative, neutral, positive), or empty the cells with -1",
        )


def check_known(kind: TaskKind, names: Sequence[str], labels: Iterable[Any], source: str) -> None:
    """Refuses labels of an evaluation split that the training rows lack."""
    unknown = [name for name in label_names(kind, labels) if name not in set(names)]
    if unknown:
        raise UserError(
            f"{source} has labels that the training rows lack: {listed(unknown)}",
            expected=f"only {listed(names)}",
            fix="correct those rows, or add training rows with these labels",
        )


def to_ids(kind: TaskKind, labels: Sequence[Any], ids: Mapping[str, int]) -> list[Any]:
    """Names replaced by class ids; scores and answers stay as they are."""
    if kind in ("regression", "qa"):
        return list(labels)
    if kind == "classification":
        return [None if label is None else ids[label] for label in labels]
    order: Callable[[Iterable[int]], Iterable[int]] = sorted if kind == "multilabel" else tuple
    return [None if label is None else tuple(order(ids[name] for name in label)) for label in labels]


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first few of many."""
    shown = ", ".join(map(repr, names[:_SHOWN]))
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def is_minus_one(value: Any) -> bool:
    """Whether a label is -1, which published data sets write for a label that is hidden."""
    return value == -1 or (isinstance(value, str) and value.strip() in ("-1", "-1.0"))


def _is_missing(value: Any) -> bool:
    return value is None or is_minus_one(value) or (isinstance(value, str) and not value.strip())


def _class_name(value: Any, table: Table, row: int) -> str | None:
    if _is_missing(value):
        return None
    if isinstance(value, (list, dict)):
        raise UserError(
            f"{table.where(row)}: the label {value!r} is not one class",
            expected="one label a row",
            fix="use --task multilabel if several labels may apply",
        )
    if isinstance(value, float):
        _finite(value, value, table, row)
    return check_surrogates(str(value).strip(), table.where(row), "label")


def _separator(values: Sequence[Any]) -> str:
    strings = [value for value in values if isinstance(value, str)]
    return next((mark for mark in "|;" if any(mark in value for value in strings)), ",")


def _names(value: Any, separator: str, table: Table, row: int) -> tuple[str, ...] | None:
    if _is_missing(value):
        return None
    parts = value if isinstance(value, list) else str(value).split(separator)
    names = [name for name in (_class_name(part, table, row) for part in parts) if name is not None]
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise UserError(
            f"{table.where(row)}: the label {repeated[0]!r} stands twice in {value!r}",
            expected="the names (or ids) of the labels that apply, each once; not a vector of zeros and ones",
        )
    return tuple(sorted(names))


def _finite(parsed: float, value: Any, table: Table, row: int) -> float:
    if not math.isfinite(parsed):
        raise UserError(f"{table.where(row)}: the label {value!r} is not finite", expected="a finite number, or nothing")
    return parsed


def _score(value: Any, table: Table, row: int) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    parsed = number(value)
    if parsed is None:
        raise UserError(
            f"{table.where(row)}: the label {value!r} is not a number",
            expected="numbers, because the task is regression",
            fix="correct the row, or use --task classification",
        )
    return _finite(parsed, value, table, row)


def _tags(value: Any, words: Any, table: Table, row: int) -> tuple[str, ...] | None:
    if _is_missing(value):
        return None
    tags = value.split() if isinstance(value, str) else value
    words = words.split() if isinstance(words, str) else words
    if not isinstance(tags, list) or not isinstance(words, list) or len(tags) != len(words):
        raise UserError(
            f"{table.where(row)}: {len(tags) if isinstance(tags, list) else 1} tags do not match "
            f"{len(words) if isinstance(words, list) else 1} words",
            expected="one tag for each word",
        )
    for tag in tags:
        if not isinstance(tag, str) or not TAG.fullmatch(tag):
            raise UserError(
                f"{table.where(row)}: {tag!r} is not a BIO tag",
                expected="O, or B-, I-, E- or S- and a type, such as B-PER",
            )
        check_surrogates(tag, table.where(row), "tag")
    return tuple(tags)


def _given_answers(value: Any, table: Table, row: int) -> list[tuple[str, int]]:
    """Answers as (text, start), -1 if not given; from SQuAD's form, that of `datasets`, or plain text."""
    if isinstance(value, str):
        value = [{"text": value}] if value.strip() else []
    try:
        if isinstance(value, dict):
            starts = value.get("answer_start") or [-1] * len(value["text"])
            value = [{"text": text, "start": start} for text, start in zip(value["text"], starts, strict=True)]
        answers = [(str(answer["text"]), int(answer.get("start", answer.get("answer_start", -1)))) for answer in value]
    except (TypeError, KeyError, ValueError, AttributeError):
        raise UserError(
            f"{table.where(row)}: {value!r} are no answers", expected="a list of answers with text and start"
        ) from None
    return [(text, start) for text, start in answers if text.strip()]


def _answers(value: Any, context: str, table: Table, row: int) -> tuple[Answer, ...] | None:
    if value is None:
        return None
    found = []
    for text, start in _given_answers(value, table, row):
        if start < 0 or context[start : start + len(text)] != text:
            start = nearest_occurrence(context, text, start)
        if start >= 0:
            found.append(Answer(text, start))
    return tuple(found)


def nearest_occurrence(context: str, text: str, start: int) -> int:
    """Where `text` stands in `context`, nearest to where it was said to start; -1 if nowhere."""
    places = [match.start() for match in re.finditer(f"(?={re.escape(text)})", context)]
    return min(places, key=lambda place: abs(place - start), default=-1)
