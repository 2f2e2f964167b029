"""CSV (quoted, RFC 4180) and TSV (no quoting: a quote is a character like any other), each with one header line."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from stillhouse.data.readers.table import Table, split_lines
from stillhouse.errors import UserError, listed

_DELIMITERS = ",;\t|"  # of a .csv file: the first of them that its header has
_EXCEL = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)  # a first line that names the delimiter
_QUOTED = re.compile(r'"[^"]*"')
_WHOLE = re.compile(r"\s*\d*\s*")
_SHOWN = 40  # characters of a field in a message


def parse_tsv(text: str, source: str) -> Table:
    """Tab separated fields, no quoting. A file without any tab is read as CSV where that makes several columns of it."""
    if _EXCEL.match(text):
        return parse_csv(text, source)
    if "\t" not in text:
        try:
            table = parse_csv(text, source)
        except UserError:
            pass  # texts with commas
        else:
            if len(table.columns) > 1:
                return replace(table, notes=(*table.notes, "read as CSV, because there is no tab in it"))
    rows = ((number, line.split("\t")) for number, line in enumerate(split_lines(text), 1) if line)
    return _table(rows, source, "correct that line: a text has no tabs in it")


def parse_csv(text: str, source: str) -> Table:
    """Quoted fields with commas between them; with semicolons, tabs or bars where the header has those and no comma."""
    told = _EXCEL.match(text)
    if told:
        rows = _csv_rows(text[told.end() :], source, told[1], above=1)
    else:
        header = _QUOTED.sub("", re.split(r"[\r\n]", text, maxsplit=1)[0])
        rows = _csv_rows(text, source, next((one for one in _DELIMITERS if one in header), ","), above=0)
    return _table(rows, source, 'put a text with commas into quotes ("one, two"); where tabs separate, name the file .tsv')


def _csv_rows(text: str, source: str, delimiter: str, above: int) -> Iterator[tuple[int, list[str]]]:
    """Rows with the lines on which they start; `above` lines stand before the text."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # the module's own limit is shorter than a long document
    start = above + 1
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        for fields in reader:
            if fields:
                yield start, fields
            start = above + reader.line_num + 1
    except (csv.Error, TypeError, ValueError) as error:  # the latter two: what `sep=` names cannot separate fields
        raise UserError(
            f"{source}: the row that starts on line {start} is not CSV: {error}",
            expected='fields with quotes are written "like ""this"""',
            fix="quote the field, or use a .tsv file, in which quotes mean nothing",
        ) from None


def _table(rows: Iterable[tuple[int, list[str]]], source: str, fix: str) -> Table:
    rows = iter(rows)
    _, header = next(rows, (0, []))
    names = [name.strip() for name in header]
    repeated = sorted(name for name, times in Counter(names).items() if times > 1 and name)
    if repeated:
        raise UserError(f"{source} names a column twice: {listed(repeated)}", expected="one header line with distinct names")
    records = []
    lines = []
    for line, fields in rows:
        if len(fields) != len(names):
            raise UserError(
                f"{source}, line {line} has {len(fields)} fields",
                expected=f"{len(names)}, as in the header: {listed(names)}",
                fix=fix,
            )
        records.append(fields)
        lines.append(line)
    if not records:
        raise UserError(f"{source} has a header but no rows", expected="at least one row")
    columns = [list(column) for column in zip(*records, strict=True)]
    kept = _named(names, columns, source, lines)
    return Table({names[place]: columns[place] for place in kept}, source, lines)


def _named(names: list[str], columns: list[list[Any]], source: str, lines: list[int]) -> list[int]:
    """The places of the columns that count: those without a name and without content do not; one may number the rows."""
    kept = [place for place, name in enumerate(names) if name or any(map(str.strip, columns[place]))]
    nameless = [place for place in kept if not names[place]]
    if nameless and (nameless[0] == 0 or all(map(_WHOLE.fullmatch, columns[nameless[0]]))):
        nameless = nameless[1:]
    if nameless:
        place = nameless[0]
        row = next(row for row, value in enumerate(columns[place]) if value.strip())
        raise UserError(
            f"{source}: column {place + 1} has no name in the header, but line {lines[row]} holds "
            f"{columns[place][row][:_SHOWN]!r} there",
            expected="a name for each column that is not empty",
            fix="name it in the header, or empty it; a text with commas in it needs quotes",
        )
    return kept
