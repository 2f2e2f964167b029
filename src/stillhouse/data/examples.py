"""The examples of a task and its splits, in one form for all sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stillhouse.task import Task


@dataclass(frozen=True)
class Examples:
    """Rows of one split, column by column.

    Attributes:
        text: The sentence; for tagging the list of words; for question answering the question.
        text_pair: The second sentence, or the context of a question; None where the task has none.
        labels: Per row: an int (class id), a tuple of ints (ids of the labels that apply; multilabel), a float (regression),
            a tuple of tag ids, one a word (tagging), or a tuple of `Answer` (empty = no answer); None where there is no label.
        ids: A name for each row: the question's own id, else the row's number as text.
    """

    text: Sequence[Any]
    labels: Sequence[Any]
    text_pair: Sequence[str] | None = None
    ids: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        if not self.ids:
            object.__setattr__(self, "ids", tuple(str(row) for row in range(len(self.text))))

    def __len__(self) -> int:
        return len(self.text)

    def select(self, rows: Sequence[int]) -> Examples:
        """The given rows, in that order, under their own ids."""
        return Examples(
            text=[self.text[row] for row in rows],
            labels=[self.labels[row] for row in rows],
            text_pair=None if self.text_pair is None else [self.text_pair[row] for row in rows],
            ids=[self.ids[row] for row in rows],
        )

    def __add__(self, other: Examples) -> Examples:
        pair = None
        if self.text_pair is not None and other.text_pair is not None:
            pair = [*self.text_pair, *other.text_pair]
        return Examples(
            text=[*self.text, *other.text], labels=[*self.labels, *other.labels], text_pair=pair, ids=[*self.ids, *other.ids]
        )

    @property
    def labelled(self) -> list[int]:
        """Numbers of the rows that have a label."""
        return [row for row, label in enumerate(self.labels) if label is not None]


@dataclass(frozen=True)
class Dataset:
    """A task and its splits, with every decision that was made on the way said in `notes`.

    Attributes:
        train: What the student learns from: labelled rows first, then rows without a label (transfer text included).
        selection: Labelled rows taken out of the training rows (seeded), on which checkpoints are chosen.
        validation: Scored once, at the end.
        test: A labelled test split, where one exists; scored once, at the end.
        columns: Names of the columns that were used, by what they hold: `text`, `text_pair`, `label`.
    """

    task: Task
    train: Examples
    selection: Examples
    validation: Examples
    test: Examples | None = None
    notes: tuple[str, ...] = ()
    columns: Mapping[str, str | None] = field(default_factory=dict)
