"""Records of named fields: JSON lines, a JSON list of objects, Parquet."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from stillhouse.data.columns import WORDS
from stillhouse.data.readers.split_names import split_of
from stillhouse.data.readers.squad import parse_squad
from stillhouse.data.readers.table import Table, not_parquet, not_utf8_cell, split_lines
from stillhouse.documents import DocumentError, read_json
from stillhouse.errors import UserError, cut, listed

_EXPECTED = "SQuAD's JSON, a list of objects, or one JSON object a line"


def parse_json(text: str, source: str) -> Table:
    """A `.json` file by its content: SQuAD, a list of objects, columns, or JSON lines."""
    try:
        document = read_json(text, source)
    except DocumentError as error:
        if error.is_syntax and text.lstrip().startswith("{"):
            return parse_jsonl(text, source)  # a second object after the first
        raise
    return document_table(document, source)


def parse_jsonl(text: str, source: str) -> Table:
    """One JSON object a line; a key that a line lacks is a missing value."""
    objects = []
    lines = []
    for number, line in enumerate(split_lines(text), 1):
        if line.strip():
            objects.append(read_json(line, source, line=number, expected="one JSON object on each line"))
            lines.append(number)
    return _table(objects, source, lines)


def document_table(document: Any, source: str) -> Table:
    """What JSON holds, as rows: a list of objects, SQuAD's articles, or one of the forms in which pandas writes a table.

    An object that is none of these is one row.
    """
    if isinstance(document, dict) and isinstance(document.get("data"), list):
        rows, names = document["data"], document.get("columns")
        if any(isinstance(article, dict) and "paragraphs" in article for article in rows):
            return parse_squad(document, source)
        if isinstance(names, list) and all(isinstance(row, list) and len(row) == len(names) for row in rows):
            document = [dict(zip(map(str, names), row, strict=True)) for row in rows]
        else:
            document = rows
    if isinstance(document, dict) and document:
        return _object_table(document, source)
    return _table(document, source)


def are_splits(document: Mapping[str, Any]) -> bool:
    """Whether an object holds the rows of splits, by name."""
    return any(map(split_of, document)) and all(isinstance(rows, (list, dict)) for rows in document.values())


def _object_table(document: dict[str, Any], source: str) -> Table:
    values = list(document.values())
    if are_splits(document):
        return _table([document], source)  # for who can do with splits
    is_sentence = any(name.casefold() in WORDS and _is_strings(value) for name, value in document.items())
    if is_sentence or any(not isinstance(value, (dict, list)) for value in values):
        return _table([document], source)
    if not any(values):
        return _table([], source)
    if all(isinstance(value, dict) for value in values):
        keys = dict.fromkeys(key for value in values for key in value)
        if all(map(str.isdecimal, keys)):
            return Table({name: [value.get(key) for key in keys] for name, value in document.items()}, source)
        if all(map(str.isdecimal, document)):
            return _table(values, source)
    elif all(isinstance(value, list) for value in values):
        is_name_of_rows = len(values) == 1 and all(isinstance(one, dict) for one in values[0])
        if is_name_of_rows:
            return _table(values[0], source)
        if len({len(value) for value in values}) == 1:
            return Table(document, source)
    raise UserError(
        f"{source} holds an object that makes no rows: its keys are {listed(document)}",
        expected="a list of objects, one object for each row; or columns of the same length",
        fix='write the file again (with pandas: `to_json(path, orient="records")`)',
    )


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _table(objects: Any, source: str, lines: Sequence[int] = ()) -> Table:
    if not isinstance(objects, list) or not objects:
        raise UserError(f"{source} holds no rows", expected=_EXPECTED)
    for row, record in enumerate(objects):
        if not isinstance(record, dict):
            place = f"line {lines[row]}" if lines else f"row {row + 1}"
            raise UserError(f"{source}, {place} is {type(record).__name__}, not an object", expected="an object: {...}")
    names = dict.fromkeys(name for record in objects for name in record)
    return Table({name: [record.get(name) for record in objects] for name in names}, source, lines)


def parse_parquet(data: bytes, source: str) -> Table:
    """A Parquet file; class ids get the names that `datasets` wrote beside them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(data))
        names = file.schema_arrow.names
        repeated = sorted(name for name, times in Counter(names).items() if times > 1)
        if repeated:
            raise UserError(f"{source} names a column twice: {listed(repeated)}", expected="columns with distinct names")
        table = file.read()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # damaged pages are an OSError
        raise not_parquet(error, source) from None
    if not table.num_rows:
        raise UserError(f"{source} has columns but no rows", expected="at least one row")
    described = read_json((table.schema.metadata or {}).get(b"huggingface", b"{}"), f"what `datasets` wrote into {source}")
    columns = {name: _values(table.column(name), name, source) for name in table.column_names}
    try:
        features = described.get("info", {}).get("features") or {}
        return Table(name_classes(columns, features, source), source)
    except (AttributeError, TypeError) as error:
        raise UserError(
            f"what `datasets` wrote into {source} describes no columns: {cut(str(error))}", fix="write the file again"
        ) from None


def _values(column: Any, name: str, source: str) -> list[Any]:
    """A Parquet column as Python's values."""
    try:
        values: list[Any] = column.to_pylist()
    except (ArithmeticError, ValueError) as error:  # such as a date in the year 36,000
        if not isinstance(error, UnicodeDecodeError):
            raise UserError(
                f"{source}: column {name!r} holds what Python has no value for: {cut(str(error))}",
                expected="text, numbers, or lists of them",
                fix="leave that column out, or write it as text",
            ) from None
        for row, value in enumerate(column, 1):
            try:
                value.as_py()
            except UnicodeDecodeError as wrong:
                raise not_utf8_cell(wrong, source, row, name) from None
        raise
    return values


def name_classes(columns: Mapping[str, list[Any]], features: Mapping[str, Any], source: str) -> dict[str, list[Any]]:
    """Puts class names in the place of class ids.

    Args:
        columns: Values by column name.
        features: The columns' description as `datasets.Features.to_dict` gives it. A negative id means that there is no
            label; it stays as it is.
        source: Where they come from, for messages.

    Raises:
        UserError: An id has no name.
    """
    named = dict(columns)
    for column, feature in features.items():
        is_list = isinstance(feature, Mapping) and isinstance(feature.get("feature"), Mapping)
        names = (feature["feature"] if is_list else feature).get("names") if isinstance(feature, Mapping) else None
        if not names or column not in named:
            continue
        name_of = partial(_class_name, dict(enumerate(names)), f"{source}: column {column!r}")
        named[column] = [
            [name_of(item, row) for item in value] if isinstance(value, list) else name_of(value, row)
            for row, value in enumerate(named[column], 1)
        ]
    return named


def _class_name(by_id: Mapping[Any, str], where: str, value: Any, row: int) -> Any:
    if not isinstance(value, (int, float)) or not value >= 0:
        return value
    if value not in by_id:
        raise UserError(
            f"{where} holds the class {value} in row {row}",
            expected=f"one of the {len(by_id)} that it has names for: {listed(map(str, by_id.values()))}",
        )
    return by_id[value]
