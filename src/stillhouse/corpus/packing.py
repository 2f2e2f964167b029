"""One long array of token ids -> blocks of one length, and which of them are held out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from stillhouse.corpus.tokens import Array, Vocabulary
from stillhouse.data.seeds import CHOICES

LEAST_DOCUMENTS = 20  # with fewer, blocks are held out instead of documents
_STRETCHES = 8  # runs of blocks that are held out then
_AT_ONCE = 2**20  # ids

Run = tuple[int, int]
"""Documents that follow each other: where the first begins in the array of ids, and the last ends."""


def packed(ids: Array, runs: Iterable[Run], vocabulary: Vocabulary, block_length: int) -> Iterator[tuple[Array, Array]]:
    """Blocks of `block_length` tokens, some at a time.

    The documents are laid one after the other, SEP between two of them, and cut every so many tokens; every block then gets
    the tokens with which the tokenizer begins and ends an input: `CLS ... SEP`. So a block may hold the end of a document and
    the beginning of the next, or several short ones whole, and SEP is between them; a long document goes through several
    blocks. Where a cut falls on a border that SEP is left out, for the block's own stands there: such a block is a token
    shorter, as the last one may be by more. Nothing else is lost, and nothing is padded. Segment ids are all 0.

    Args:
        ids: What `write_tokens` wrote.
        runs: The documents to pack, in order.
        vocabulary: Of the ids.
        block_length: In tokens, special ones included.

    Yields:
        Ids of some blocks one after the other, and the length of each.
    """
    room = block_length - len(vocabulary.first) - len(vocabulary.last)
    rest = ids[:0]
    for first, end in runs:
        for start in range(first, end, _AT_ONCE):
            stream = np.concatenate((rest, ids[start : min(end, start + _AT_ONCE)]))
            whole = len(stream) // room * room
            if whole:
                yield _framed(stream[:whole].reshape(-1, room), vocabulary)
            rest = stream[whole:]
    if len(rest) > 1 or (len(rest) and rest[0] != vocabulary.border):
        yield _framed(rest[None], vocabulary)


def _framed(rows: Array, vocabulary: Vocabulary) -> tuple[Array, Array]:
    keep = np.ones(rows.shape, dtype=bool)
    keep[:, 0] = rows[:, 0] != vocabulary.border
    keep[:, -1] &= rows[:, -1] != vocabulary.border
    parts, kept = [rows], [keep]
    for frame, place in ((vocabulary.first, 0), (vocabulary.last, 2)):
        parts.insert(place, np.broadcast_to(np.array(frame, rows.dtype), (len(rows), len(frame))))
        kept.insert(place, np.ones((len(rows), len(frame)), dtype=bool))
    framed, kept_all = np.concatenate(parts, axis=1), np.concatenate(kept, axis=1)
    return framed[kept_all], kept_all.sum(axis=1)


def count_blocks(offsets: Array, vocabulary: Vocabulary, block_length: int) -> int:
    """How many blocks all documents make."""
    room = block_length - len(vocabulary.first) - len(vocabulary.last)
    return math.ceil(max(0, int(offsets[-1]) - 1) / room)  # the last border makes none of its own


def held_out_documents(documents: int, share: float, seed: int) -> NDArray[np.int64]:
    """Numbers of the documents that are held out, in order: at least one."""
    random = np.random.default_rng([seed, CHOICES["held_out"]])
    return np.sort(random.permutation(documents)[: max(1, round(share * documents))])


def held_out_blocks(blocks: int, share: float, seed: int) -> NDArray[np.bool_]:
    """Which blocks are held out where documents are few: runs of them, spread over all, at least one block.

    Neighbours of a held-out block are mostly held out, too, so that little of its text is trained on.
    """
    random = np.random.default_rng([seed, CHOICES["held_out"]])
    count = min(max(1, round(share * blocks)), blocks - 1)
    stretches = min(_STRETCHES, count)
    held = np.zeros(blocks, dtype=bool)
    # Each run lies somewhere in its own part of the corpus.
    borders = np.linspace(0, blocks, stretches + 1).astype(int)
    for part, size in enumerate(np.diff(np.linspace(0, count, stretches + 1).astype(int))):
        free = int(borders[part + 1] - borders[part] - size)
        start = int(borders[part]) + int(random.integers(0, max(0, free) + 1))
        held[start : start + int(size)] = True
    return held


def runs_of(offsets: Array, held_out: NDArray[np.int64]) -> tuple[list[Run], list[Run]]:
    """The documents to train on and those held out, as runs.

    Args:
        offsets: Where each document begins, and the end of the last.
        held_out: Numbers of documents, in order.
    """
    held = [(int(offsets[document]), int(offsets[document + 1])) for document in held_out]
    edges = [0, *(edge for run in held for edge in run), int(offsets[-1])]
    return [(first, end) for first, end in zip(edges[::2], edges[1::2], strict=True) if first < end], held
