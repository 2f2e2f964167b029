"""Scores of predictions against gold labels, each a function of sums over examples.

A metric first turns every example into a row of statistics, then computes the score from their sum. Any subset, or any
resample with replacement, is then scored from a weighted sum of rows, which is what the bootstrap of `intervals` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.evaluation.answer_scores import question_scores
from stillhouse.evaluation.spans import precision_recall_f1, span_statistics, token_statistics

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One score.

    Attributes:
        name: As it stands in metrics.json.
        statistics: (gold, predicted) -> one row an example, `(examples, k)`. Both are arrays of class ids or numbers, boolean
            arrays `(examples, labels)` or a list of tag names a sentence; or a list of reference texts a question (none = no
            answer) and one answer text a question ("" = none given).
        value: Sums of rows `(..., k)` -> scores `(...)`.
        higher_is_better: False for errors.
    """

    name: str
    statistics: Callable[[Any, Any], Array]
    value: Callable[[Array], Array]
    higher_is_better: bool = True

    def score(self, gold: Any, predicted: Any) -> float:
        """The score of all examples together."""
        return float(self.value(self.statistics(gold, predicted).sum(axis=0)))


def _divide(numerator: Array, denominator: Array) -> Array:
    """The quotient; 0 where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    quotient = np.zeros(numerator.shape)
    return np.divide(numerator, denominator, out=quotient, where=denominator > 0)


def _share(sums: Array) -> Array:
    return _divide(sums[..., 0], sums[..., 1])


def _same_shape(gold: Any, predicted: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    gold, predicted = np.asarray(gold), np.asarray(predicted)
    if gold.shape != predicted.shape:
        raise ValueError(f"gold labels are {gold.shape} but predictions {predicted.shape}")
    return gold, predicted


# Classification: class ids.


def _correct(gold: Any, predicted: Any) -> Array:
    gold, predicted = _same_shape(gold, predicted)
    return np.stack((gold == predicted, np.ones(len(gold))), axis=1)


def _class_counts(gold: Any, predicted: Any) -> Array:
    """Per class: 1 where it was rightly predicted, predicted, the gold class; `(examples, 3 classes)`."""
    gold, predicted = _same_shape(gold, predicted)
    if len(gold) == 0:
        return np.zeros((0, 3))
    if min(gold.min(), predicted.min()) < 0:
        raise ValueError("class ids must not be negative: leave rows without a label out")
    rows = np.arange(len(gold))
    counts = np.zeros((len(gold), 3, int(max(gold.max(), predicted.max())) + 1))
    counts[rows, 0, gold] = gold == predicted
    counts[rows, 1, predicted] = 1
    counts[rows, 2, gold] = 1
    return counts.reshape(len(gold), -1)


def _unstack(sums: Array) -> tuple[Array, Array, Array]:
    right, predicted, gold = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    return right, predicted, gold


def _macro_f1_present(sums: Array) -> Array:
    right, predicted, gold = _unstack(sums)
    return _divide(_divide(2 * right, predicted + gold).sum(axis=-1), (predicted + gold > 0).sum(axis=-1))


def _matthews(sums: Array) -> Array:
    # Gorodkin's R_K from the marginals: no confusion matrix, which would be quadratic in the classes, is needed.
    right, predicted, gold = _unstack(sums)
    examples = gold.sum(axis=-1)
    covariance = right.sum(axis=-1) * examples - (predicted * gold).sum(axis=-1)
    spread = (examples**2 - (predicted**2).sum(axis=-1)) * (examples**2 - (gold**2).sum(axis=-1))
    return _divide(covariance, np.sqrt(spread))


# Multilabel: boolean arrays (examples, labels).


def _label_counts(gold: Any, predicted: Any) -> Array:
    gold, predicted = _same_shape(gold, predicted)
    gold, predicted = gold.astype(bool), predicted.astype(bool)
    return np.concatenate((gold & predicted, predicted, gold), axis=1).astype(np.float64)


def _pooled_label_counts(gold: Any, predicted: Any) -> Array:
    counts = _label_counts(gold, predicted)
    pooled: Array = counts.reshape(len(counts), 3, -1).sum(axis=-1)
    return pooled


def _pooled_f1(sums: Array) -> Array:
    f1: Array = precision_recall_f1(sums)[..., 2]
    return f1


def _macro_f1_all(sums: Array) -> Array:
    right, predicted, gold = _unstack(sums)
    mean: Array = _divide(2 * right, predicted + gold).mean(axis=-1)
    return mean


# Regression: numbers.


def _squared_error(gold: Any, predicted: Any) -> Array:
    gold, predicted = _same_shape(gold, predicted)
    difference = predicted.astype(np.float64) - gold
    return np.stack((difference**2, np.ones(len(gold))), axis=1)


def _centred(values: NDArray[Any]) -> Array:
    values = values.astype(np.float64)
    # The mean of equal numbers may differ from them in the last bit, which would leave a spread of rounding errors.
    if len(values) == 0 or values.min() == values.max():
        return np.zeros(len(values))
    centred: Array = values - values.mean()
    return centred


def _moments(gold: Any, predicted: Any) -> Array:
    """1, x, y, xx, yy, xy of values whose mean was taken away first, so that the sums don't cancel."""
    gold, predicted = _same_shape(gold, predicted)
    x, y = _centred(gold), _centred(predicted)
    return np.stack((np.ones(len(x)), x, y, x * x, y * y, x * y), axis=1)


def _rank_moments(gold: Any, predicted: Any) -> Array:
    from scipy.stats import rankdata  # takes a second to import, and one kind of task needs it

    gold, predicted = _same_shape(gold, predicted)
    return _moments(rankdata(gold), rankdata(predicted))


def _correlation(sums: Array) -> Array:
    count, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spread_x, spread_y = xx - _divide(x * x, count), yy - _divide(y * y, count)
    # What is left of two equal sums is rounding, not spread.
    varies = (spread_x > 1e-12 * xx) & (spread_y > 1e-12 * yy)
    value = _divide(xy - _divide(x * y, count), np.sqrt(np.where(varies, spread_x * spread_y, 0.0)))
    return np.clip(value, -1.0, 1.0)


# Question answering: reference answers of each question, and one answer text.


def _answer_f1(gold: Any, predicted: Any) -> Array:
    scores = question_scores(gold, predicted)
    return np.stack((scores.f1, np.ones(len(scores.f1))), axis=1)


def _answer_exact(gold: Any, predicted: Any) -> Array:
    scores = question_scores(gold, predicted)
    return np.stack((scores.exact, np.ones(len(scores.exact))), axis=1)


accuracy = Metric("accuracy", _correct, _share)
"""Share of right classes."""

macro_f1 = Metric("macro_f1", _class_counts, _macro_f1_present)
"""Unweighted mean of the F1 of every class that occurs in gold or predictions."""

mcc = Metric("mcc", _class_counts, _matthews)
"""Matthews correlation, for any number of classes; 0 where gold or predictions are of one class."""

micro_f1 = Metric("micro_f1", _pooled_label_counts, _pooled_f1)
"""F1 of all label decisions together."""

multilabel_macro_f1 = Metric("macro_f1", _label_counts, _macro_f1_all)
"""Unweighted mean of the F1 of every label; a label that occurs nowhere counts as 0."""

pearson = Metric("pearson", _moments, _correlation)
"""Pearson correlation; 0 where one side is constant."""

spearman = Metric("spearman", _rank_moments, _correlation)
"""Spearman correlation, ties at their average rank; 0 where one side is constant.

Ranks are no sums over examples: they are those among the rows given, so that a bootstrap resamples fixed ranks. The
score itself is exact; its interval treats the ranks as known.
"""

mse = Metric("mse", _squared_error, _share, higher_is_better=False)
"""Mean squared error."""

span_f1 = Metric("span_f1", span_statistics, _pooled_f1)
"""F1 of entity spans right in type and both ends, all types together."""

token_accuracy = Metric("token_accuracy", token_statistics, _share)
"""Share of words with the right tag."""

answer_f1 = Metric("f1", _answer_f1, _share)
"""Mean over questions of the F1 of the answer's words against the best reference."""

answer_exact = Metric("exact", _answer_exact, _share)
"""Share of answers equal to a reference after SQuAD's normalisation."""
