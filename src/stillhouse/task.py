"""What a task is: its kind, and its labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TaskKind = Literal["classification", "multilabel", "regression", "tagging", "qa"]


@dataclass(frozen=True)
class Answer:
    """One reference answer of a question: its text and the character at which it starts in the context."""

    text: str
    start: int


@dataclass(frozen=True)
class Task:
    """What is to be learnt.

    Attributes:
        name: Short name of the data, for folders and reports.
        kind: Which head, objective and metric apply.
        labels: Class names in the order of the logits; tag names for tagging; empty for regression and question answering.
        unanswerable: Question answering only: whether some questions have no answer (SQuAD 2.0).
    """

    name: str
    kind: TaskKind
    labels: tuple[str, ...] = ()
    unanswerable: bool = False

    @property
    def logits(self) -> int:
        """Width of the last axis of the logits."""
        if self.kind == "regression":
            return 1
        return 2 if self.kind == "qa" else len(self.labels)
