"""A data file of any known format -> Table. The name says the format, or else the content does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stillhouse.data.readers.conll import looks_like_conll, parse_conll
from stillhouse.data.readers.delimited import parse_csv, parse_tsv
from stillhouse.data.readers.records import parse_json, parse_jsonl, parse_parquet
from stillhouse.data.readers.table import Table, decode_utf8, read_bytes, split_lines
from stillhouse.errors import UserError


def parse_txt(text: str, source: str) -> Table:
    """CoNLL columns if the lines end in tags; else one text a line, in the column `text`."""
    if looks_like_conll(text):
        return parse_conll(text, source)
    rows = [(number, line) for number, line in enumerate(map(str.strip, split_lines(text)), 1) if line]
    return Table({"text": [line for _, line in rows]}, source, [number for number, _ in rows])


PARSERS: dict[str, Callable[[str, str], Table]] = {
    ".csv": parse_csv,
    ".tsv": parse_tsv,
    ".jsonl": parse_jsonl,
    ".ndjson": parse_jsonl,
    ".json": parse_json,
    ".conll": parse_conll,
    ".bio": parse_conll,
    ".iob": parse_conll,
    ".iob2": parse_conll,
    ".txt": parse_txt,
}
SUFFIXES = (*PARSERS, ".parquet")


def stem_and_format(path: Path) -> tuple[str, str]:
    """A file's name without the suffixes that say how to read it, and the one that says its format (lower case)."""
    name = path.name[: -len(".gz")] if path.suffix.casefold() == ".gz" else path.name
    suffix = Path(name).suffix
    return name[: len(name) - len(suffix)], suffix.casefold()


def read_table(path: Path) -> Table:
    """Reads a data file, packed with gzip or not.

    Raises:
        UserError: If there is no such file, its format is unknown, or its content breaks the format (naming the line).
    """
    _, suffix = stem_and_format(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder", expected="a file", fix="name the file in it")
    if path.exists() and suffix not in SUFFIXES:
        raise UserError(f"{path} has no known format", expected=f"a name ending in {', '.join(SUFFIXES)}; each also with .gz")
    data = read_bytes(path)
    source = str(path)
    return parse_parquet(data, source) if suffix == ".parquet" else PARSERS[suffix](decode_utf8(data, source), source)
