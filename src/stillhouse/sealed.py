"""Records that carry checksums, their own and those of the files beside them: a flipped bit is never another result."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stillhouse.documents import DocumentError, read_json
from stillhouse.errors import UserError
from stillhouse.files import checksum_of, write_json

CHECKSUMS = "checksums"  # by the name of a file, as seen from the record; that of the record leaves itself out


def write_sealed(path: Path, content: Mapping[str, Any], files: Iterable[Path] = ()) -> None:
    """Writes a record as JSON.

    Args:
        path: Of the record.
        content: What it says, without checksums.
        files: Those below its folder that belong to it; they are there.
    """
    beside = {file.relative_to(path.parent).as_posix(): checksum_of(file) for file in files}
    write_json(path, {**content, CHECKSUMS: {path.name: _seal({**content, CHECKSUMS: beside}), **beside}})


def read_sealed(path: Path, *, expected: str = "", fix: str = "") -> dict[str, Any]:
    """A record as it was written; one without checksums, of an older version, is taken at its word.

    Raises:
        UserError: It cannot be read, or is damaged.
    """
    try:
        content = read_json(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", expected=expected, fix=fix) from error
    except DocumentError as error:
        raise damaged_file(path, error.reason, fix) from error
    if not isinstance(content, dict):
        raise damaged_file(path, "it holds no JSON object", fix)
    if CHECKSUMS in content:
        sums = content[CHECKSUMS]
        beside = {name: value for name, value in sums.items() if name != path.name} if isinstance(sums, dict) else {}
        if not isinstance(sums, dict) or sums.get(path.name) != _seal({**content, CHECKSUMS: beside}):
            raise damaged_file(path, "its checksum does not agree", fix)
    return content


def damaged_beside(record: Path, content: Mapping[str, Any], name: str) -> Path | None:
    """The first file of a record that is not as it was written; one that is missing from a folder that is there is such, too.

    Args:
        record: Path of the record.
        content: What it says.
        name: Of a file, or of a folder of files, beside it.
    """
    for file, value in content.get(CHECKSUMS, {}).items():
        path: Path = record.parent / file
        if file == name or file.startswith(f"{name}/"):
            is_lost = not path.is_file() and (record.parent / name).is_dir()
            if is_lost or (path.is_file() and checksum_of(path) != value):
                return path
    return None


def damaged_file(path: Path, reason: str, fix: str) -> UserError:
    """The error for a file that is not as Stillhouse wrote it."""
    return UserError(f"{path} is damaged: {reason}", expected="the file as it was written", fix=fix)


def _seal(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
