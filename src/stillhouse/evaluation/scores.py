"""What a model's predictions on a split are worth, as it is written to files."""

from __future__ import annotations

from typing import Any

from stillhouse.evaluation.evaluate import Predictions, Split, statistics
from stillhouse.evaluation.intervals import bootstrap_interval
from stillhouse.evaluation.likeness import calibration_error


def scores_entry(split: Split, predictions: Predictions) -> dict[str, Any]:
    """Scores of one model on one split, the main one with its 95 % interval."""
    table = statistics(split, predictions)
    main, values = table[split.task.kind.main_metric.name]
    every = {name: float(metric.value(rows.sum(axis=0))) for name, (metric, rows) in table.items()}
    every |= split.task.kind.more_scores(split, predictions.decoded)
    interval = bootstrap_interval(values, main.value)
    return {
        "score": float(main.value(values.sum(axis=0))),
        "interval": [interval.low, interval.high],
        "scores": every,
        "ece": calibration_error(split, predictions),
    }
