"""A corpus on disk: prepared once from its text, and found again by the content of that; whole or absent."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.console import OnProgress
from stillhouse.corpus.corpus import Corpus
from stillhouse.corpus.packing import (
    LEAST_DOCUMENTS,
    count_blocks,
    held_out_blocks,
    held_out_documents,
    packed,
    runs_of,
)
from stillhouse.corpus.text_sources import CORPORA, TextSource, open_sources
from stillhouse.corpus.tokens import Array, Vocabulary, default_workers, id_type, tokenized, vocabulary_of, write_tokens
from stillhouse.data.ragged import Ragged
from stillhouse.documents import DocumentError, read_json
from stillhouse.errors import UserError
from stillhouse.files import cache_folder, free_space, is_ours, not_ours, sweep, write_folder, write_json

FORMAT = 1
FILES = HEADER, IDS, OFFSETS, COUNTS = "header.json", "ids.bin", "offsets.bin", "counts.bin"
CORPUS_MARK = "corpus"  # by which a folder is known to be ours
PLACE = "STILLHOUSE_CACHE"
LEAST_ROOM = 8  # tokens of text in a block
_BYTES_A_TOKEN = 3  # of text, at the least that is usual
_AT_ONCE = 2**22  # ids


@dataclass(frozen=True)
class KeptCorpus:
    """A corpus that lies on disk.

    Attributes:
        name: Short name, for folders and reports.
        folder: Where it is.
        header: What it says of itself: `documents`, `held_out_documents` (None where blocks are held out), and of the
            parts `train` and `held_out` each `blocks`, `tokens` and `digest`.
        vocabulary: Of its ids.
    """

    name: str
    folder: Path
    header: dict[str, Any]
    vocabulary: Vocabulary

    @property
    def described(self) -> str:
        """What it is, in words."""
        documents, held_out = self.header["documents"], self.header["held_out_documents"]
        how = "runs of blocks, for documents are few" if held_out is None else _counted(held_out)
        return (
            f"{self.name}: {_counted(documents)}; {self.header['train']['blocks']:,} blocks of {self.header['block_length']} "
            f"tokens to train on, {self.header['held_out']['blocks']:,} held out ({how})"
        )

    def train(self) -> Corpus:
        """The blocks to train on."""
        return self._part(0)

    def held_out(self) -> Corpus:
        """The blocks that are not trained on, for selection and validation."""
        return self._part(1)

    def _part(self, part: int) -> Corpus:
        first = self.header["train"]["blocks"]
        offsets = _mapped(self.folder / OFFSETS, np.int64)
        ids, border = _mapped(self.folder / IDS, self.vocabulary.dtype), int(offsets[first])
        blocks = Ragged(ids[border:], offsets[first:] - border) if part else Ragged(ids[:border], offsets[: first + 1])
        counts = np.fromfile(self.folder / COUNTS, np.int64).reshape(2, -1)
        digest = self.header[("train", "held_out")[part]]["digest"]
        return Corpus(blocks, self.vocabulary, digest, counts[part], counts[0])


def _counted(documents: int) -> str:
    return f"{documents:,} document{'' if documents == 1 else 's'}"


def prepare_corpus(
    sources: Sequence[str | Path],
    tokenizer: Any,
    *,
    text: str | None = None,
    block_length: int = 128,
    heldout_share: float = 0.01,
    seed: int = 0,
    workers: int | None = None,
    say: Callable[[str], None] = lambda _: None,
    report: OnProgress = lambda *_: None,
) -> KeptCorpus:
    """The corpus of these sources, found again or prepared.

    It is kept in the user's cache under the content of its sources, whatever their names, the tokenizer and the options below;
    not under the number of workers, for the blocks are the same with any.

    Args:
        sources: Files, folders, or `hub:owner/name[:config]`.
        tokenizer: A fast tokenizer of transformers.
        text: Column of the text, where the sources have columns; None = found.
        block_length: In tokens, special ones included.
        heldout_share: Share of the documents that is held out; where these are few, of the blocks.
        seed: Of the choice of these.
        workers: Threads; None = one for each processor.
        say: Told what people have to know.
        report: Told how far the preparation is, in thousands of characters.

    Raises:
        UserError: There is no such text, too little of it, or no room for it.
    """
    vocabulary = vocabulary_of(tokenizer)
    least = LEAST_ROOM + len(vocabulary.first) + len(vocabulary.last)
    if block_length < least:
        raise UserError(
            f"blocks of {block_length} tokens are too short",
            expected=f"at least {least}",
            fix=f"--set corpus.block_length={least}, or longer",
        )
    opened = open_sources(sources, text, say)
    key = [FORMAT, [source.digest for source in opened], text, vocabulary.digest, block_length, heldout_share, seed]
    root = corpora_root()
    folder = root / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    name = opened[0].name
    header = _open(folder, say)
    if header is None:
        sweep(root)
        _require_space(root, opened, vocabulary)
        preparation = _Preparation(opened, tokenizer, vocabulary, block_length, heldout_share, seed, workers, report)
        write_folder(folder, preparation.write, place=PLACE, replaces=False)
        header = _open(folder, say)
        assert header is not None
    return KeptCorpus(name, folder, header, vocabulary)


def _require_space(root: Path, sources: Sequence[TextSource], vocabulary: Vocabulary) -> None:
    """Ids are written twice: as they come, and in blocks."""
    needed = 2 * sum(source.text_bytes for source in sources) * np.dtype(vocabulary.dtype).itemsize // _BYTES_A_TOKEN
    free = free_space(root)
    if needed > free:
        raise UserError(
            f"no room for the corpus in {root}: it takes about {needed / 2**30:,.1f} GiB, {free / 2**30:,.1f} GiB are free",
            expected="room for its tokens, twice",
            fix=f"free some, or set {PLACE} to a folder on another disk",
        )


def corpora_root() -> Path:
    """Where corpora are kept."""
    return cache_folder(CORPORA)


def corpora_in(root: Path) -> list[Path]:
    """The folders of the corpora of ours that are kept in a folder."""
    return [header.parent for header in sorted(root.glob(f"*/{HEADER}")) if is_ours(header.parent) and is_ours(header)]


def header_of(folder: Path) -> dict[str, Any]:
    """What a kept corpus says of itself.

    Raises:
        OSError: It cannot be read.
        DocumentError: It is no JSON.
    """
    header: dict[str, Any] = read_json((folder / HEADER).read_bytes(), HEADER)
    return header


def corpus_damage(folder: Path) -> str:
    """In what a kept corpus, which is read through, is not as it was written; "" for nothing.

    Raises:
        OSError: It cannot be read, or is not there.
    """
    try:
        _verify(folder, header_of(folder))
    except (FileNotFoundError, NotADirectoryError):
        if not folder.exists():
            raise
        return "a file is missing"
    except (DocumentError, ValueError, KeyError, TypeError, IndexError, EOFError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""


# Those that this process has read through, by the times of their files.
_verified: set[tuple[Path, tuple[int, ...]]] = set()


def _open(folder: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The header of a kept corpus that is as it was written; a damaged one is deleted.

    Raises:
        UserError: What is there is another user's, or a link.
    """
    try:
        for path in (folder, *(folder / name for name in FILES)):
            if reason := not_ours(path):
                raise UserError(
                    f"{reason}, where a corpus is kept",
                    expected="a folder that nobody else writes",
                    fix=f"set {PLACE} to a folder of your own",
                )
        state = folder, tuple((folder / name).stat().st_mtime_ns for name in FILES)
        problem = "" if state in _verified else corpus_damage(folder)
        if not problem:
            _verified.add(state)
            with suppress(OSError):
                os.utime(folder)  # when it was last used
            return header_of(folder)
    except (FileNotFoundError, NotADirectoryError):
        if not folder.exists():
            return None
        problem = "a file is missing"
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}", fix=f"set {PLACE} to another folder") from None
    say(f"  a kept corpus is damaged and is prepared again: {folder}: {problem}")
    with suppress(OSError):
        shutil.rmtree(folder)
    return None


def _verify(folder: Path, header: dict[str, Any]) -> None:
    if header["checksum"] != _checksum(header):
        raise ValueError("the checksum of its header does not agree")
    counts = np.fromfile(folder / COUNTS, np.int64).reshape(2, -1)
    ids, offsets = _mapped(folder / IDS, id_type(counts.shape[1])), _mapped(folder / OFFSETS, np.int64)
    start, lengths = 0, np.diff(offsets)
    if offsets[0] != 0 or offsets[-1] != len(ids) or lengths.min(initial=1) < 1:
        raise ValueError("its blocks do not lie one after the other")
    for number, part in enumerate(("train", "held_out")):
        end = start + header[part]["blocks"]
        digest = hashlib.sha256()
        for at in range(int(offsets[start]), int(offsets[end]), _AT_ONCE):
            digest.update(ids[at : min(at + _AT_ONCE, int(offsets[end]))].tobytes())
        if _finished(digest, lengths[start:end], counts[number]) != header[part]["digest"]:
            raise ValueError("its digest does not agree")
        start = end


def _finished(digest: Any, lengths: Array, counts: Array) -> str:
    """The digest of a part whose ids have been told: the lengths of its blocks, too, and how often it has each id."""
    digest.update(np.ascontiguousarray(lengths, np.int64).tobytes())
    digest.update(np.ascontiguousarray(counts, np.int64).tobytes())
    return str(digest.hexdigest())


def _checksum(header: dict[str, Any]) -> str:
    """Of all that a header says but this."""
    content = {name: value for name, value in header.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _mapped(path: Path, dtype: Any) -> Array:
    return np.memmap(path, dtype=dtype, mode="r").view(np.ndarray)


@dataclass(frozen=True)
class _Preparation:
    """From sources to the files of a kept corpus."""

    sources: Sequence[TextSource]
    tokenizer: Any
    vocabulary: Vocabulary
    block_length: int
    share: float
    seed: int
    workers: int | None
    report: OnProgress

    def write(self, folder: Path) -> None:
        """Fills a folder."""
        unpacked = folder / "unpacked.bin"
        parts = (part for source in self.sources for part in source.read())
        portions = tokenized(self._told(parts), self.tokenizer, self.vocabulary, self.workers or default_workers())
        offsets = write_tokens(unpacked, portions, self.vocabulary.border)
        blocks = count_blocks(offsets, self.vocabulary, self.block_length)
        self._require_text(len(offsets) - 1, blocks, int(offsets[-1]) - len(offsets) + 1)
        train, held_out, documents = self._parts(_mapped(unpacked, self.vocabulary.dtype), offsets, blocks)
        header: dict[str, Any] = {
            "stillhouse": CORPUS_MARK,
            "source": [source.name for source in self.sources],
            "block_length": self.block_length,
            "documents": len(offsets) - 1,
            "held_out_documents": documents,
        }
        lengths, counts = [], []
        with (folder / IDS).open("wb") as file:
            for name, part in (("train", train), ("held_out", held_out)):
                digest, own, count = hashlib.sha256(), [np.empty(0, np.int64)], np.zeros(self.vocabulary.size, np.int64)
                for ids, some in part:
                    file.write(ids.tobytes())
                    digest.update(ids.tobytes())
                    count += np.bincount(ids, minlength=len(count))
                    own.append(some)
                lengths.append(np.concatenate(own))
                counts.append(count)
                about = {"blocks": len(lengths[-1]), "tokens": int(lengths[-1].sum())}
                header[name] = about | {"digest": _finished(digest, lengths[-1], count)}
        offsets = np.concatenate(([0], np.cumsum(np.concatenate(lengths)))).astype(np.int64)
        (folder / OFFSETS).write_bytes(offsets.tobytes())  # `tofile` does not say what the system refuses
        (folder / COUNTS).write_bytes(np.concatenate(counts).tobytes())
        unpacked.unlink()
        write_json(folder / HEADER, header | {"checksum": _checksum(header)})

    def _told(self, parts: Iterable[Any]) -> Iterator[Any]:
        of = max(1, sum(source.text_bytes for source in self.sources) // 1000)
        done = 0
        for part in parts:
            done += len(part.text)
            self.report(min(done // 1000, of), of, "corpus")
            yield part

    def _require_text(self, documents: int, blocks: int, tokens: int) -> None:
        names = ", ".join(source.name for source in self.sources)
        if documents == 0:
            raise UserError(f"the corpus {names} holds no text", expected="plain text", fix="name other files")
        if blocks < 2:
            raise UserError(
                f"the corpus {names} has {tokens:,} tokens: not two blocks of {self.block_length}",
                expected="text for some thousand blocks",
                fix="give more text, or shorter blocks",
            )

    def _parts(self, ids: Array, offsets: Array, blocks: int) -> tuple[Any, Any, int | None]:
        """Blocks to train on, those held out, and how many documents the latter are of, where whole ones are held out."""
        documents = len(offsets) - 1

        def pack(runs: Iterable[tuple[int, int]]) -> Iterator[tuple[Array, Array]]:
            return packed(ids, runs, self.vocabulary, self.block_length)

        if documents >= LEAST_DOCUMENTS:
            chosen = held_out_documents(documents, self.share, self.seed)
            train, held_out = runs_of(offsets, chosen)
            return pack(train), pack(held_out), len(chosen)
        held = held_out_blocks(blocks, self.share, self.seed)
        everything = [(0, int(offsets[-1]))]
        return _some(pack(everything), ~held), _some(pack(everything), held), None


def _some(blocks: Iterable[tuple[Array, Array]], wanted: Array) -> Iterator[tuple[Array, Array]]:
    """The wanted ones of all blocks."""
    done = 0
    for ids, lengths in blocks:
        here = wanted[done : done + len(lengths)]
        yield ids[np.repeat(here, lengths)], lengths[here]
        done += len(lengths)
