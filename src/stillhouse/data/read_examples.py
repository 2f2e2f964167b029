"""A table and its columns -> examples: the texts checked, the labels still by name."""

from __future__ import annotations

from typing import Any

from stillhouse.data.columns import Columns
from stillhouse.data.examples import Examples
from stillhouse.data.labels import read_labels
from stillhouse.data.readers.table import Table, check_surrogates
from stillhouse.errors import UserError


def read_examples(table: Table, columns: Columns, notes: list[str]) -> Examples:
    """The rows that have a text, with their labels by name; what was left out is counted in `notes`."""
    texts, pairs = text_columns(table, columns)
    rows = [
        row
        for row, text in enumerate(texts)
        if (text.strip() if isinstance(text, str) else text) and (pairs is None or pairs[row] is not None)
    ]
    if not rows:
        raise UserError(f"{table.source}: no row has a text in column {columns.text!r}", fix="name the column with --text")
    if len(rows) < len(texts):
        notes.append(f"{table.source}: {len(texts) - len(rows)} rows without text were left out")
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
    texts = [columns.kind.read_text(value, table, row) for row, value in enumerate(table.column(columns.text))]
    if columns.text_pair is None:
        return texts, None
    seconds = table.column(columns.text_pair)
    return texts, [None if value is None else read_string(value, table, row) for row, value in enumerate(seconds)]


def row_ids(table: Table, columns: Columns) -> list[str]:
    """The rows' own ids where their kind of task has such, else their numbers."""
    named = columns.kind.id_column
    own = None if named is None else table.columns.get(named)
    if not own or None in own:
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
    return "" if value is None else str(value)
