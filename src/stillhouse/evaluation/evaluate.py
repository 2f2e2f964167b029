"""A model on a split: its predictions, and what they are worth against gold labels and against the teacher."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from torch import nn

from stillhouse.data.batch import TokenizedSplit
from stillhouse.data.ragged import Ragged
from stillhouse.data.task import METRICS as MAIN_METRIC
from stillhouse.data.task import Examples, Task
from stillhouse.evaluation import fidelity
from stillhouse.evaluation.intervals import bootstrap_interval
from stillhouse.evaluation.metrics import METRICS_OF, Metric
from stillhouse.evaluation.squad import Answered, Window, best_answers, best_threshold, question_scores
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


@dataclass(frozen=True)
class Predictions:
    """What one model says of one split.

    Attributes:
        logits: As `compute_logits` gives them: a row an example, for question answering a row a window.
        decoded: Per example: class id, tuple of label ids, float, tuple of tag ids, or answer text ("" = no answer).
        confidences: Probability of what was decoded, per example; NaN for regression.
        answers: Question answering only: the decoding behind `decoded`.
    """

    logits: Logits
    decoded: list[Any]
    confidences: NDArray[np.float64]
    answers: Answered | None = None
