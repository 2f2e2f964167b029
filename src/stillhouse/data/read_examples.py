"""A table and its columns -> examples: the texts checked, the labels still by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from stillhouse.data.columns import Columns
from stillhouse.data.examples import Examples
from stillhouse.data.labels import read_labels
from stillhouse.data.literals import looks_like_list
from stillhouse.data.missing import is_nan, missing_mark
from stillhouse.data.readers.table import Table, check_surrogates
from stillhouse.errors import UserError

_LOOKED_AT = 100  # rows


def read_examples(table: Table, columns: Columns, notes: list[str]) -> Examples:
    """The rows that have a text, with their labels by name; what was left out is counted in `notes`."""
    texts, pairs = text_columns(table, columns)
    marks = [_mark(text) or (_mark(pairs[row]) if pairs is not None else None) for row, text in enumerate(texts)]
    rows = [
        row
        for row, text in enumerate(texts)
        if (text.strip() if isinstance(text, str) else text)
        and (pairs is None or pairs[row] is not None)
        and marks[row] is None
    ]
    if not rows:
        raise UserError(f"{table.source}: no row has a text in column {columns.text!r}", fix="name the column with --text")
    if len(rows) < len(texts):
        notes.append(f"{table.source}: {len(texts) - len(rows)} rows without text were left out")
        marked = sorted(Counter(filter(None, marks)).items())
        notes += [f"{table.source}: {count:,} rows have the text {mark}, which means no text" for mark, count in marked]
    if all(isinstance(texts[row], str) and looks_like_list(texts[row]) for row in rows[:_LOOKED_AT]):
        notes.append(f"{table.source}: the texts in column {columns.text!r} are lists as text, and are read as they stand")
    labels = read_labels(table, columns, rows)
    lost, why = columns.kind.lost_labels(table, columns, rows, labels)
    if lost:
        notes.append(f"{table.source}: {len(lost)} {why}")
        rows = [row for position, row in enumerate(rows) if position not in lost]
        labels = [label for position, label in enumerate(labels) if position not in lost]
    ids = row_ids(table, columns)
    return Examples(
        text=[texts[row] for row in rows],
        labels=labels,
        text_pair=None if pairs is None else [pairs[row] for row in rows],
        ids=[ids[row] for row in rows],
    )


def text_columns(table: Table, columns: Columns) -> tuple[list[Any], list[Any] | None]:
    """First and second texts of all rows. A missing text is empty, a missing second text stays None."""
    values = columns.kind.text_values(table, columns.text)
    texts = [columns.kind.read_text(value, table, row) for row, value in enumerate(values)]
    if columns.text_pair is None:
        return texts, None
    seconds = table.column(columns.text_pair)
    missing = (value is None or is_nan(value) for value in seconds)
    return texts, [None if none else read_string(seconds[row], table, row) for row, none in enumerate(missing)]


def _mark(text: Any) -> str | None:
    """The mark of a missing value in the place of a text; in a list of words it is a word."""
    return missing_mark(text) or None if isinstance(text, str) else None


def row_ids(table: Table, columns: Columns) -> list[str]:
    """The rows' own ids where their kind of task has such, else their numbers."""
    named = columns.kind.id_column
    own = None if named is None else table.columns.get(named)
    if not own or any(name is None or is_nan(name) for name in own):
        return [str(row) for row in range(len(table))]
    return [check_surrogates(str(name), table.where(row), "id") for row, name in enumerate(own)]


def read_string(value: Any, table: Table, row: int) -> str:
    """One text; empty where there is none.

    Raises:
        UserError: It is not a text.
    """
    if isinstance(value, str):
        return check_surrogates(value, table.where(row), "text")
    if isinstance(value, (list, dict, bytes)):
        raise UserError(
            f"{table.where(row)}: the text is a {type(value).__name__}, not a string",
            expected="text; lists of words only with --task tagging",
            fix="name the column with --text",
        )
    return "" if value is None or is_nan(value) else str(value)


def check_given(texts: Sequence[str], pairs: Sequence[str] | None) -> None:
    """Refuses texts that somebody typed and no tokenizer takes.

    Raises:
        UserError: One holds half of a surrogate pair, as bytes that are no UTF-8 become on the command line.
    """
    for name, given in (("--text", texts), ("--text-pair", pairs or ())):
        for number, text in enumerate(given, 1):
            try:
                check_surrogates(text, f"{name} {number}", "text")
            except UserError as error:
                raise UserError(error.given, expected=error.expected, fix="give it as UTF-8") from None
