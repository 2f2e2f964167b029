"""What a model's predictions on a split are worth, as it is written to files."""

from __future__ import annotations

from typing import Any

from stillhouse.evaluation.answer_scores import question_scores, total_scores
from stillhouse.evaluation.evaluate import Predictions, Split, references, statistics
from stillhouse.evaluation.intervals import bootstrap_interval
from stillhouse.evaluation.likeness import calibration_error
from stillhouse.evaluation.metrics import main_metric


def scores_entry(split: Split, predictions: Predictions) -> dict[str, Any]:
    """Scores of one model on one split, the main one with its 95 % interval."""
    table = statistics(split, predictions)
    main, values = table[main_metric(split.task.kind).name]
    every = {name: float(metric.value(rows.sum(axis=0))) for name, (metric, rows) in table.items()}
    if split.task.kind == "qa":
        # The official names, which also tell answerable questions from the others.
        totals = total_scores(question_scores(references(split.examples), predictions.decoded))
        every |= {name: value for name, value in totals.items() if split.task.unanswerable or "_" not in name}
    interval = bootstrap_interval(values, main.value)
    return {
        "score": float(main.value(values.sum(axis=0))),
        "interval": [interval.low, interval.high],
        "scores": every,
        "ece": calibration_error(split, predictions),
    }
