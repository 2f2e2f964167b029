"""Logit distillation (Hinton et al., 2015; arXiv:1503.02531v1, section 2).

L = (1 - a) L_hard + a T^2 KL(softmax(z_teacher / T) || softmax(z_student / T))       a -> weight_soft, T -> temperature

The hard term has temperature 1. T^2 keeps the size of the soft gradient independent of T. Regression: the soft term is the
squared difference of the outputs, without T. Tagging: mean over words. Question answering: start and end averaged.
Departures from the paper: KL instead of cross-entropy (they differ by the teacher's entropy, a constant; `divergence: ce`
gives the paper's), and weights that add up to one unless `weight_hard` is given.
"""

from __future__ import annotations

from typing import Literal

from stillhouse.config import Fraction, Frozen, NonNegativeFloat, StageConfig
from stillhouse.features import Dimensions
from stillhouse.method import Method, Stage
from stillhouse.objectives.soft_labels import Divergence, Temperature, hard_and_soft
from stillhouse.task import Kind


class LogitStages(Frozen):
    """The one stage of logit distillation."""

    distil: StageConfig = StageConfig(epochs=4, least_steps=300, learning_rate=5e-5)


class Logit(Method):
    """Soft labels of the teacher beside the gold labels.

    Attributes:
        temperature: T, softens both distributions; 0.001 to 10,000.
        weight_soft: a, the share of the soft term.
        weight_hard: Weight of the hard term; None = 1 - a.
        divergence: `kl` or `ce`.
    """

    name: Literal["logit"] = "logit"
    temperature: Temperature = 2.0
    weight_soft: Fraction = 0.7
    weight_hard: NonNegativeFloat | None = None
    divergence: Divergence = "kl"
    stages: LogitStages = LogitStages()

    def plan(self, kind: Kind, student: Dimensions, teacher: Dimensions) -> tuple[Stage, ...]:  # noqa: ARG002
        objectives = hard_and_soft(
            weight_soft=self.weight_soft,
            weight_hard=self.weight_hard,
            temperature=self.temperature,
            divergence=self.divergence,
        )
        return (Stage("distil", objectives, self.stages.distil),)
