"""Records of named fields: JSON lines, a JSON list of objects, Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.data.readers.squad import parse_squad
from stillhouse.data.readers.table import Table, split_lines
from stillhouse.errors import UserError


def parse_json(text: str, source: str) -> Table:
    """A `.json` file by its content: SQuAD, a list of objects, or JSON lines."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("{"):
            return parse_jsonl(text, source)  # a second object after the first
        raise UserError(f"{source}, line {error.lineno} is not JSON: {error.msg}", expected="JSON") from None
    if isinstance(document, dict) and isinstance(document.get("data"), list):
        if any(isinstance(article, dict) and "paragraphs" in article for article in document["data"]):
            return parse_squad(document, source)
        document = document["data"]
    return _table([document] if isinstance(document, dict) else document, source)


def parse_jsonl(text: str, source: str) -> Table:
    """One JSON object a line; a key that a line lacks is a missing value."""
    objects = []
    lines = []
    for number, line in enumerate(split_lines(text), 1):
        if line.strip():
            try:
                objects.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{source}, line {number} is not JSON: {error.msg} at character {error.pos + 1}",
                    expected="one JSON object on each line",
                ) from None
            lines.append(number)
    return _table(objects, source, lines)


def _table(objects: Any, source: str, lines: Sequence[int] = ()) -> Table:
    if not isinstance(objects, list) or not objects:
        raise UserError(f"{source} holds no rows", expected="SQuAD's JSON, a list of objects, or one JSON object a line")
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
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:  # damaged pages are an OSError
        raise UserError(f"{source} is not a Parquet file: {error}", fix="write the file again") from None
    if not table.num_rows:
        raise UserError(f"{source} has columns but no rows", expected="at least one row")
    described = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    columns = {name: _values(table.column(name), name, source) for name in table.column_names}
    return Table(name_classes(columns, described.get("info", {}).get("features", {})), source)


def _values(column: Any, name: str, source: str) -> list[Any]:
    """A Parquet column as Python's values; its strings are promised to be UTF-8, but nothing enforces it."""
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        for row, value in enumerate(column, 1):
            try:
                value.as_py()
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{source}, row {row} is not UTF-8 text: column {name!r} holds the byte 0x{error.object[error.start]:02X}",
                    expected="UTF-8",
                    fix="correct the program that wrote the file",
                ) from None
        raise
    return values


def name_classes(columns: Mapping[str, list[Any]], features: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Puts class names in the place of class ids.

    Args:
        columns: Values by column name.
        features: The columns' description as `datasets.Features.to_dict` gives it. A negative id means that there is no
            label; it stays as it is.
    """
    named = dict(columns)
    for column, feature in features.items():
        listed = isinstance(feature, Mapping) and isinstance(feature.get("feature"), Mapping)
        names = (feature["feature"] if listed else feature).get("names") if isinstance(feature, Mapping) else None
        if not names or column not in named:
            continue
        by_id = dict(enumerate(names))
        named[column] = [
            [by_id.get(item, item) for item in value] if isinstance(value, list) else by_id.get(value, value)
            for value in named[column]
        ]
    return named
