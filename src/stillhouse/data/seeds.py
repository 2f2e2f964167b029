"""What is drawn from a run's seeds: every purpose has a stream of its own, so that one's draws never shift another's."""

from __future__ import annotations

from typing import Literal

# Of a model's seed, for `stage_seed`. Its stages are numbered from 0; fresh weights come from streams far behind them.
FRESH_STUDENT, FRESH_TEACHER, FRESH_ASSISTANT = 1000, 1001, 1002
FRESH_BESIDE = 2000  # the student, in a stage: and its number

# Of a stage's seed, for `Step.random`. The order of the rows is drawn from the seed and the epoch alone.
GATES, MASKS = 1, 2

# Of the data's seed: choosing fewer labels does not change the validation rows.
Purpose = Literal["validation", "max_train", "max_labels", "selection", "held_out", "slice"]
CHOICES: dict[Purpose, int] = {"validation": 0, "max_train": 1, "max_labels": 2, "selection": 3, "held_out": 4, "slice": 5}


def stage_seed(seed: int, stream: int) -> int:
    """Seed of a stage, or of fresh weights: the model's seed and the number of the stream, mixed."""
    return (seed * 1_000_003 + stream * 7919 + 17) % 2**63


def process_seed(seed: int, step: int, process: int) -> int:
    """Seed of the dropout of a process other than the first, from a step on."""
    return seed + step * 1_000 + process
