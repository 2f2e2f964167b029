"""Training without a teacher: the baseline that every distilled student has to beat.

masked_lm:  L = L_masked            cross-entropy at the masked tokens of a corpus
finetune:   L = L_hard              cross-entropy, or squared error for regression, against the gold labels

Reference: BERT (Devlin et al., 2019, arXiv:1810.04805v2), sections 3.1 and 4. Departures: no next-sentence prediction.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from stillhouse.config import Frozen, StageConfig
from stillhouse.corpus.masking import Masking
from stillhouse.features import Dimensions
from stillhouse.method import Method, Stage
from stillhouse.objectives.hard_labels import HardLabels
from stillhouse.objectives.masked_lm import MaskedLM
from stillhouse.task import Kind


class FinetuneStages(Frozen):
    """On a corpus, and on a task."""

    masked_lm: StageConfig = StageConfig(epochs=3, learning_rate=1e-4, select_on="last")
    finetune: StageConfig = StageConfig(epochs=4, least_steps=300, learning_rate=5e-5)


class Finetune(Method):
    """The student alone, with masked text or with gold labels.

    Attributes:
        masking: Which tokens of a corpus are hidden.
    """

    uses_teacher: ClassVar[bool] = False
    general_stages: ClassVar[tuple[str, ...]] = ("masked_lm",)
    uses_plain_text: ClassVar[bool] = False

    name: Literal["finetune"] = "finetune"
    masking: Masking = Masking()
    stages: FinetuneStages = FinetuneStages()

    def general(self, student: Dimensions, teacher: Dimensions) -> tuple[Stage, ...]:  # noqa: ARG002
        return (Stage("masked_lm", (MaskedLM(),), self.stages.masked_lm, text="corpus", masking=self.masking, teacher=None),)

    def plan(self, kind: Kind, student: Dimensions, teacher: Dimensions) -> tuple[Stage, ...]:  # noqa: ARG002
        return (Stage("finetune", (HardLabels(),), self.stages.finetune),)
