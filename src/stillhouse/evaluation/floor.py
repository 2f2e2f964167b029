"""What knowing nothing scores, and whether a teacher is above it."""

from __future__ import annotations

from collections import Counter
from math import sqrt

import numpy as np

from stillhouse.data.task import METRICS as MAIN_METRIC
from stillhouse.errors import UserError
from stillhouse.evaluation.evaluate import Predictions, Split, main_score


def floor_score(split: Split) -> float:
    """The main metric of the best constant answer: the majority class or label set, no entity, no answer, no correlation."""
    labels = [label for label in split.examples.labels if label is not None]
    if split.task.kind == "classification":
        return Counter(labels).most_common(1)[0][1] / len(labels)
    if split.task.kind == "multilabel":
        constant = Counter(labels).most_common(1)[0][0]
        decoded = [constant] * len(labels)
        return main_score(split, Predictions(np.empty(0, np.float32), decoded, np.empty(0)))
    if split.task.kind == "qa":
        return sum(not answers for answers in labels) / len(labels)
    return 0.0


def check_teacher(split: Split, predictions: Predictions, *, allow_weak: bool) -> str:
    """Compares a teacher with the floor on the selection rows.

    Returns:
        Its score in words; a warning where it is within two standard errors above the floor.

    Raises:
        UserError: It is not above the floor, and `allow_weak` is off.
    """
    score, floor = main_score(split, predictions), floor_score(split)
    metric = MAIN_METRIC[split.task.kind]
    said = f"{metric} {score:.3f} on {len(split)} selection rows (knowing nothing: {floor:.3f})"
    if score <= floor and not allow_weak:
        raise UserError(
            f"the teacher is no better than always giving the most frequent answer: {said}",
            expected="a teacher that has learnt the task",
            fix="check that labels fit texts, train the teacher longer (--set teacher.finetune.epochs=5), "
            "or go on all the same with --allow-weak-teacher",
        )
    error = sqrt(max(floor * (1 - floor), 1e-9) / len(split))
    if score < floor + 2 * error:
        said += "; warning: within two standard errors of knowing nothing"
    return said
