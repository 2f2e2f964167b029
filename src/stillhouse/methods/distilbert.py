"""DistilBERT (Sanh et al., 2019; arXiv:1910.01108v4), on a corpus, and on a task as its second step.

general:  L = a_soft L_soft + a_masked L_masked + a_cosine L_cosine      section 3; a_soft -> weight_soft_tokens
distil:   logit distillation                                             section 4

L_soft    = T^2 KL(softmax(z_teacher / T) || softmax(z_student / T))     z: scores over the vocabulary, at all real tokens
L_masked  = -log softmax(z_student)[token]                               at the masked tokens
L_cosine  = 1 - cos(h_student, h_teacher)                                h: last hidden states, at all real tokens

Both sides read the same masked text; each term is a mean over its tokens. The student starts from the teacher's embeddings,
chosen layers and the bias of its masked-LM head, as the authors' code has it. Departures from the paper: the student keeps
the segment embeddings of its teacher's family, so nothing is folded into other embeddings; Adam's betas are the usual ones; a
linear map between different widths where it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from stillhouse.config import Fraction, Frozen, NonNegativeFloat, StageConfig
from stillhouse.corpus.masking import Masking
from stillhouse.features import Dimensions
from stillhouse.method import Method, Stage
from stillhouse.objective import Objective
from stillhouse.objectives.hidden_cosine import HiddenCosine
from stillhouse.objectives.masked_lm import MaskedLM
from stillhouse.objectives.soft_labels import Temperature, hard_and_soft
from stillhouse.objectives.soft_tokens import SoftTokens
from stillhouse.students.side import StageSide, in_one_space
from stillhouse.task import Kind

GENERAL = StageConfig(epochs=3, learning_rate=3e-4, warmup=0.05, weight_decay=0.0, max_grad_norm=5.0, select_on="last")


class DistilBERTStages(Frozen):
    """On a corpus, and on a task."""

    general: StageConfig = GENERAL
    distil: StageConfig = StageConfig(epochs=4, least_steps=300, learning_rate=5e-5)


class DistilBERT(Method):
    """What the teacher would write, the masked tokens and directions of hidden states; on a task, soft and gold labels.

    Attributes:
        temperature: T, softens both distributions, in both stages; 0.001 to 10,000.
        weight_soft_tokens: a_soft; of this and of the next two, 0 leaves the term out.
        weight_masked: a_masked.
        weight_cosine: a_cosine.
        masking: Which tokens of a corpus are hidden.
        projection: A learnt linear map from the student's width to the teacher's; asked for where the widths differ.
        weight_soft: Share of the soft term on a task.
        weight_hard: Weight of its hard term; None = 1 - weight_soft.
        compat: `official`: batch and learning rate of the paper on a corpus.
    """

    general_stages: ClassVar[tuple[str, ...]] = ("general",)
    official_stages: ClassVar[Mapping[str, StageConfig]] = {
        "general": GENERAL.model_copy(update={"learning_rate": 5e-4, "batch_size": 4000, "accumulate": 125})
    }

    name: Literal["distilbert"] = "distilbert"
    temperature: Temperature = 2.0
    weight_soft_tokens: NonNegativeFloat = 5.0
    weight_masked: NonNegativeFloat = 2.0
    weight_cosine: NonNegativeFloat = 1.0
    masking: Masking = Masking(share=0.15, rarity=0.7)
    projection: bool = False
    weight_soft: Fraction = 0.7
    weight_hard: NonNegativeFloat | None = None
    compat: Literal["official"] | None = None
    stages: DistilBERTStages = DistilBERTStages()

    def general(self, student: Dimensions, teacher: Dimensions) -> tuple[Stage, ...]:
        terms: tuple[Objective, ...] = (
            SoftTokens(weight=self.weight_soft_tokens, temperature=self.temperature),
            MaskedLM(weight=self.weight_masked),
            HiddenCosine(weight=self.weight_cosine, layers=((student.layers, teacher.layers),)),
        )
        objectives = tuple(term for term in terms if term.weight)
        side = StageSide()
        if self.weight_cosine:
            side = in_one_space("distilbert", (student.layers,), student, teacher, projection=self.projection)
        return (Stage("general", objectives, self.stages.general, text="corpus", masking=self.masking, side=side),)

    def plan(self, kind: Kind, student: Dimensions, teacher: Dimensions) -> tuple[Stage, ...]:  # noqa: ARG002
        labels = hard_and_soft(weight_soft=self.weight_soft, weight_hard=self.weight_hard, temperature=self.temperature)
        return (Stage("distil", labels, self.stages.distil),)
