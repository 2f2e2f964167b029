"""A model on a split: what it predicts, and how well that agrees with the gold labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from stillhouse.data.batch import TokenizedSplit
from stillhouse.data.ragged import Ragged
from stillhouse.data.task import METRICS as MAIN_METRIC
from stillhouse.data.task import Examples, Task
from stillhouse.evaluation.fidelity import mean_by_group
from stillhouse.evaluation.metrics import METRICS_OF, Metric
from stillhouse.evaluation.squad import Answered, Window, best_answers, best_threshold
from stillhouse.models.forward import Logits, Side, compute_logits

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
        confidences: Probability of what was decoded, per example; for tagging the mean over words; NaN for regression.
        side: Whose tokens were read.
        threshold: Question answering: no answer is given where the score of none exceeds that of the best span by more;
            infinite = a span is always given.
        answers: Question answering: the best spans behind `decoded`.
    """

    logits: Logits
    decoded: list[Any]
    confidences: NDArray[np.float64]
    side: Side = "student"
    threshold: float = np.inf
    answers: Answered | None = None

    def with_threshold(self, threshold: float) -> Predictions:
        """The same scores, decoded with another no-answer threshold; nothing changes for other tasks."""
        if self.answers is None:
            return self
        decoded, confidences = self.answers.given(threshold), self.answers.given_confidences(threshold)
        return replace(self, decoded=decoded, confidences=confidences, threshold=threshold)


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
        return Predictions(logits, logits[:, 0].tolist(), np.full(len(logits), np.nan))
    if kind == "multilabel":
        probabilities = expit(logits.astype(np.float64))
        decoded = [tuple(np.flatnonzero(row >= 0.5).tolist()) for row in probabilities]
        return Predictions(logits, decoded, np.maximum(probabilities, 1 - probabilities).mean(axis=1))
    probabilities = softmax(logits.astype(np.float64), axis=1)
    return Predictions(logits, logits.argmax(axis=1).tolist(), probabilities.max(axis=1, initial=0.0))


def _decode_tags(split: Split, logits: Logits, side: Side) -> Predictions:
    """A word that was cut off has no logits of its own: it counts as outside of every entity."""
    assert isinstance(logits, Ragged)
    encoded = split.tokens.student if side == "student" else split.tokens.teacher
    assert encoded.words is not None
    labels = split.task.labels
    outside = labels.index("O") if "O" in labels else 0
    tags = np.where(encoded.words.values >= 0, logits.values.argmax(axis=1), outside)
    probabilities = softmax(logits.values.astype(np.float64), axis=1).max(axis=1, initial=0.0)
    sentence = np.repeat(np.arange(len(encoded)), encoded.words.lengths)
    is_word = encoded.words.values >= 0
    start = encoded.words.offsets
    return Predictions(
        logits,
        [tuple(tags[start[row] : start[row + 1]].tolist()) for row in range(len(encoded))],
        mean_by_group(probabilities[is_word], sentence[is_word], len(encoded)),
        side,
    )


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
    return Predictions(logits, answers.given(threshold), answers.given_confidences(threshold), side, threshold, answers)


def references(examples: Examples) -> list[list[str]]:
    """The texts of the gold answers of every question; empty = it has none."""
    return [[answer.text for answer in answers or ()] for answers in examples.labels]


def statistics(split: Split, predictions: Predictions) -> dict[str, tuple[Metric, Array]]:
    """For every metric of the task its per-example statistics; all rows of the split must have labels."""
    task, gold, decoded = split.task, split.examples.labels, predictions.decoded
    inputs: tuple[Any, Any]
    if task.kind == "qa":
        inputs = references(split.examples), decoded
    elif task.kind == "multilabel":
        inputs = multi_hot(gold, len(task.labels)), multi_hot(decoded, len(task.labels))
    elif task.kind == "tagging":
        inputs = _tag_names(gold, task), _tag_names(decoded, task)
    else:
        inputs = np.asarray(gold), np.asarray(decoded)
    return {metric.name: (metric, metric.statistics(*inputs)) for metric in METRICS_OF[task.kind]}


def multi_hot(rows: Any, labels: int) -> Array:
    """Tuples of label ids as a boolean table, `(rows, labels)`."""
    table = np.zeros((len(rows), labels), dtype=bool)
    for row, ids in enumerate(rows):
        table[row, list(ids)] = True
    return table


def _tag_names(rows: Any, task: Task) -> list[list[str]]:
    return [[task.labels[tag] for tag in tags] for tags in rows]


def scores(split: Split, predictions: Predictions) -> dict[str, float]:
    """Every metric of the task."""
    return {name: float(metric.value(values.sum(axis=0))) for name, (metric, values) in statistics(split, predictions).items()}


def main_score(split: Split, predictions: Predictions) -> float:
    """The task's main metric."""
    return scores(split, predictions)[MAIN_METRIC[split.task.kind]]


def readable(split: Split, predictions: Predictions, row: int) -> Mapping[str, Any]:
    """One row's prediction as it is written to files and shown: names instead of numbers."""
    task, value = split.task, predictions.decoded[row]
    if task.kind == "regression":
        return {"value": value}
    if task.kind == "tagging":
        return {"tags": [task.labels[tag] for tag in value]}
    if task.kind == "qa":
        assert predictions.answers is not None
        start, end = predictions.answers.given_spans(predictions.threshold)[row].tolist()
        span = {"start": start, "end": end} if start >= 0 else {"start": None, "end": None}
        return {"answer": value, **span, "confidence": round(float(predictions.confidences[row]), 6)}
    assert isinstance(predictions.logits, np.ndarray)
    logits = predictions.logits[row].astype(np.float64)
    if task.kind == "multilabel":
        return {"labels": [task.labels[label] for label in value], "probabilities": _rounded(expit(logits))}
    return {"label": task.labels[value], "probabilities": _rounded(softmax(logits))}


def _rounded(values: Array) -> list[float]:
    return [round(float(value), 6) for value in values]
