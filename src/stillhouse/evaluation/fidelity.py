"""How close a student's predictions are to its teacher's, and how honest a model's probabilities are.

Measures on logits are in float64. Divergences are KL(teacher || student) in nats, without temperature: 0 where both agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax, softmax

Array = NDArray[np.float64]
BINS = 15


def softmax_kl(teacher_logits: NDArray[Any], student_logits: NDArray[Any]) -> Array:
    """KL between the distributions over classes, `(..., classes)` -> `(...)`: of each example, or of each word."""
    teacher, student = _pair(teacher_logits, student_logits)
    return _summed(log_softmax(teacher, axis=-1), log_softmax(student, axis=-1)).clip(min=0.0)


def bernoulli_kl(teacher_logits: NDArray[Any], student_logits: NDArray[Any]) -> Array:
    """KL between independent labels, each a sigmoid, summed over labels: `(examples, labels)` -> `(examples,)`."""
    teacher, student = _pair(teacher_logits, student_logits)
    probs = expit(teacher)
    value = probs * (log_expit(teacher) - log_expit(student))
    value += expit(-teacher) * (log_expit(-teacher) - log_expit(-student))
    summed: Array = value.sum(axis=-1).clip(min=0.0)
    return summed


def span_kl(
    teacher_logits: NDArray[Any],
    student_logits: NDArray[Any],
    offsets: NDArray[np.int64],
) -> Array:
    """Mean of the KL of the start and of the end distribution over a window's tokens: `(windows,)`.

    Args:
        teacher_logits: Start and end logits of all windows one after the other, `(tokens, 2)`.
        student_logits: The same tokens.
        offsets: Where each window starts, and the end of the last, `(windows + 1,)`.
    """
    teacher, student = _pair(teacher_logits, student_logits)
    if len(offsets) < 2:
        return np.empty(0)
    if (np.diff(offsets) < 1).any():
        raise ValueError(f"window {int(np.flatnonzero(np.diff(offsets) < 1)[0])} has no token")
    teacher, student = _window_log_softmax(teacher, offsets), _window_log_softmax(student, offsets)
    by_window = np.add.reduceat(np.exp(teacher) * (teacher - student), offsets[:-1], axis=0)
    value: Array = by_window.mean(axis=-1).clip(min=0.0)
    return value


def retention(teacher: Mapping[str, Any] | None, student: Mapping[str, Any]) -> float | None:
    """Student's share of the teacher's score; None without a teacher's score, or one that is not positive."""
    if teacher is None or teacher["score"] is None or teacher["score"] <= 0:
        return None
    return float(student["score"] / teacher["score"])


def gap_closed(
    teacher: Mapping[str, Any] | None, student: Mapping[str, Any], baseline: Mapping[str, Any] | None
) -> float | None:
    """Share of the way from baseline to teacher; None without a baseline, or where the teacher is not above it."""
    if teacher is None or baseline is None or teacher["score"] <= baseline["score"]:
        return None
    return float((student["score"] - baseline["score"]) / (teacher["score"] - baseline["score"]))


def mean_by_group(values: Array, groups: NDArray[np.int64], count: int) -> Array:
    """Mean of the values of each group 0..count - 1, words by sentence or windows by question; NaN for an empty one."""
    sizes = np.bincount(groups, minlength=count)
    sums = np.bincount(groups, weights=values, minlength=count)
    means: Array = np.divide(sums, sizes, out=np.full(count, np.nan), where=sizes > 0)
    return means


def share_equal(teacher: Any, student: Any) -> float:
    """Share of equal entries of two arrays of one shape, 0..1; 0 of empty ones."""
    teacher, student = np.asarray(teacher), np.asarray(student)
    if teacher.shape != student.shape:
        raise ValueError(f"the teacher's predictions are {teacher.shape} but the student's {student.shape}")
    equal = teacher == student
    return float(equal.mean()) if equal.size else 0.0


def softmax_confidence(logits: NDArray[Any]) -> Array:
    """Probability of the best class, `(..., classes)` -> `(...)`."""
    confidence: Array = softmax(np.asarray(logits, dtype=np.float64), axis=-1).max(axis=-1)
    return confidence


def sigmoid_confidence(logits: NDArray[Any]) -> Array:
    """Probability max(p, 1 - p) of the decision on each label, in the shape of the logits."""
    likelier: Array = expit(np.abs(np.asarray(logits, dtype=np.float64)))
    return likelier


def expected_calibration_error(confidences: Any, correct: Any, bins: int = BINS) -> float | None:
    """Mean distance between confidence and accuracy over bins of equal width, weighted by their decisions.

    ECE = sum over bins b of (n_b / n) |accuracy_b - confidence_b|; a bin holds (lower, upper].

    Args:
        confidences: Probability of each decision, in any shape.
        correct: Which decisions are right, of the same shape; exact match for answers.
        bins: Number of bins over 0..1.

    Returns:
        0 (calibrated) to 1; None where there is nothing to calibrate: no decisions, or no probabilities (regression).

    Reference: Guo et al., 2017 (arXiv:1706.04599v2), section 2.
    """
    confidence = np.asarray(confidences, dtype=np.float64).ravel()
    right = np.asarray(correct, dtype=np.float64).ravel()
    if confidence.shape != right.shape:
        raise ValueError(f"{len(confidence)} confidences for {len(right)} decisions")
    if len(confidence) == 0 or np.isnan(confidence).any():
        return None
    edges = np.arange(1, bins) / bins
    gaps = np.bincount(np.searchsorted(edges, confidence, side="left"), weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def _pair(teacher_logits: NDArray[Any], student_logits: NDArray[Any]) -> tuple[Array, Array]:
    if teacher_logits.shape != student_logits.shape:
        raise ValueError(f"teacher logits are {teacher_logits.shape} but student logits {student_logits.shape}")
    return np.asarray(teacher_logits, dtype=np.float64), np.asarray(student_logits, dtype=np.float64)


def _summed(teacher_log_probs: Array, student_log_probs: Array) -> Array:
    value: Array = (np.exp(teacher_log_probs) * (teacher_log_probs - student_log_probs)).sum(axis=-1)
    return value


def _window_log_softmax(logits: Array, offsets: NDArray[np.int64]) -> Array:
    """Log-softmax over the tokens of each window, start and end apart."""
    lengths = np.diff(offsets)
    shifted = logits - np.repeat(np.maximum.reduceat(logits, offsets[:-1], axis=0), lengths, axis=0)
    log_sums = np.log(np.add.reduceat(np.exp(shifted), offsets[:-1], axis=0))
    log_probs: Array = shifted - np.repeat(log_sums, lengths, axis=0)
    return log_probs
