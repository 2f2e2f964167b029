"""Learning rate as a function of the optimiser step."""

from __future__ import annotations

from stillhouse.config import StageConfig


def learning_rate_factor(step: int, steps: int, config: StageConfig) -> float:
    """Share of the peak learning rate at a step, 0..1.

    Rises linearly over the first `warmup` share of the steps, whose first is not lost to a rate of 0; then stays, or falls
    linearly to 0 at `steps`.

    Args:
        step: Optimiser steps taken so far.
        steps: All steps of the stage.
        config: Gives `warmup` and `decay`.
    """
    warmup_steps = round(config.warmup * steps)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if config.decay == "constant":
        return 1.0
    return max(0.0, (steps - step) / max(1, steps - warmup_steps))
