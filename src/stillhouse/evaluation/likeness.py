"""How like its teacher a student is on a split, and how well calibrated a model is there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stillhouse.evaluation.evaluate import Predictions, Split
from stillhouse.evaluation.fidelity import expected_calibration_error


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
    kind = split.task.kind
    agreement = kind.agreement(kind.compared(split, teacher), kind.compared(split, student))
    return Likeness(agreement, *kind.divergence(split, teacher, student))


def calibration_error(split: Split, predictions: Predictions) -> float | None:
    """Expected calibration error over the decisions of the task: examples, labels, words or answers."""
    decisions = split.task.kind.decisions(split, predictions)
    return None if decisions is None else expected_calibration_error(*decisions)
