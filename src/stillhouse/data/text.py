"""What a stage trains on: rows that can be asked for in any order, and the steps in which they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from stillhouse.data.batch import Batch, Inputs
from stillhouse.data.seeds import CHOICES
from stillhouse.data.tokenize import Encoded

Rows = NDArray[np.int64]
Unit = Literal["rows", "targets", "tokens", "pairs"]
WINDOW = 50  # batches among which rows are sorted by length
SOME_ROWS, SOME_TOKENS = 256, 8192  # how much of a text tells what it is like


@dataclass(frozen=True)
class Step:
    """One optimiser step: what everything that is drawn in it depends on.

    Attributes:
        number: Steps taken before it.
        of: All steps of the stage.
        rows: Numbers of its rows, whichever processes and micro-batches share them.
        seed: The stage's.
    """

    number: int
    of: int
    rows: Rows
    seed: int

    def random(self, stream: int) -> np.random.Generator:
        """Draws of one purpose, see `data/seeds.py`: the same in every process and micro-batch, and after a resume."""
        return np.random.default_rng((self.seed, self.number, stream))


class Text(Protocol):
    """Rows to train on; none need be in memory.

    Attributes:
        lengths: Tokens of every row, in the tokens of the model that learns.
        repeats: Whether a row is the same every time: only of such rows are a teacher's features worth keeping.
    """

    @property
    def lengths(self) -> Rows: ...

    @property
    def repeats(self) -> bool: ...

    def batch(self, rows: Rows, step: Step | None = None) -> Batch:
        """The given rows, some of the step's, padded to the longest of them; outside of training there is no step."""

    def counts(self, rows: Rows, step: Step | None = None) -> dict[Unit, int]:
        """What means over these rows divide by: the rows, what has a label (words, masked tokens), real tokens, their pairs."""

    def tokens(self) -> NDArray[np.int64]:
        """Every id that a batch may hold for the model that learns, in order, each once."""

    def encoded(self, view: int) -> Encoded:
        """All rows in the tokens of one view: asked for where rows repeat, to find again what is kept of them."""

    def fingerprint(self) -> str:
        """SHA-256 of inputs and labels: two texts with the same one train a model alike."""


def training_order(lengths: Rows, batch_size: int, seed: tuple[int, ...]) -> list[Rows]:
    """The batches of one epoch: rows shuffled, sorted by length inside windows of `WINDOW` batches, batches shuffled."""
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(lengths))
    batches = []
    for start in range(0, len(shuffled), batch_size * WINDOW):
        window = shuffled[start : start + batch_size * WINDOW]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches += [window[first : first + batch_size] for first in range(0, len(window), batch_size)]
    return [batches[index] for index in random.permutation(len(batches))]


def scoring_order(lengths: Rows, tokens: int = 4096) -> Iterator[Rows]:
    """Batches for scoring: rows sorted by length, so many a batch that none holds more than `tokens` (or one row)."""
    order = np.argsort(lengths, kind="stable")[::-1].copy()  # torch takes no reversed views
    start = 0
    while start < len(order):
        size = max(1, tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


def some_inputs(text: Text, seed: int) -> Iterator[Inputs]:
    """A few rows of a text, for the model that learns: as many as tell what it is like, the same for the same seed."""
    rows = np.random.default_rng([seed, CHOICES["slice"]]).permutation(len(text.lengths))[:SOME_ROWS]
    fitting = max(1, int(np.searchsorted(text.lengths[rows].cumsum(), SOME_TOKENS, side="right")))
    rows = rows[:fitting]
    rows = rows[np.argsort(text.lengths[rows], kind="stable")]
    for part in np.array_split(rows, -(-len(rows) // 32)):
        yield text.batch(part).learner
