"""What knowing nothing scores, and what is clearly above it."""

from __future__ import annotations

from math import sqrt

from stillhouse.evaluation.evaluate import Predictions, Split, main_statistics
from stillhouse.evaluation.intervals import bootstrap_interval


def floor_score(split: Split) -> float:
    """The main metric of the best constant answer: majority class, some most frequent labels, no entity, no answer, 0."""
    return split.task.kind.floor([label for label in split.examples.labels if label is not None], split.task)


def is_within_noise(split: Split, predictions: Predictions, score: float, floor: float) -> bool:
    """Whether a score above the floor may be chance: it is within two standard errors, or its 95 % interval reaches down."""
    variance = split.task.kind.floor_variance(floor, len(split))
    if variance is not None:
        return score < floor + 2 * sqrt(variance / len(split))
    metric, table = main_statistics(split, predictions)
    return bootstrap_interval(table, metric.value).low <= floor
