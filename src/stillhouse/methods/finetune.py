"""Fine-tuning without a teacher: the baseline that every distilled student has to beat.

L = L_hard                          cross-entropy, or squared error for regression, against the gold labels

Reference: BERT (Devlin et al., 2019, arXiv:1810.04805v2), section 4. Departures: none.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from stillhouse.config import Frozen, StageConfig
from stillhouse.features import Dimensions
from stillhouse.method import Method, Stage
from stillhouse.objectives.hard_labels import HardLabels
from stillhouse.task import Kind


class FinetuneStages(Frozen):
    """The one stage of fine-tuning."""

    finetune: StageConfig = StageConfig(epochs=4, least_steps=300, learning_rate=5e-5)


class Finetune(Method):
    """The student alone with the gold labels."""

    uses_teacher: ClassVar[bool] = False
    uses_plain_text: ClassVar[bool] = False

    name: Literal["finetune"] = "finetune"
    stages: FinetuneStages = FinetuneStages()

    def plan(self, kind: Kind, student: Dimensions, teacher: Dimensions) -> tuple[Stage, ...]:  # noqa: ARG002
        return (Stage("finetune", (HardLabels(),), self.stages.finetune),)
