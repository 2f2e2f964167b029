"""Tokenized rows and their labels -> padded batches, ordered so that hardly any of the work falls on padding."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.data.examples import Examples
from stillhouse.data.ragged import Ragged
from stillhouse.data.tokenize import Encoded
from stillhouse.task import Task

Rows = NDArray[np.int64]
Unit = Literal["rows", "targets", "tokens", "pairs"]
IGNORED = -100
WINDOW = 50  # batches among which rows are sorted by length


@dataclass(frozen=True)
class Batch:
    """What one forward pass of student and teacher is given, and what the objectives need beside the Features.

    Attributes:
        task: What is to be learnt from it.
        student_inputs: `input_ids`, `attention_mask` and `token_type_ids`, each `(batch, tokens)`.
        teacher_inputs: The same for the teacher; the same tensors where both share a tokenizer.
        labels: `(batch,)` class ids, `(batch, classes)` for multilabel, `(batch,)` floats for regression, `(batch, words)` tag
            ids, or `(batch, 2)` start and end positions; -100 or NaN where there is no label.
        has_label: Which rows have a gold label, `(batch,)`.
        positions: Which positions of the logits are real: `(batch, words)` for tagging, `(batch, tokens)` for question
            answering, `(batch,)`, all true, otherwise.
        student_words: Tagging: position of each word's first sub-word, `(batch, words)`; 0 where `positions` is false.
        teacher_words: The same in the teacher's tokens.
        rows: Numbers of the rows in their split, `(batch,)`; always on the CPU.
    """

    task: Task
    student_inputs: dict[str, Tensor]
    teacher_inputs: dict[str, Tensor]
    labels: Tensor
    has_label: Bool[Tensor, " batch"]
    positions: Bool[Tensor, ...]
    rows: Int[Tensor, " batch"]
    student_words: Tensor | None = None
    teacher_words: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        if device.type == "cpu":
            return self
        # Row numbers look things up on the CPU: moving them would make the CPU wait for the device.
        return replace(self._changed(lambda tensor: tensor.to(device, non_blocking=True)), rows=self.rows)

    def select(self, where: Rows) -> Batch:
        """Some of its rows, padded as they are."""
        index = torch.from_numpy(where)
        return self._changed(lambda tensor: tensor[index.to(tensor.device)])

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Batch:
        def changed(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: change(tensor) for name, tensor in value.items()}
            return change(value) if isinstance(value, Tensor) else value

        return replace(self, **{field.name: changed(getattr(self, field.name)) for field in fields(self)})


@dataclass(frozen=True)
class TokenizedSplit:
    """One split, ready to be batched.

    Attributes:
        student: Its rows in the student's tokens.
        teacher: Its rows in the teacher's tokens: the same object where they share a tokenizer.
        labels: One entry a row, see `Batch.labels`; tag ids are ragged.
        has_label: Which rows have a gold label.
    """

    task: Task
    student: Encoded
    teacher: Encoded
    labels: NDArray[Any] | Ragged
    has_label: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.student)

    def fingerprint(self) -> str:
        """SHA-256 of inputs and labels: two splits with the same one train a model alike."""
        digest = hashlib.sha256()
        digest.update(self.student.fingerprint().encode())
        if self.teacher is not self.student:
            digest.update(self.teacher.fingerprint().encode())
        values = self.labels.values if isinstance(self.labels, Ragged) else self.labels
        digest.update(np.ascontiguousarray(values).tobytes())
        digest.update(self.has_label.tobytes())
        digest.update("\n".join(self.task.labels).encode())
        return digest.hexdigest()

    def select(self, rows: Rows) -> TokenizedSplit:
        """The given rows alone, in that order."""
        student = self.student.select(rows)
        teacher = student if self.teacher is self.student else self.teacher.select(rows)
        labels = self.labels.select(rows) if isinstance(self.labels, Ragged) else self.labels[rows]
        return TokenizedSplit(self.task, student, teacher, labels, self.has_label[rows])

    def labelled(self) -> TokenizedSplit:
        """The rows that have a gold label."""
        return self if self.has_label.all() else self.select(np.flatnonzero(self.has_label))

    def without_labels(self) -> TokenizedSplit:
        """The same rows, their gold labels unused."""
        return replace(self, has_label=np.zeros_like(self.has_label))

    def for_teacher(self) -> TokenizedSplit:
        """The same rows with the teacher in the student's place: what the teacher itself is fine-tuned on."""
        return replace(self, student=self.teacher)

    def of(self, side: Literal["student", "teacher"]) -> Encoded:
        """Its rows in the tokens of one side."""
        return self.student if side == "student" else self.teacher

    def counts(self, rows: Rows) -> dict[Unit, int]:
        """What means over these rows divide by: the rows, what has a label (tagging: words), real tokens, pairs of them."""
        lengths = self.student.lengths[rows]
        tokens, pairs = int(lengths.sum()), int(np.square(lengths).sum())
        return {"rows": len(rows), "targets": self.task.kind.count_targets(self, rows), "tokens": tokens, "pairs": pairs}

    def batch(self, rows: Rows) -> Batch:
        """The given rows, padded to the longest of them."""
        student_inputs = _inputs(self.student, rows)
        teacher_inputs = student_inputs if self.teacher is self.student else _inputs(self.teacher, rows)
        targets: dict[str, Tensor] = self.task.kind.targets(self, rows, student_inputs)
        has_label, row_numbers = torch.from_numpy(self.has_label[rows]), torch.from_numpy(rows)
        return Batch(self.task, student_inputs, teacher_inputs, has_label=has_label, rows=row_numbers, **targets)


def _inputs(encoded: Encoded, rows: Rows) -> dict[str, Tensor]:
    input_ids, mask = encoded.input_ids.padded(rows, encoded.pad_token_id)
    token_type_ids, _ = encoded.token_type_ids.padded(rows, 0)
    return {
        "input_ids": torch.from_numpy(input_ids).long(),
        "attention_mask": torch.from_numpy(mask).long(),
        "token_type_ids": torch.from_numpy(token_type_ids).long(),
    }


def tokenized_split(examples: Examples, task: Task, student: Encoded, teacher: Encoded | None = None) -> TokenizedSplit:
    """Puts labels beside tokenized rows."""
    has_label = np.array([examples.labels[example] is not None for example in student.example], dtype=bool)
    labels = task.kind.label_array(examples, task, student)
    return TokenizedSplit(task, student, teacher or student, labels, has_label)


def training_order(lengths: NDArray[np.int64], batch_size: int, seed: tuple[int, ...]) -> list[Rows]:
    """The batches of one epoch: rows shuffled, sorted by length inside windows of `WINDOW` batches, batches shuffled."""
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(lengths))
    batches = []
    for start in range(0, len(shuffled), batch_size * WINDOW):
        window = shuffled[start : start + batch_size * WINDOW]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches += [window[first : first + batch_size] for first in range(0, len(window), batch_size)]
    return [batches[index] for index in random.permutation(len(batches))]


def scoring_order(lengths: NDArray[np.int64], tokens: int = 4096) -> Iterator[Rows]:
    """Batches for scoring: rows sorted by length, so many a batch that none holds more than `tokens` (or one row)."""
    order = np.argsort(lengths, kind="stable")[::-1].copy()  # torch takes no reversed views
    start = 0
    while start < len(order):
        size = max(1, tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size
