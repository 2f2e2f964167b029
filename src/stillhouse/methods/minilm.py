"""MiniLM (Wang et al., 2020; arXiv:2002.10957v2), on a corpus or, without one, on the text of a task.

general, relations:  L = KL_rel(Q, K) + KL_rel(V, V)                     eqs. 4 to 8; of one layer of teacher and student
distil:              logit distillation, since relations train no head

KL_rel(X, Y) = mean over heads, real tokens t of KL( softmax(X_t Y^T / sqrt(d))_teacher || softmax(X_t Y^T / sqrt(d))_student )

Each side is scaled by its own head width; as many heads are needed on both sides. Departures from the paper: it distils on
a corpus alone and fine-tunes on gold labels; here relations are learnt from the task's text where a run has no corpus, and
the last stage learns from soft labels too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from stillhouse import layer_maps
from stillhouse.config import Fraction, Frozen, NonNegativeFloat, PositiveInt, StageConfig
from stillhouse.errors import UserError
from stillhouse.features import Dimensions
from stillhouse.method import Method, Stage
from stillhouse.objectives.relation_kl import RelationKL
from stillhouse.objectives.soft_labels import Temperature, hard_and_soft
from stillhouse.task import Kind


class MiniLMStages(Frozen):
    """Relations first, on a corpus or on the task's text; labels then."""

    general: StageConfig = StageConfig(epochs=3, learning_rate=3e-4, select_on="none")
    relations: StageConfig = StageConfig(epochs=4, least_steps=300, learning_rate=3e-4, select_on="none")
    distil: StageConfig = StageConfig(epochs=4, least_steps=300, learning_rate=5e-5)


def published(*, learning_rate: float) -> StageConfig:
    """Steps and batch of both versions on a corpus, for most students of a BERT-base."""
    rates = {"learning_rate": learning_rate, "warmup": 0.01, "weight_decay": 0.01}
    return StageConfig(steps=400_000, batch_size=256, accumulate=8, select_on="none", **rates)


class MiniLM(Method):
    """Attention distributions and value relations of the last layer.

    Attributes:
        teacher_layer: Whose relations are learnt, 1-based; None = the last.
        temperature: T of the last stage; 0.001 to 10,000.
        weight_soft: Share of the soft term in the last stage.
        weight_hard: Weight of its hard term; None = 1 - weight_soft.
        compat: `official`: the paper's steps and batch on a corpus.
    """

    general_stages: ClassVar[tuple[str, ...]] = ("general",)
    official_stages: ClassVar[Mapping[str, StageConfig]] = {"general": published(learning_rate=3e-4)}

    name: Literal["minilm"] = "minilm"
    teacher_layer: PositiveInt | None = None
    temperature: Temperature = 2.0
    weight_soft: Fraction = 0.7
    weight_hard: NonNegativeFloat | None = None
    compat: Literal["official"] | None = None
    stages: MiniLMStages = MiniLMStages()

    def general(self, student: Dimensions, teacher: Dimensions) -> tuple[Stage, ...]:
        return (Stage("general", (self._relations(student, teacher),), self.stages.general, text="corpus"),)

    def plan(self, kind: Kind, student: Dimensions, teacher: Dimensions) -> tuple[Stage, ...]:  # noqa: ARG002
        relations = (self._relations(student, teacher),)
        labels = hard_and_soft(weight_soft=self.weight_soft, weight_hard=self.weight_hard, temperature=self.temperature)
        return (
            Stage("relations", relations, self.stages.relations, without_corpus=True),
            Stage("distil", labels, self.stages.distil),
        )

    def _relations(self, student: Dimensions, teacher: Dimensions) -> RelationKL:
        layer = layer_maps.one_layer(self.teacher_layer, teacher.layers)
        if student.heads != teacher.heads:
            raise UserError(
                f"minilm compares heads one by one, but the student has {student.heads} heads and the teacher {teacher.heads}",
                expected=f"a student with {teacher.heads} heads",
                fix="choose such a student (LxH has as many as its teacher), or --method minilmv2",
            )
        if student.windows[-1] != teacher.windows[layer - 1]:
            raise UserError(
                f"the student's last layer and layer {layer} of the teacher do not attend alike: one is local, one global",
                expected="layers that attend alike",
                fix="choose another --set method.teacher_layer, or --method minilmv2",
            )
        return RelationKL(relations=(("query", "key"), ("value", "value")), student_layer=student.layers, teacher_layer=layer)
