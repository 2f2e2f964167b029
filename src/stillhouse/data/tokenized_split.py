"""The rows of a task: tokenized, with their labels, ready to be batched."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.data.batch import Batch, Inputs
from stillhouse.data.examples import Examples
from stillhouse.data.ragged import Ragged
from stillhouse.data.text import Rows, Step, Unit
from stillhouse.data.tokenize import Encoded
from stillhouse.task import Task


@dataclass(frozen=True)
class TokenizedSplit:
    """One split of a task: a `Text`.

    Attributes:
        views: Its rows in the tokens of each tokenizer, under the key that a `Model` carries. The first is that of the model
            that learns: labels, lengths and counts are in its tokens.
        labels: One entry a row, see `Batch.labels`; tag ids are ragged.
        has_label: Which rows have a gold label.
        width: Tokens that every row is filled up to; 0 = batches are padded to the longest of their rows.
    """

    task: Task
    views: Mapping[int, Encoded]
    labels: NDArray[Any] | Ragged
    has_label: NDArray[np.bool_]
    width: int = 0

    def __len__(self) -> int:
        return len(self.learner)

    @property
    def learner(self) -> Encoded:
        """Its rows in the tokens of the model that learns."""
        return next(iter(self.views.values()))

    @property
    def lengths(self) -> Rows:
        return self.learner.lengths.clip(min=self.width)

    @property
    def repeats(self) -> bool:
        return self.width == 0  # what is kept of a teacher is kept of real tokens

    def encoded(self, view: int) -> Encoded:
        return self.views[view]

    def tokens(self) -> NDArray[np.int64]:
        return self.learner.tokens()

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for encoded in self.views.values():
            digest.update(encoded.fingerprint().encode())
        values = self.labels.values if isinstance(self.labels, Ragged) else self.labels
        digest.update(np.ascontiguousarray(values).tobytes())
        digest.update(self.has_label.tobytes())
        digest.update("\n".join(self.task.labels).encode())
        if self.width:
            digest.update(str(self.width).encode())
        return digest.hexdigest()

    def select(self, rows: Rows) -> TokenizedSplit:
        """The given rows alone, in that order."""
        views = {key: encoded.select(rows) for key, encoded in self.views.items()}
        labels = self.labels.select(rows) if isinstance(self.labels, Ragged) else self.labels[rows]
        return replace(self, views=views, labels=labels, has_label=self.has_label[rows])

    def labelled(self) -> TokenizedSplit:
        """The rows that have a gold label."""
        return self if self.has_label.all() else self.select(np.flatnonzero(self.has_label))

    def without_labels(self) -> TokenizedSplit:
        """The same rows, their gold labels unused."""
        return replace(self, has_label=np.zeros_like(self.has_label))

    def seen_by(self, *views: int) -> TokenizedSplit:
        """The same rows in some of their views, that of the model that learns first: as if there were no others."""
        return replace(self, views={key: self.views[key] for key in views})

    def counts(self, rows: Rows, step: Step | None = None) -> dict[Unit, int]:  # noqa: ARG002
        lengths = self.learner.input_ids.lengths_of(rows)
        tokens, pairs = int(lengths.sum()), int(np.square(lengths).sum())
        return {"rows": len(rows), "targets": self.task.kind.count_targets(self, rows), "tokens": tokens, "pairs": pairs}

    def batch(self, rows: Rows, step: Step | None = None) -> Batch:  # noqa: ARG002
        views = {key: _inputs(encoded, rows, self.width) for key, encoded in self.views.items()}
        targets: dict[str, Tensor] = self.task.kind.targets(self, rows, next(iter(views.values())))
        has_label, row_numbers = torch.from_numpy(self.has_label[rows]), torch.from_numpy(rows)
        return Batch(self.task, views, has_label=has_label, rows=row_numbers, **targets)


def _inputs(encoded: Encoded, rows: Rows, width: int) -> Inputs:
    ids, mask = encoded.input_ids.padded(rows, encoded.pad_token_id, width)
    segments, _ = encoded.token_type_ids.padded(rows, 0, width)
    words = None if encoded.words is None else torch.from_numpy(encoded.words.padded(rows, -1)[0].clip(0))
    return Inputs(torch.from_numpy(ids).long(), torch.from_numpy(mask).long(), torch.from_numpy(segments).long(), words)


def tokenized_split(examples: Examples, task: Task, *encoded: Encoded) -> TokenizedSplit:
    """Puts labels beside tokenized rows.

    Args:
        examples: The rows.
        task: What their labels mean.
        encoded: The rows in the tokens of each tokenizer: the views 0, 1 and so on.
    """
    first = encoded[0]
    has_label = np.array([examples.labels[example] is not None for example in first.example], dtype=bool)
    return TokenizedSplit(task, dict(enumerate(encoded)), task.kind.label_array(examples, task, first), has_label)
