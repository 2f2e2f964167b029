"""A table: what every reader gives, and the two steps that all text formats share (bytes, UTF-8)."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillhouse.errors import UserError, cut, listed, nearest

_LFS = b"version https://git-lfs.github.com/spec/"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MARK = "\ufeff"
_LOOKED_AT = 1000  # bytes


@dataclass(frozen=True)
class Table:
    """Named columns of equal length.

    Attributes:
        columns: Values by column name; a missing value is None (or an empty string where the format knows no other).
        source: Where the rows come from, for messages.
        lines: The line on which each row starts; empty where the format has no lines.
        notes: What was decided in reading them that people have to know.
        parsed: Columns whose cells have been asked for as lists, see `literal_values`.
    """

    columns: dict[str, list[Any]]
    source: str
    lines: Sequence[int] = ()
    notes: Sequence[str] = ()
    parsed: dict[str, list[Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def where(self, row: int) -> str:
        """A row's place in words: its line in the file, or its number counted from 1."""
        return f"{self.source}, line {self.lines[row]}" if self.lines else f"{self.source}, row {row + 1}"

    def column(self, name: str) -> list[Any]:
        """The values of a column.

        Raises:
            UserError: If there is no such column; the message names those that there are.
        """
        if name not in self.columns:
            close = nearest(name, self.columns)
            raise UserError(
                f"{self.source} has no column {name!r}",
                expected=f"one of {listed(self.columns)}",
                fix=f"did you mean {close!r}?" if close else "name one of these columns",
            )
        return self.columns[name]


def check_surrogates(value: str, where: str, what: str) -> str:
    """The same string; JSON can spell halves of surrogate pairs, which no file, tokenizer or digest takes.

    Raises:
        UserError: It holds one.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where}: the {what} holds half of a surrogate pair, {value[error.start]!a}",
            expected="text that can be written as UTF-8",
            fix="correct the program that wrote the file",
        ) from None
    return value


def check_fetched(path: Path, beginning: bytes) -> None:
    """Makes sure that a file is there and not only what Git LFS knows of it.

    Raises:
        UserError: It isn't.
    """
    if beginning.startswith(_LFS):
        raise UserError(
            f"{path} is what Git LFS left in the place of a file", expected="the file itself", fix="`git lfs pull` fetches it"
        )


def read_bytes(path: Path) -> bytes:
    """The file's content, unpacked where its name ends in `.gz`."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device may wait for ever
            raise UserError(f"{path} is no ordinary file", expected="a file", fix="write what it gives into a file")
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no file {path}", fix="check the path") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", expected="a readable file") from None
    check_fetched(path, data)
    if path.suffix.casefold() == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path} is not a whole gzip file: {error}", fix="copy the file again") from None
    if not data.removeprefix(codecs.BOM_UTF8).strip():
        raise UserError(f"{path} is empty", expected="a file with at least one row")
    return data


def decode_utf8(data: bytes, source: str) -> str:
    """UTF-8 text, with or without a byte order mark."""
    beginning = data[:_LOOKED_AT]
    if beginning.count(0) > 0.1 * len(beginning) and not data.startswith(_UTF16):
        encoding = "UTF-16LE" if beginning[1::2].count(0) > beginning[::2].count(0) else "UTF-16BE"
        raise UserError(
            f"{source} is not UTF-8 text: it has more zero bytes than text has",
            expected="UTF-8",
            fix=f"convert the file, for example with `iconv -f {encoding} -t UTF-8`",
        )
    try:
        return data.decode("utf-8").lstrip(_MARK)  # a second mark is left where a program added its own
    except UnicodeDecodeError as error:
        raise not_utf8(error, source, data, before=0) from None


def not_utf8(error: UnicodeDecodeError, source: str, beginning: bytes, *, before: int) -> UserError:
    """What to say of bytes that are no UTF-8.

    Args:
        error: Of the part that was decoded.
        source: Where they come from.
        beginning: Of the file: its first bytes may tell the encoding.
        before: Lines before that part.
    """
    encoding = "UTF-16" if beginning.startswith(_UTF16) else "LATIN1"
    line = before + error.object.count(b"\n", 0, error.start) + 1
    return UserError(
        f"{source} is not UTF-8 text: the row on line {line} holds the byte 0x{error.object[error.start]:02X}",
        expected="UTF-8",
        fix=f"convert the file, for example with `iconv -f {encoding} -t UTF-8`",
    )


def not_utf8_cell(error: UnicodeDecodeError, source: str, row: int, column: str | None) -> UserError:
    """What to say of a Parquet cell that is no UTF-8: strings are promised to be, but nothing enforces it."""
    return UserError(
        f"{source}, row {row} is not UTF-8 text: column {column!r} holds the byte 0x{error.object[error.start]:02X}",
        expected="UTF-8",
        fix="correct the program that wrote the file",
    )


def not_parquet(error: Exception, source: str) -> UserError:
    """What to say of a file that is no Parquet, or a damaged one."""
    return UserError(f"{source} is not a Parquet file: {cut(str(error))}", fix="write the file again")


def split_lines(text: str) -> list[str]:
    """Lines ended by LF or CRLF only: other separators that `str.splitlines` knows occur inside of real sentences."""
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")
