"""Files of plain text -> documents, part by part: neither a file nor a document is ever whole in memory.

`.txt`: empty lines part documents where there are any between lines of text, else every line is one. `.jsonl` and `.parquet`:
every row is one, its text in a column that is named or found. Each may be packed with gzip, and a folder of them may be given.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from stillhouse.data.columns import TEXTS, first_column
from stillhouse.data.readers.formats import stem_and_format
from stillhouse.data.readers.table import Table, check_fetched, check_surrogates, not_parquet, not_utf8, not_utf8_cell
from stillhouse.documents import read_json
from stillhouse.errors import UserError
from stillhouse.files import given_path

OPTION = "--corpus"
LONGEST = 2**15  # characters that are tokenized as one: a tokenizer's own notes of a text take hundreds of bytes a character
_BLOCK = 2**18  # bytes read at once
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CONTROLS = bytes({*range(32), 127} - set(b"\b\t\n\f\r\v\x1b"))
_MOST_CONTROLS = 0.05  # share of a block; text has hardly any
_LOOKED_AT = 20  # records among which a column is found


class Part(NamedTuple):
    """A part of a document; the next one goes on with it, or begins another.

    Attributes:
        text: Not empty.
        begins: Whether a document begins here.
    """

    text: str
    begins: bool


@dataclass(frozen=True)
class TextFile:
    """A file of a corpus.

    Attributes:
        path: Where it is.
        suffix: Says its format, one of `READERS`.
    """

    path: Path
    suffix: str

    @property
    def is_packed(self) -> bool:
        return self.path.suffix.casefold() == ".gz"

    def state(self) -> tuple[int, int]:
        """Size and time: another state is another file."""
        found = self.path.stat()
        return found.st_size, found.st_mtime_ns

    def digest(self) -> str:
        """SHA-256 of its content, and how that is read.

        Raises:
            UserError: It cannot be read, or is not there but only what Git LFS knows of it.
        """
        with _readable(self.path), self.path.open("rb") as handle:
            check_fetched(self.path, handle.read(100))
            handle.seek(0)
            content = hashlib.file_digest(handle, "sha256").hexdigest()
        return f"{self.suffix}{'.gz' if self.is_packed else ''}:{content}"

    def text_bytes(self) -> int:
        """About how many bytes of text it holds."""
        return self.path.stat().st_size * (3 if self.is_packed or self.suffix == ".parquet" else 1)


def find_files(given: str | Path, say: Callable[[str], None] = lambda _: None) -> list[TextFile]:
    """The file of that name, or all files with text below the folder of that name, in the order of their names.

    Args:
        given: The name.
        say: Told how many files of a folder are left out.

    Raises:
        UserError: There is none, or its format is none of those that are read.
    """
    path = given_path(given, OPTION)
    if path.is_dir():
        below = _below(path)
        found = [TextFile(file, suffix) for file in below if (suffix := stem_and_format(file)[1]) in READERS]
        if not found:
            raise UserError(
                f"there is no file with text in the folder {path}",
                expected=f"names ending in {_endings()}",
                fix="rename the files, or name another folder",
            )
        if others := len(below) - len(found):
            say(f"  {path}: {others:,} of {len(below):,} files are left out, for their names say no format of text")
        return found
    if not path.exists():
        raise UserError(
            f"{OPTION}: there is no file or folder {str(given)!r}",
            expected=f"a file ({_endings()}), a folder of them, or hub:owner/name",
            fix="check the path",
        )
    suffix = stem_and_format(path)[1]
    if suffix not in READERS:
        raise UserError(f"{path} has no known format of plain text", expected=f"a name ending in {_endings()}")
    return [TextFile(path, suffix)]


def _endings() -> str:
    return f"{', '.join(READERS)}; each also with .gz"


def _below(folder: Path) -> list[Path]:
    """Ordinary files below a folder that are not hidden."""

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}", expected="a readable folder") from None

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place) / name for name in names if not name.startswith(".")]
    return sorted(file for file in found if file.is_file())


def read_file(file: TextFile, column: str | None = None) -> Iterator[Part]:
    """The documents of a file.

    Args:
        file: What to read.
        column: Which of its columns holds the text, where it has columns; None = found.

    Raises:
        UserError: It is no UTF-8 text, breaks its format, or has no such column.
    """
    return in_parts(READERS[file.suffix](file, column))


def in_parts(parts: Iterable[Part]) -> Iterator[Part]:
    """The same documents in parts of `LONGEST` characters at most, cut before white space where that is not far.

    Where a document is cut follows from its text alone: not from how it came.
    """
    rest, begins = "", True
    for text, starts in parts:
        if starts:
            if rest:
                yield Part(rest, begins)
            rest, begins = "", True
        rest += text
        while len(rest) > LONGEST:
            place = max(rest.rfind(" ", LONGEST // 2, LONGEST), rest.rfind("\n", LONGEST // 2, LONGEST))
            place = LONGEST if place < 0 else place
            yield Part(rest[:place], begins)
            rest, begins = rest[place:], False
    if rest:
        yield Part(rest, begins)


# Text.


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is not a whole gzip file: {error}", fix="copy the file again") from None
    except FileNotFoundError:
        raise UserError(f"there is no file {path}", fix="check the path") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}", expected="a readable file") from None


@contextmanager
def _opened(file: TextFile) -> Iterator[IO[bytes]]:
    with _readable(file.path), gzip.open(file.path) if file.is_packed else file.path.open("rb") as handle:
        yield handle  # type: ignore[misc]


def _characters(file: TextFile) -> Iterator[str]:
    """The text of a file, with or without a byte order mark, a block at a time."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    beginning, lines = b"", 0
    with _opened(file) as handle:
        while True:
            block = handle.read(_BLOCK)
            beginning = beginning or block[:8]
            is_binary = len(block.translate(None, _CONTROLS)) < (1 - _MOST_CONTROLS) * len(block)
            if is_binary and not beginning.startswith(_UTF16):
                raise UserError(
                    f"{file.path} is not UTF-8 text: it has more control characters, or zero bytes, than text has",
                    expected="UTF-8",
                    fix="name a file of text; one in UTF-16 can be converted with `iconv -f UTF-16LE -t UTF-8`",
                )
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise not_utf8(error, str(file.path), beginning, before=lines) from None
            yield text
            lines += block.count(b"\n")
            if not block:
                return


def _lines(file: TextFile) -> Iterator[tuple[str, bool]]:
    """Lines, ended by LF or CRLF; a very long one comes in parts. With each whether the line ends there."""
    rest = ""
    for text in _characters(file):
        *whole, rest = (rest + text).split("\n")
        for line in whole:
            yield line.removesuffix("\r"), True
        if len(rest) > _BLOCK:
            yield rest, False
            rest = ""
    if rest:
        yield rest.removesuffix("\r"), True


def _read_txt(file: TextFile, column: str | None) -> Iterator[Part]:  # noqa: ARG001
    are_parted = _has_empty_lines(file)
    begins = at_start = True  # of a document, of a line
    for text, ends in _lines(file):
        is_empty = at_start and ends and not text.strip()
        if not is_empty and text:
            yield Part(text if begins or not at_start else f"\n{text}", begins)
            begins = False
        begins = begins or is_empty or (ends and not are_parted)
        at_start = ends


def _has_empty_lines(file: TextFile) -> bool:
    """Whether empty lines stand between lines of text; reads the whole file, so that what is wrong in it is found first."""
    has_text = has_gap = is_parted = False
    at_start = True
    for text, ends in _lines(file):
        if text.strip():
            is_parted |= has_gap
            has_text = True
        elif at_start and ends:
            has_gap |= has_text
        at_start = ends
    return is_parted


# Columns.


def _read_jsonl(file: TextFile, column: str | None) -> Iterator[Part]:
    records = _records(file)
    head = list(islice(records, _LOOKED_AT))
    if not head:
        raise UserError(f"{file.path} is empty", expected="a file with at least one row")
    column = column or found_column([record for _, record in head], str(file.path))
    names: dict[str, None] = {}
    is_there = False
    for where, record in chain(head, records):
        is_there = is_there or column in record
        if not is_there:
            names |= dict.fromkeys(record)
        if text := text_of(record.get(column), where):
            yield Part(text, True)
    if not is_there:
        Table({name: [] for name in names}, str(file.path)).column(column)


def _records(file: TextFile) -> Iterator[tuple[str, dict[str, Any]]]:
    number, parts = 1, []
    for text, ends in _lines(file):
        parts.append(text)
        if not ends:
            continue
        line = "".join(parts)
        parts = []
        if line.strip():
            record = read_json(line, str(file.path), line=number, expected="one JSON object on each line")
            where = f"{file.path}, line {number}"
            if not isinstance(record, dict):
                raise UserError(f"{where} is {type(record).__name__}, not an object", expected="an object: {...}")
            yield where, record
        number += 1


def _read_parquet(file: TextFile, column: str | None) -> Iterator[Part]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = str(file.path)
    row = 0
    try:
        with _opened(file) as handle:
            table = pq.ParquetFile(handle)
            names = table.schema_arrow.names
            example = {field.name: "" for field in table.schema_arrow if _is_text(field.type)}
            column = column or found_column([example], source)
            Table({name: [] for name in names}, source).column(column)
            for batch in table.iter_batches(batch_size=256, columns=[column]):
                for value in batch.column(0):
                    row += 1
                    if text := text_of(value.as_py(), f"{source}, row {row}"):
                        yield Part(text, True)
    except UnicodeDecodeError as error:
        raise not_utf8_cell(error, source, row, column) from None
    except pa.ArrowException as error:
        raise not_parquet(error, source) from None


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return any(is_one(kind) for is_one in (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary))


def found_column(records: Sequence[dict[str, Any]], source: str) -> str:
    """The column that holds text: by a usual name, or the only one of strings.

    Raises:
        UserError: None is, or several may be.
    """
    names = dict.fromkeys(name for record in records for name in record)
    strings = [name for name in names if any(isinstance(record.get(name), str) for record in records)]
    usual = first_column(Table({name: [] for name in strings}, source), TEXTS)
    if usual is not None or len(strings) == 1:
        return usual or strings[0]
    raise UserError(
        f"{source} has no column that is known as the text; its columns are {', '.join(names)}",
        expected=f"a column such as {', '.join(TEXTS[1:4])}",
        fix="name the column with --set corpus.text=NAME",
    )


def text_of(value: Any, where: str) -> str:
    """One text; empty where there is none.

    Raises:
        UserError: It is not a text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(
            f"{where}: the text is a {type(value).__name__}, not a string",
            expected="text",
            fix="name the column with --set corpus.text=NAME",
        )
    return check_surrogates(value, where, "text")


READERS: dict[str, Callable[[TextFile, str | None], Iterator[Part]]] = {
    ".txt": _read_txt,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
