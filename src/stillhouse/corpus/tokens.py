"""Parts of documents -> one long array of token ids on disk, tokenized by several threads at once."""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.corpus.text_files import Part
from stillhouse.documents import read_json
from stillhouse.errors import UserError

Array = NDArray[Any]
Portion = tuple[Array, Array, Array]
"""Ids of some parts one after the other, the number of ids of each, and whether a document begins with it."""

_AT_ONCE = 2**18  # characters that a thread takes at once


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """What blocks and masks have to know of a tokenizer.

    Attributes:
        size: Ids are below it.
        special: Ids of special tokens, in order.
        pad: The id that fills a batch up.
        mask: That of the mask token; None where there is none.
        first: Ids that every input begins with, such as CLS.
        last: Ids that every input ends with, such as SEP.
        border: Id between two documents: that of SEP.
        starts: Of every id whether a word begins with it, see `_word_starts`; None where that is not known.
        digest: SHA-256 of all that decides how text becomes ids.
    """

    size: int
    special: tuple[int, ...]
    pad: int
    mask: int | None
    first: tuple[int, ...]
    last: tuple[int, ...]
    border: int
    starts: NDArray[np.bool_] | None
    digest: str

    @property
    def dtype(self) -> Any:
        """The smallest type of numbers that holds its ids."""
        return id_type(self.size)

    @cached_property
    def is_special(self) -> NDArray[np.bool_]:
        """Of every id whether its token is special."""
        return np.isin(np.arange(self.size), self.special)

    @cached_property
    def ordinary(self) -> NDArray[np.int64]:
        """The ids of all other tokens, in order."""
        return np.flatnonzero(~self.is_special)


def id_type(size: int) -> Any:
    """The smallest type of numbers that holds the ids of a vocabulary of this size."""
    return np.uint16 if size <= 2**16 else np.int32


def vocabulary_of(tokenizer: Any) -> Vocabulary:
    """The vocabulary of a fast tokenizer of transformers.

    Raises:
        UserError: Inputs have no token that could stand between two documents.
    """
    rules = read_json(tokenizer.backend_tokenizer.to_str(), "the tokenizer")
    rules = {name: value for name, value in rules.items() if name not in ("truncation", "padding")}
    special, pad, mask = tuple(sorted({*tokenizer.all_special_ids})), tokenizer.pad_token_id, tokenizer.mask_token_id
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed = tokenizer("a")["input_ids"]
    place = next(start for start in range(len(framed)) if framed[start : start + len(bare)] == bare)
    first, last = tuple(framed[:place]), tuple(framed[place + len(bare) :])
    border = last[-1] if last else tokenizer.sep_token_id
    if border is None:
        raise UserError(
            "the tokenizer has no token that stands between two texts",
            expected="a separator, such as [SEP]",
            fix="take the tokenizer of an encoder, such as BERT's",
        )
    ids = tokenizer.get_vocab()
    digest = hashlib.sha256(json.dumps([rules, special, pad, mask], sort_keys=True).encode()).hexdigest()
    size = max(ids.values()) + 1
    return Vocabulary(size, special, pad, mask, first, last, border, _word_starts(rules, ids, size, special), digest)


def _word_starts(rules: Any, ids: dict[str, int], size: int, special: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Of every id whether a word begins with it.

    Word pieces go on with a word where they have a prefix (`##`). Byte-level and sentence-piece tokens begin one where they
    begin with its space (`Ġ`, `▁`): to them, punctuation after a word is a part of it.
    """
    starts = np.zeros(size, dtype=bool)
    model, text = rules["model"], json.dumps({name: rules[name] for name in ("normalizer", "pre_tokenizer", "decoder")})
    if model["type"] == "WordPiece":
        prefix = model["continuing_subword_prefix"]
        beginnings = [number for token, number in ids.items() if not token.startswith(prefix)]
    elif '"ByteLevel"' in text:
        beginnings = [number for token, number in ids.items() if token.startswith(("\u0120", "\u010a"))]  # space, new line
    elif '"Metaspace"' in text or "\\u2581" in text:
        beginnings = [number for token, number in ids.items() if token.startswith("\u2581")]
    else:
        return None
    starts[beginnings] = True
    starts[list(special)] = True
    return starts


def tokenized(parts: Iterable[Part], tokenizer: Any, vocabulary: Vocabulary, workers: int) -> Iterator[Portion]:
    """The ids of all parts, in their order, without special tokens.

    What looks like a special token in the text (`[SEP]`) is ordinary text. The tokenizer itself lets Python's other threads
    run: threads are as fast as processes, and need nothing of the program that starts them.

    Args:
        parts: Of documents.
        tokenizer: A fast tokenizer of transformers; it stays as it is.
        vocabulary: Its own.
        workers: Threads; the result is the same for any number.
    """
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True

    def encode(some: list[Part]) -> Portion:
        rows = [found.ids for found in backend.encode_batch_fast([part.text for part in some], add_special_tokens=False)]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        ids = np.fromiter(chain.from_iterable(rows), dtype=vocabulary.dtype, count=int(lengths.sum()))
        return ids, lengths, np.fromiter((part.begins for part in some), dtype=bool, count=len(some))

    waiting: deque[Future[Portion]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for some in _portions(parts):
                waiting.append(pool.submit(encode, some))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _portions(parts: Iterable[Part]) -> Iterator[list[Part]]:
    portion: list[Part] = []
    size = 0
    for part in parts:
        portion.append(part)
        size += len(part.text) + 16
        if size >= _AT_ONCE:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def default_workers() -> int:
    """As many threads as there are processors for this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write_tokens(path: Path, portions: Iterable[Portion], border: int) -> Array:
    """Writes the ids of all documents that have any, a border after each.

    Args:
        path: Of the file, made here.
        portions: What `tokenized` gives.
        border: Id that stands between documents.

    Returns:
        Where each document begins in the file, and the end of the last.
    """
    ends = array("q")
    written = open_length = 0  # of all, of the document that may go on
    with path.open("wb") as file:
        for ids, lengths, begins in portions:
            stops = np.cumsum(lengths)
            done = 0
            for part in np.flatnonzero(begins):
                until = int(stops[part] - lengths[part])
                file.write(ids[done:until].tobytes())
                open_length += until - done
                if open_length:
                    file.write(np.array(border, ids.dtype).tobytes())
                    written += open_length + 1
                    ends.append(written)
                done, open_length = until, 0
            file.write(ids[done:].tobytes())
            open_length += len(ids) - done
        if open_length:
            file.write(np.array(border, ids.dtype).tobytes())
            ends.append(written + open_length + 1)
    return np.concatenate((np.zeros(1, np.int64), np.frombuffer(ends, dtype=np.int64)))
