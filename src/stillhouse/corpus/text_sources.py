"""What `--corpus` names -> sources of documents, each with a digest of its content: files, folders, data sets of the hub."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from stillhouse.corpus.text_files import OPTION, Part, TextFile, find_files, found_column, in_parts, read_file, text_of
from stillhouse.data.readers.formats import stem_and_format
from stillhouse.data.readers.table import Table
from stillhouse.errors import UserError
from stillhouse.files import cache_folder, write_text
from stillhouse.machine.network import is_reachable

CORPORA = "corpora"  # in the cache
HUB = "hub:"
_CHECKED_EVERY = 1000  # parts
_LOOKED_AT = 20  # rows among which a column is found


@dataclass(frozen=True)
class TextSource:
    """One source of a corpus.

    Attributes:
        name: Short, for folders and reports.
        path: Where it is, as messages say it.
        digest: Of its content, whatever its name.
        text_bytes: About how many bytes of text it holds; 0 where nobody knows.
        read: Its documents, each time it is called.
    """

    name: str
    path: str
    digest: str
    text_bytes: int
    read: Callable[[], Iterator[Part]]


def open_sources(
    given: Sequence[str | Path], column: str | None, say: Callable[[str], None] = lambda _: None
) -> list[TextSource]:
    """Finds the sources and reads enough of them to know them again.

    Args:
        given: Files, folders, `hub:owner/name[:config]`.
        column: Which column of theirs holds the text; None = found.
        say: Told what is left out.

    Raises:
        UserError: One is not there, or has no known format.
    """
    if not given or not all(str(one).strip() for one in given):
        raise UserError(f"{OPTION} names nothing", expected="a file, a folder, or hub:owner/name")
    sources: list[TextSource] = []
    for one in given:
        if isinstance(one, str) and one.startswith(HUB):
            sources.append(_hub_source(one, column))
            continue
        files = find_files(one, say)
        name = Path(one).resolve().name if len(files) > 1 or Path(one).is_dir() else stem_and_format(files[0].path)[0]
        sources += [_file_source(file, name, column) for file in files]
    return _without_copies(sources, say)


def _without_copies(sources: Sequence[TextSource], say: Callable[[str], None]) -> list[TextSource]:
    """Of files with the same content the first alone: of the others, what is held out would be trained on."""
    first: dict[str, TextSource] = {}
    for source in sources:
        if first.setdefault(source.digest, source) is not source:
            say(f"  {source.path} is left out: it has the same content as {first[source.digest].path}")
    return list(first.values())


# Of the files that this process has read through: every run of a comparison asks for the same ones.
_digests: dict[tuple[Path, str, tuple[int, int]], str] = {}


def _file_source(file: TextFile, name: str, column: str | None) -> TextSource:
    state = file.state()
    known = file.path.resolve(), file.suffix, state
    if known not in _digests:
        _digests[known] = file.digest()

    def check() -> None:
        if file.state() != state:
            raise UserError(f"{file.path} was written to while it was read", fix="wait until it is finished, and try again")

    def read() -> Iterator[Part]:
        for number, part in enumerate(read_file(file, column), 1):
            yield part
            if number % _CHECKED_EVERY == 0:  # a file that grows as fast as it is read would never end
                check()
        check()

    return TextSource(name, str(file.path), _digests[known], file.text_bytes(), read)


# The hub.


def _hub_source(given: str, column: str | None) -> TextSource:
    name, _, config = given.removeprefix(HUB).partition(":")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise UserError(f"{given!r} names no data set of the hub", expected="hub:owner/name or hub:owner/name:config")
    revision = _revision(name, given)
    read = partial(_read_hub, given, name, config or None, revision, column)
    return TextSource(name.rpartition("/")[2], given, f"{HUB}{name}:{config}@{revision}", 0, read)


def _revision(name: str, given: str) -> str:
    """The commit of a data set: its content, as far as the hub goes; without a connection the one that was last seen.

    Raises:
        UserError: The hub cannot be reached, or has no such data set.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    seen = cache_folder(CORPORA) / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.revision"
    if is_reachable():
        try:
            revision = str(HfApi().dataset_info(name).sha)
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise _refused(given, error) from None
        with suppress(UserError):  # it is of use another time; whether the cache can be written shows soon enough
            write_text(seen, revision)
        return revision
    with suppress(OSError, UnicodeDecodeError):
        return seen.read_text(encoding="utf-8")
    raise _unreachable(given)


def _unreachable(given: str) -> UserError:
    return UserError(
        f"the Hugging Face hub cannot be reached (or HF_HUB_OFFLINE is set), and {given} is read from there",
        expected="a connection",
        fix=f"give {OPTION} a local file or folder, or try again with a connection",
    )


def _refused(given: str, error: Exception) -> UserError:
    return UserError(
        f"the hub's data set {given.removeprefix(HUB)} cannot be loaded: {str(error).partition(chr(10))[0]}",
        expected="hub:owner/name or hub:owner/name:config",
    )


def _read_hub(given: str, name: str, config: str | None, revision: str, column: str | None) -> Iterator[Part]:
    """The training rows of a data set as they come from the hub: nothing of it is kept but what is tokenized."""
    if not is_reachable():
        raise _unreachable(given)
    return in_parts(_texts(_streamed(given, name, config, revision), given, column))


def _streamed(given: str, name: str, config: str | None, revision: str) -> Iterator[dict[str, Any]]:
    import datasets

    try:
        yield from datasets.load_dataset(name, config, split="train", streaming=True, revision=revision)
    except Exception as error:  # those who speak to the network each raise errors of their own kinds
        raise _refused(given, error) from None


def _texts(rows: Iterator[dict[str, Any]], source: str, column: str | None) -> Iterator[Part]:
    head = list(islice(rows, _LOOKED_AT))
    if not head:
        return
    column = column or found_column(head, source)
    Table({name: [] for name in head[0]}, source).column(column)
    for row, record in enumerate(chain(head, rows), 1):
        if text := text_of(record.get(column), f"{source}, row {row}"):
            yield Part(text, True)
