"""A model on a split: what it predicts, and how well that agrees with the gold labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.data.examples import Examples
from stillhouse.data.tokenized_split import TokenizedSplit
from stillhouse.evaluation.answers import Answered
from stillhouse.evaluation.metrics import Metric
from stillhouse.evaluation.scoring import Logits, compute_logits
from stillhouse.task import Task

Array = NDArray[Any]


@dataclass(frozen=True)
class Split:
    """Examples of one split beside their tokens."""

    examples: Examples
    tokens: TokenizedSplit

    @property
    def task(self) -> Task:
        return self.tokens.task

    def __len__(self) -> int:
        return len(self.examples)

    def fingerprint(self) -> str:
        """SHA-256 of tokens, labels and, where answers are compared as text, contexts and references."""
        digest = hashlib.sha256(self.tokens.fingerprint().encode())
        digest.update(self.task.kind.identity(self.examples).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Predictions:
    """What one model says of one split.

    Attributes:
        logits: As `compute_logits` gives them: a row an example, for question answering a row a window.
        decoded: Per example: class id, tuple of label ids, float, tuple of tag ids, or answer text ("" = no answer).
        view: Key of the tokens that were read.
        threshold: Question answering: no answer is given where the score of none exceeds that of the best span by more;
            infinite = a span is always given.
        answers: Question answering: the best spans behind `decoded`.
    """

    logits: Logits
    decoded: list[Any]
    view: int = 0
    threshold: float = np.inf
    answers: Answered | None = None

    def with_threshold(self, threshold: float) -> Predictions:
        """The same scores, decoded with another no-answer threshold; nothing changes for other tasks."""
        if self.answers is None:
            return self
        return replace(self, decoded=self.answers.given(threshold), threshold=threshold)

    @cached_property
    def spans(self) -> NDArray[np.int64]:
        """Question answering: first and last+1 character of each answer, `(questions, 2)`; -1 for none."""
        assert self.answers is not None
        return self.answers.given_spans(self.threshold)

    @cached_property
    def confidences(self) -> NDArray[np.float64]:
        """Question answering: the probability of each answer, or of there being none."""
        assert self.answers is not None
        return self.answers.given_confidences(self.threshold)


def predict_split(encoder: Any, split: Split, accelerator: Any, *, view: int = 0, **options: Any) -> Predictions:
    """Scores every row once and decodes; of several processes each has to call this, and scores its share.

    For question answering with unanswerable questions the threshold is the best one on these very rows: meant for the
    selection rows; carry it to others with `with_threshold`.

    Args:
        encoder: The model.
        split: The rows.
        accelerator: Gives device and precision.
        view: Key of the tokens that it reads.
        options: Passed on to `compute_logits`.
    """
    return decode(split, compute_logits(encoder, split.tokens, view, accelerator, **options), view)


def decode(split: Split, logits: Logits, view: int = 0) -> Predictions:
    """Logits -> predictions in the task's own form."""
    predictions: Predictions = split.task.kind.decode(split, logits, view)
    return predictions


def statistics(split: Split, predictions: Predictions) -> dict[str, tuple[Metric, Array]]:
    """For every metric of the task its per-example statistics; all rows of the split must have labels."""
    inputs = split.task.kind.measured(split, predictions.decoded)
    return {metric.name: (metric, metric.statistics(*inputs)) for metric in split.task.kind.metrics}


def main_statistics(split: Split, predictions: Predictions) -> tuple[Metric, Array]:
    """The task's main metric and its per-example statistics."""
    metric: Metric = split.task.kind.main_metric
    return metric, metric.statistics(*split.task.kind.measured(split, predictions.decoded))


def main_score(split: Split, predictions: Predictions) -> float:
    """The task's main metric."""
    metric: Metric = split.task.kind.main_metric
    return metric.score(*split.task.kind.measured(split, predictions.decoded))
