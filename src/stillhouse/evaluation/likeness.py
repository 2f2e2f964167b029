"""How like its teacher a student is on a split, and how well calibrated a model is there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stillhouse.data.ragged import Ragged
from stillhouse.evaluation.answer_scores import question_scores
from stillhouse.evaluation.evaluate import Predictions, Split, multi_hot, references
from stillhouse.evaluation.fidelity import (
    agreement,
    bernoulli_kl,
    decision_confidence,
    expected_calibration_error,
    mean_by_group,
    softmax_kl,
    span_kl,
)


@dataclass(frozen=True)
class Likeness:
    """A student beside its teacher.

    Attributes:
        agreement: Share of equal predictions (by label for multilabel, by word for tagging); Pearson for regression.
        kl: Mean divergence from the teacher in nats; None for regression, and where both cut text into different tokens.
        per_example: The divergence of each example, for regression the squared difference; None where there is none.
    """

    agreement: float
    kl: float | None
    per_example: NDArray[np.float64] | None


def likeness_to_teacher(split: Split, teacher: Predictions, student: Predictions) -> Likeness:
    """Compares two models' predictions on the same examples."""
    kind, labels = split.task.kind, len(split.task.labels)
    if kind == "regression":
        difference = np.square(np.asarray(student.decoded) - np.asarray(teacher.decoded))
        return Likeness(agreement(kind, teacher.decoded, student.decoded), None, difference)
    if kind == "multilabel":
        same = agreement(kind, multi_hot(teacher.decoded, labels), multi_hot(student.decoded, labels))
    else:
        same = agreement(kind, *(one.spans if kind == "qa" else one.decoded for one in (teacher, student)))
    if kind == "tagging":
        return Likeness(same, *_word_divergence(split, teacher, student))
    divergence = _divergence(split, teacher, student)
    return Likeness(same, None if divergence is None else float(divergence.mean()), divergence)


def _divergence(split: Split, teacher: Predictions, student: Predictions) -> NDArray[np.float64] | None:
    """KL(teacher || student) of each example; of a question the mean over its windows."""
    if isinstance(teacher.logits, np.ndarray) and isinstance(student.logits, np.ndarray):
        compare = bernoulli_kl if split.task.kind == "multilabel" else softmax_kl
        return compare(teacher.logits, student.logits)
    assert isinstance(teacher.logits, Ragged)
    assert isinstance(student.logits, Ragged)
    if split.tokens.teacher is not split.tokens.student:
        return None
    by_window = span_kl(teacher.logits.values, student.logits.values, student.logits.offsets)
    return mean_by_group(by_window, split.tokens.student.example, len(split))


def _word_divergence(split: Split, teacher: Predictions, student: Predictions) -> tuple[float, NDArray[np.float64]]:
    """Mean KL over all words that neither model cut off, and the mean over each sentence's words."""
    assert isinstance(teacher.logits, Ragged)
    assert isinstance(student.logits, Ragged)
    ours, theirs = split.tokens.student.words, split.tokens.teacher.words
    assert ours is not None
    assert theirs is not None
    is_word = (ours.values >= 0) & (theirs.values >= 0)
    by_word = softmax_kl(teacher.logits.values[is_word], student.logits.values[is_word])
    sentence = np.repeat(np.arange(len(split)), ours.lengths)[is_word]
    return float(by_word.mean()), mean_by_group(by_word, sentence, len(split))


def calibration_error(split: Split, predictions: Predictions) -> float | None:
    """Expected calibration error over the decisions of the task: examples, labels, words or answers."""
    task, gold = split.task, split.examples.labels
    if task.kind == "regression":
        return None
    if task.kind == "qa":
        exact = question_scores(references(split.examples), predictions.decoded).exact
        return expected_calibration_error(predictions.confidences, exact)
    if task.kind == "tagging":
        assert isinstance(predictions.logits, Ragged)
        right = np.concatenate([np.equal(tags, given) for tags, given in zip(gold, predictions.decoded, strict=True)])
        words = (split.tokens.student if predictions.side == "student" else split.tokens.teacher).words
        assert words is not None
        confidences = decision_confidence(task.kind, predictions.logits.values)
        return expected_calibration_error(confidences[words.values >= 0], right[words.values >= 0])
    assert isinstance(predictions.logits, np.ndarray)
    confidences = decision_confidence(task.kind, predictions.logits)
    if task.kind == "multilabel":
        labels = len(task.labels)
        return expected_calibration_error(confidences, multi_hot(gold, labels) == multi_hot(predictions.decoded, labels))
    return expected_calibration_error(confidences, np.asarray(gold) == np.asarray(predictions.decoded))
