"""What knowing nothing scores, and whether a teacher is above it."""

from __future__ import annotations

from math import sqrt

from stillhouse.errors import UserError
from stillhouse.evaluation.evaluate import Predictions, Split, main_score, main_statistics
from stillhouse.evaluation.intervals import bootstrap_interval


def floor_score(split: Split) -> float:
    """The main metric of the best constant answer: majority class, some most frequent labels, no entity, no answer, 0."""
    return split.task.kind.floor([label for label in split.examples.labels if label is not None], split.task)


def check_teacher(split: Split, predictions: Predictions, *, allow_weak: bool, is_fitted: bool = True) -> str:
    """Compares a teacher with the floor on the selection rows.

    Args:
        split: The selection rows.
        predictions: The teacher's.
        allow_weak: Go on where it is no better.
        is_fitted: Whether the run has fine-tuned it; then it may be trained longer.

    Returns:
        Its score in words; a warning where it is within two standard errors above the floor, for tags, label sets and
        answers where the 95 % interval of its score reaches down to it.

    Raises:
        UserError: It is not above the floor, and `allow_weak` is off.
    """
    score, floor = main_score(split, predictions), floor_score(split)
    metric = split.task.kind.main_metric.name
    said = f"{metric} {score:.3f} on {len(split)} selection rows (knowing nothing: {floor:.3f})"
    if floor == 1:
        return f"{said}; warning: these rows all have one label, so they cannot tell what the teacher knows"
    if score <= floor and not allow_weak:
        longer = "train the teacher longer (--overwrite --set teacher.finetune.epochs=5)"
        another = longer if is_fitted else "choose another teacher"
        raise UserError(
            f"the teacher is no better than always giving the most frequent answer: {said}",
            expected="a teacher that has learnt the task",
            fix=f"check that labels fit texts, {another}, or go on all the same with --allow-weak-teacher",
        )
    if score <= floor:
        said += "; warning: no better than knowing nothing"
    elif _is_within_noise(split, predictions, score, floor):
        said += "; warning: within two standard errors of knowing nothing"
    return said


def _is_within_noise(split: Split, predictions: Predictions, score: float, floor: float) -> bool:
    variance = split.task.kind.floor_variance(floor, len(split))
    if variance is not None:
        return score < floor + 2 * sqrt(variance / len(split))
    metric, table = main_statistics(split, predictions)
    return bootstrap_interval(table, metric.value).low <= floor
