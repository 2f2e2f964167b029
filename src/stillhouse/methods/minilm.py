"""MiniLM (Wang et al., 2020; arXiv:2002.10957v2), on the text of a task.

relations:  L = KL_rel(Q, K) + KL_rel(V, V)                              eqs. 4 to 8; of one layer of teacher and student
distil:     logit distillation, since the first stage trains no head

KL_rel(X, Y) = mean over heads, real tokens t of KL( softmax(X_t Y^T / sqrt(d))_teacher || softmax(X_t Y^T / sqrt(d))_student )

Each side is scaled by its own head width; as many heads are needed on both sides. Departures from the paper: it distils on
a corpus and fine-tunes on gold labels, here both stages see the task's text, and the second learns from soft labels too.
"""

from __future__ import annotations

from typing import Literal

from stillhouse import layer_maps
from stillhouse.config import Fraction, Frozen, NonNegativeFloat, PositiveInt, StageConfig
from stillhouse.errors import UserError
from stillhouse.features import Dimensions
from stillhouse.method import Method, Stage
from stillhouse.objectives.relation_kl import RelationKL
from stillhouse.objectives.soft_labels import Temperature, hard_and_soft
from stillhouse.task import Kind


class MiniLMStages(Frozen):
    """Relations first, labels then."""

    relations: StageConfig = StageConfig(epochs=4, least_steps=300, learning_rate=3e-4, select_on="none")
    distil: StageConfig = StageConfig(epochs=4, least_steps=300, learning_rate=5e-5)


class MiniLM(Method):
    """Attention distributions and value relations of the last layer.

    Attributes:
        teacher_layer: Whose relations are learnt, 1-based; None = the last.
        temperature: T of the second stage; 0.001 to 10,000.
        weight_soft: Share of the soft term in the second stage.
        weight_hard: Weight of its hard term; None = 1 - weight_soft.
    """

    name: Literal["minilm"] = "minilm"
    teacher_layer: PositiveInt | None = None
    temperature: Temperature = 2.0
    weight_soft: Fraction = 0.7
    weight_hard: NonNegativeFloat | None = None
    stages: MiniLMStages = MiniLMStages()

    def plan(self, kind: Kind, student: Dimensions, teacher: Dimensions) -> tuple[Stage, ...]:  # noqa: ARG002
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
                fix="choose another --set method.teacher_layer, or --method logit",
            )
        relations = RelationKL(
            relations=(("query", "key"), ("value", "value")), student_layer=student.layers, teacher_layer=layer
        )
        labels = hard_and_soft(weight_soft=self.weight_soft, weight_hard=self.weight_hard, temperature=self.temperature)
        return (Stage("relations", (relations,), self.stages.relations), Stage("distil", labels, self.stages.distil))
