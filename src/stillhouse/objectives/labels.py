"""Gold labels and the teacher's side by side, as logit distillation weighs them."""

from __future__ import annotations

from stillhouse.data.task import TaskKind
from stillhouse.objectives.hard_labels import HardLabels
from stillhouse.objectives.soft_labels import Divergence, SoftLabels


def hard_and_soft(
    kind: TaskKind,
    *,
    weight_soft: float,
    weight_hard: float | None,
    temperature: float,
    divergence: Divergence = "kl",
    per_class: bool = False,
) -> tuple[HardLabels, SoftLabels]:
    """`(1 - a) L_hard + a L_soft` as two objectives.

    Args:
        kind: Of the task.
        weight_soft: a.
        weight_hard: Instead of `1 - a`; None = that.
        temperature: See `SoftLabels`.
        divergence: See `SoftLabels`.
        per_class: See `SoftLabels`.
    """
    return (
        HardLabels(kind=kind, weight=1 - weight_soft if weight_hard is None else weight_hard),
        SoftLabels(kind=kind, weight=weight_soft, temperature=temperature, divergence=divergence, per_class=per_class),
    )
