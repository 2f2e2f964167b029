"""A model on a split: what it predicts, and how well that agrees with the gold labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from stillhouse.data.batch import TokenizedSplit
from stillhouse.data.examples import Examples
from stillhouse.data.ragged import Ragged
from stillhouse.evaluation.answers import Answered, Window, best_answers, best_threshold
from stillhouse.evaluation.metrics import METRICS_OF, Metric, main_metric
from stillhouse.evaluation.scoring import Logits, compute_logits
from stillhouse.models.forward import Side
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
        if self.task.kind == "qa":
            digest.update(repr((self.examples.text_pair, self.examples.labels)).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Predictions:
    """What one model says of one split.

    Attributes:
        logits: As `compute_logits` gives them: a row an example, for question answering a row a window.
        decoded: Per example: class id, tuple of label ids, float, tuple of tag ids, or answer text ("" = no answer).
        side: Whose tokens were read.
        threshold: Question answering: no answer is given where the score of none exceeds that of the best span by more;
            infinite = a span is always given.
        answers: Question answering: the best spans behind `decoded`.
    """

    logits: Logits
    decoded: list[Any]
    side: Side = "student"
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


def predict_split(encoder: Any, split: Split, side: Side, accelerator: Any, **options: Any) -> Predictions:
    """Scores every row once and decodes.

    For question answering with unanswerable questions the threshold is the best one on these very rows: meant for the
    selection rows; carry it to others with `with_threshold`.

    Args:
        encoder: The model.
        split: The rows.
        side: Whose tokens to read.
        accelerator: Gives device and precision.
        options: Passed on to `compute_logits`.
    """
    precision = accelerator.autocast()
    logits = compute_logits(encoder, split.tokens, side, device=accelerator.device, autocast=precision, **options)
    return decode(split, logits, side)


def decode(split: Split, logits: Logits, side: Side = "student") -> Predictions:
    """Logits -> predictions in the task's own form."""
    kind = split.task.kind
    if kind == "qa":
        return _decode_answers(split, logits, side)
    if kind == "tagging":
        return _decode_tags(split, logits, side)
    assert isinstance(logits, np.ndarray)
    if kind == "regression":
        return Predictions(logits, logits[:, 0].tolist())
    if kind == "multilabel":
        return Predictions(logits, [tuple(np.flatnonzero(row >= 0).tolist()) for row in logits])
    return Predictions(logits, logits.argmax(axis=1).tolist())


def _decode_tags(split: Split, logits: Logits, side: Side) -> Predictions:
    """A word that was cut off has no logits of its own: it counts as outside of every entity."""
    assert isinstance(logits, Ragged)
    encoded = split.tokens.student if side == "student" else split.tokens.teacher
    assert encoded.words is not None
    labels = split.task.labels
    outside = labels.index("O") if "O" in labels else 0
    tags = np.where(encoded.words.values >= 0, logits.values.argmax(axis=1), outside)
    start = encoded.words.offsets
    return Predictions(logits, [tuple(tags[start[row] : start[row + 1]].tolist()) for row in range(len(encoded))], side)


def _decode_answers(split: Split, logits: Logits, side: Side) -> Predictions:
    assert isinstance(logits, Ragged)
    encoded = split.tokens.student if side == "student" else split.tokens.teacher
    assert encoded.characters is not None
    assert split.examples.text_pair is not None
    windows = [
        Window(question=int(encoded.example[row]), offsets=encoded.characters[row], logits=logits[row])
        for row in range(len(encoded))
    ]
    answers = best_answers(windows, list(split.examples.text_pair))
    threshold = np.inf
    if split.task.unanswerable and len(split.examples.labelled) == len(split):
        threshold = best_threshold(answers, references(split.examples))
    return Predictions(logits, answers.given(threshold), side, threshold, answers)


def references(examples: Examples) -> list[list[str]]:
    """The texts of the gold answers of every question; empty = it has none."""
    return [[answer.text for answer in answers or ()] for answers in examples.labels]


def statistics(split: Split, predictions: Predictions) -> dict[str, tuple[Metric, Array]]:
    """For every metric of the task its per-example statistics; all rows of the split must have labels."""
    inputs = _inputs(split, predictions)
    return {metric.name: (metric, metric.statistics(*inputs)) for metric in METRICS_OF[split.task.kind]}


def main_statistics(split: Split, predictions: Predictions) -> tuple[Metric, Array]:
    """The task's main metric and its per-example statistics."""
    metric = main_metric(split.task.kind)
    return metric, metric.statistics(*_inputs(split, predictions))


def _inputs(split: Split, predictions: Predictions) -> tuple[Any, Any]:
    """Gold labels and predictions in the form that the task's metrics take."""
    task, gold, decoded = split.task, split.examples.labels, predictions.decoded
    if task.kind == "qa":
        return references(split.examples), decoded
    if task.kind == "multilabel":
        return multi_hot(gold, len(task.labels)), multi_hot(decoded, len(task.labels))
    if task.kind == "tagging":
        return _tag_names(gold, task), _tag_names(decoded, task)
    return np.asarray(gold), np.asarray(decoded)


def multi_hot(rows: Any, labels: int) -> Array:
    """Tuples of label ids as a boolean table, `(rows, labels)`."""
    table = np.zeros((len(rows), labels), dtype=bool)
    for row, ids in enumerate(rows):
        table[row, list(ids)] = True
    return table


def _tag_names(rows: Any, task: Task) -> list[list[str]]:
    return [[task.labels[tag] for tag in tags] for tags in rows]


def main_score(split: Split, predictions: Predictions) -> float:
    """The task's main metric."""
    return main_metric(split.task.kind).score(*_inputs(split, predictions))


def readable(split: Split, predictions: Predictions, row: int) -> Mapping[str, Any]:
    """One row's prediction as it is written to files and shown: names instead of numbers."""
    task, value = split.task, predictions.decoded[row]
    if task.kind == "regression":
        return {"value": value}
    if task.kind == "tagging":
        return {"tags": [task.labels[tag] for tag in value]}
    if task.kind == "qa":
        start, end = predictions.spans[row].tolist()
        span = {"start": start, "end": end} if start >= 0 else {"start": None, "end": None}
        return {"answer": value, **span, "confidence": round(float(predictions.confidences[row]), 6)}
    assert isinstance(predictions.logits, np.ndarray)
    logits = predictions.logits[row].astype(np.float64)
    if task.kind == "multilabel":
        return {"labels": [task.labels[label] for label in value], "probabilities": _rounded(expit(logits))}
    return {"label": task.labels[value], "probabilities": _rounded(softmax(logits))}


def _rounded(values: Array) -> list[float]:
    return [round(float(value), 6) for value in values]
