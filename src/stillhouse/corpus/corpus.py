"""Blocks of plain text as a `Text`: any of them can be asked for at any step, and none of them is in memory until it is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.corpus.masking import Ids, Masking, mask
from stillhouse.corpus.tokens import Vocabulary
from stillhouse.data.batch import IGNORED, Batch, Inputs
from stillhouse.data.ragged import Ragged
from stillhouse.data.seeds import MASKS
from stillhouse.data.text import Rows, Step, Unit
from stillhouse.data.tokenize import Encoded
from stillhouse.errors import UserError


@dataclass(frozen=True, eq=False)
class Corpus:
    """Blocks to train on, or to score: a `Text`.

    Masks are drawn anew for every step, over all its rows: from the stage's seed and the number of the step alone, so that they
    are the same in every process, for every cut into micro-batches, and after a resume. Outside of training every block has
    masks of its own, always the same.

    Attributes:
        blocks: Their ids, special tokens included, in a memory map.
        vocabulary: Of the ids.
        digest: SHA-256 of the blocks in their order.
        occurrences: By id how often these blocks have it.
        frequencies: By id how often the text that is trained on has it: what makes a token rare.
        masking: Which tokens are hidden; None = none.
        width: Tokens that every block is filled up to; 0 = batches are padded to the longest of theirs.
    """

    blocks: Ragged
    vocabulary: Vocabulary
    digest: str
    occurrences: Ids
    frequencies: Ids
    masking: Masking | None = None
    width: int = 0
    # Features of plain text take hundreds of times the room of the text, masked or not: none are kept.
    repeats: ClassVar[bool] = False
    _last: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.blocks)

    @cached_property
    def lengths(self) -> Rows:
        return self.blocks.lengths.clip(min=self.width)

    def masked(self, masking: Masking | None) -> Corpus:
        """The same blocks with other masks.

        Raises:
            UserError: The tokenizer has no mask token, or nobody knows where its words begin.
        """
        if masking is not None and self.vocabulary.mask is None:
            raise UserError(
                "the tokenizer has no mask token, and tokens are to be hidden",
                expected="the tokenizer of a masked language model",
                fix="give its tokenizer a mask_token, or take another model",
            )
        if masking is not None and masking.whole_words and self.vocabulary.starts is None:
            raise UserError(
                "the tokenizer does not say where words begin, and whole words are to be hidden",
                expected="word pieces (##), byte-level or sentence-piece tokens",
                fix="leave whole_words out",
            )
        return replace(self, masking=masking)

    def select(self, rows: Rows) -> Corpus:
        """The given blocks alone, in that order and in memory."""
        blocks = self.blocks.select(rows)
        digest = hashlib.sha256(self.digest.encode() + np.ascontiguousarray(rows, np.int64).tobytes()).hexdigest()
        occurrences = np.bincount(blocks.values, minlength=self.vocabulary.size)
        return replace(self, blocks=blocks, digest=digest, occurrences=occurrences)

    def require_batch(self, size: int) -> None:
        """Makes sure that a step finds as many blocks as it asks for.

        Raises:
            UserError: There are fewer.
        """
        if len(self) < size:
            raise UserError(
                f"the corpus has {len(self):,} blocks to train on, fewer than a batch of {size:,}",
                expected="at least one batch",
                fix="give more text, a smaller batch, or shorter blocks",
            )

    def batch(self, rows: Rows, step: Step | None = None) -> Batch:
        seen, labels, places = self._seen(rows, step)
        ids, is_real = seen.padded(places, self.vocabulary.pad, self.width)
        targets, _ = labels.padded(places, IGNORED, self.width)
        real = torch.from_numpy(is_real)
        inputs = Inputs(torch.from_numpy(ids), real.long(), torch.zeros_like(real, dtype=torch.long))
        has_label = torch.ones(len(rows), dtype=torch.bool)
        return Batch(None, {0: inputs}, torch.from_numpy(targets), has_label, real, torch.from_numpy(rows))

    def counts(self, rows: Rows, step: Step | None = None) -> dict[Unit, int]:
        lengths = self.blocks.lengths_of(rows).clip(min=self.width)
        _, labels, places = self._seen(rows, step)
        targets = sum(int((labels[place] != IGNORED).sum()) for place in places)
        return {"rows": len(rows), "targets": targets, "tokens": int(lengths.sum()), "pairs": int(np.square(lengths).sum())}

    def tokens(self) -> NDArray[np.int64]:
        ids = np.union1d(np.flatnonzero(self.occurrences), self.vocabulary.pad)
        if self.masking is None or self.vocabulary.mask is None:
            return ids
        ids = np.union1d(ids, self.vocabulary.mask)
        return np.union1d(ids, self.vocabulary.ordinary) if self.masking.replaced else ids

    def encoded(self, view: int) -> Encoded:  # noqa: ARG002
        nothing = Ragged(np.broadcast_to(np.int32(0), self.blocks.values.shape), self.blocks.offsets)
        return Encoded(self.blocks, nothing, np.arange(len(self)), self.vocabulary.pad)

    def fingerprint(self) -> str:
        masking = None if self.masking is None else self.masking.model_dump(mode="json")
        frequencies = hashlib.sha256(self.frequencies.tobytes()).hexdigest()
        parts = [self.digest, masking, frequencies, self.vocabulary.digest, *([self.width] if self.width else [])]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _seen(self, rows: Rows, step: Step | None) -> tuple[Ragged, Ragged, Rows]:
        """What models see of some rows, and what they are asked for: with the place of each of the rows in both."""
        if step is None:
            parts = [self._masked(rows[place : place + 1], self._own(int(rows[place]))) for place in range(len(rows))]
            seen, labels = (Ragged.joined([part[side] for part in parts]) for side in (0, 1))
            return seen, labels, np.arange(len(rows))
        key = step.seed, step.number, step.rows.tobytes()
        if self._last.get("key") != key:  # a step is asked for several times: whole, and part by part
            self._last.update(key=key, drawn=self._masked(step.rows, step.random(MASKS)))
        seen, labels = self._last["drawn"]
        order = np.argsort(step.rows)
        return seen, labels, order[np.searchsorted(step.rows, rows, sorter=order)]

    def _own(self, row: int) -> np.random.Generator:
        return np.random.default_rng((row, MASKS))

    def _masked(self, rows: Rows, random: np.random.Generator) -> tuple[Ragged, Ragged]:
        plain = self.blocks.select(rows)
        ids = plain.values.astype(np.int64)
        if self.masking is None:
            return Ragged(ids, plain.offsets), Ragged(np.full(len(ids), IGNORED, np.int64), plain.offsets)
        seen, labels = mask(ids, plain.offsets[:-1], self.masking, self.vocabulary, self.frequencies, random)
        return Ragged(seen, plain.offsets), Ragged(labels, plain.offsets)
