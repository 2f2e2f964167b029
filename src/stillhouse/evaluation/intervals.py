"""Bootstrap intervals of a score, and of the difference between two models on the same examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Value = Callable[[Array], Array]
RESAMPLES = 2000
CELLS = 4_000_000  # draws held at once


@dataclass(frozen=True)
class Interval:
    """The score of all examples, and the percentile interval around it."""

    score: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The difference of two scores of all examples, and the percentile interval around it."""

    difference: float
    low: float
    high: float


def bootstrap_interval(
    statistics: Array, value: Value, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> Interval:
    """Percentile interval of one model's score under resampling of the examples.

    Args:
        statistics: One row an example, `(examples, k)`, see `metrics.Metric`.
        value: Score of summed rows.
        resamples: Number of resamples.
        seed: Same seed, same interval, whatever the order of the examples.
        level: Probability inside the interval, 0 < level < 1.
    """
    kinds = _Kinds([statistics])
    replicates = [value(weights @ kinds.statistics[0]) for weights in kinds.resample(resamples, _random(seed))]
    return Interval(float(value(kinds.counts @ kinds.statistics[0])), *_percentiles(replicates, level))


def paired_difference(
    statistics_a: Array,
    statistics_b: Array,
    value: Value,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Interval of score(a) - score(b): both are scored on the same resampled examples.

    Args:
        statistics_a: One row an example, `(examples, k)`.
        statistics_b: The same examples in the same order.
        value: Score of summed rows.
        resamples: Number of resamples.
        seed: Of the resampling.
        level: Probability inside the interval.
    """
    return paired_difference_over_seeds([statistics_a], [statistics_b], value, resamples, seed, level)


def paired_difference_over_seeds(
    statistics_a: Sequence[Array],
    statistics_b: Sequence[Array],
    value: Value,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Interval of the mean over seeds of score(a) - score(b), under resampling of examples and of seeds.

    Each replicate draws the examples once, for all seeds alike, and then as many seeds as there are, with replacement.
    Runs of the same seed stay a pair.

    Args:
        statistics_a: For each seed one row an example, `(examples, k)`.
        statistics_b: The same seeds and examples in the same order.
        value: Score of summed rows.
        resamples: Number of resamples.
        seed: Of the resampling.
        level: Probability inside the interval.
    """
    return pooled_difference([Pairing(statistics_a, statistics_b, value)], resamples, seed, level)


@dataclass(frozen=True)
class Pairing:
    """Two models on one data set.

    Attributes:
        statistics_a: For each seed one row an example, `(examples, k)`.
        statistics_b: The same seeds and examples in the same order.
        value: Score of summed rows.
    """

    statistics_a: Sequence[Array]
    statistics_b: Sequence[Array]
    value: Value


def pooled_difference(
    pairings: Sequence[Pairing], resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> Difference:
    """Interval of the mean over data sets of the mean over seeds of score(a) - score(b); every set weighs the same.

    Each replicate resamples every set's examples and seeds, as `paired_difference_over_seeds` does, and averages.

    Args:
        pairings: One a data set.
        resamples: Number of resamples.
        seed: Of the resampling.
        level: Probability inside the interval.
    """
    random = _random(seed)
    found = [_replicates(pairing, resamples, random) for pairing in pairings]
    difference = float(np.mean([value for value, _ in found]))
    return Difference(difference, *_percentiles([np.mean([values for _, values in found], axis=0)], level))


def _replicates(pairing: Pairing, resamples: int, random: np.random.Generator) -> tuple[float, Array]:
    """The difference of one data set, and what it is under resampling, `(resamples,)`."""
    statistics_a, statistics_b, value = pairing.statistics_a, pairing.statistics_b, pairing.value
    if not statistics_a or len(statistics_a) != len(statistics_b):
        raise ValueError(f"{len(statistics_a)} runs can't be paired with {len(statistics_b)}")
    seeds = len(statistics_a)
    kinds = _Kinds([*statistics_a, *statistics_b])

    def differences(weights: Array) -> Array:
        values = [value(weights @ statistics) for statistics in kinds.statistics]
        return np.stack([values[run] - values[seeds + run] for run in range(seeds)], axis=-1)

    replicates = []
    for weights in kinds.resample(resamples, random):
        drawn = random.integers(seeds, size=(len(weights), seeds))
        replicates.append(np.take_along_axis(differences(weights), drawn, axis=1).mean(axis=1))
    return float(differences(kinds.counts).mean()), np.concatenate(replicates)


class _Kinds:
    """Examples that have the same statistics throughout are of one kind; a resample is how many of each it holds.

    The counts of a resample are multinomial, whether over examples or over kinds, but kinds are few (four for the
    accuracy of two models) and in an order of their own, so that the order of the examples cannot matter.
    """

    def __init__(self, statistics: Sequence[Array]) -> None:
        rows = [np.asarray(each, dtype=np.float64) for each in statistics]
        if len({len(each) for each in rows}) != 1:
            raise ValueError(f"the models were scored on {[len(each) for each in rows]} examples: they can't be paired")
        if len(rows[0]) == 0:
            raise ValueError("there are no examples to resample")
        ids: list[NDArray[Any]] = [np.unique(each, axis=0, return_inverse=True)[1].reshape(-1) for each in rows]
        _, first, counts = np.unique(np.stack(ids, axis=1), axis=0, return_index=True, return_counts=True)
        self.statistics = [each[first] for each in rows]
        self.counts: Array = counts.astype(np.float64)

    def resample(self, resamples: int, random: np.random.Generator) -> Iterator[Array]:
        """Weights of the kinds in chunks, `(replicates, kinds)`; each row sums to the number of examples."""
        if resamples < 1:
            raise ValueError(f"resamples must be positive, not {resamples}")
        examples = int(self.counts.sum())
        chunk = max(1, CELLS // len(self.counts))
        for start in range(0, resamples, chunk):
            size = min(chunk, resamples - start)
            yield random.multinomial(examples, self.counts / examples, size=size).astype(np.float64)


def _random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _percentiles(replicates: list[Array], level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")
    low, high = np.quantile(np.concatenate(replicates), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
