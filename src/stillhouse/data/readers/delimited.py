"""CSV (quoted, RFC 4180) and TSV (no quoting: a quote is a character like any other), each with one header line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from stillhouse.data.readers.table import Table, split_lines
from stillhouse.errors import UserError


def parse_tsv(text: str, source: str) -> Table:
    """Tab separated fields, no quoting."""
    return _table(((number, line.split("\t")) for number, line in enumerate(split_lines(text), 1) if line), source)


def parse_csv(text: str, source: str) -> Table:
    """Comma separated fields (semicolons where the header has those and no comma), quoted with double quotes."""
    header = text.split("\n", 1)[0]
    return _table(_csv_rows(text, source, ";" if ";" in header and "," not in header else ","), source)


def _csv_rows(text: str, source: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # the module's own limit is shorter than a long document
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start = 1
    try:
        for fields in reader:
            if fields:
                yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{source}: the row that starts on line {start} is not CSV: {error}",
            expected='fields with quotes are written "like ""this"""',
            fix="quote the field, or use a .tsv file, in which quotes mean nothing",
        ) from None


def _table(rows: Iterable[tuple[int, list[str]]], source: str) -> Table:
    rows = iter(rows)
    _, header = next(rows)
    names = [name.strip() for name in header]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UserError(f"{source} names a column twice: {', '.join(repeated)}", expected="one header line with distinct names")
    records = []
    lines = []
    for line, fields in rows:
        if len(fields) != len(names):
            raise UserError(
                f"{source}, line {line} has {len(fields)} fields",
                expected=f"{len(names)}, as in the header: {', '.join(names)}",
                fix="correct that line",
            )
        records.append(fields)
        lines.append(line)
    if not records:
        raise UserError(f"{source} has a header but no rows", expected="at least one row")
    return Table({name: list(column) for name, column in zip(names, zip(*records, strict=True), strict=True)}, source, lines)
