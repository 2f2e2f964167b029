"""MiniLMv2 (Wang et al., 2021; arXiv:2012.15828v2), on a corpus or, without one, on the text of a task.

general, relations:  L = a_Q KL_rel(Q, Q) + a_K KL_rel(K, K) + a_V KL_rel(V, V)      eqs. 4 and 5; of one layer of each side
distil:              logit distillation, since relations train no head

KL_rel as in MiniLM, over relation heads: the heads' vectors side by side, cut into `relation_heads` parts on both sides, so
that the numbers of native heads, and the widths, may differ. Departures from the paper: it distils on a corpus alone and
fine-tunes on gold labels; here relations are learnt from the task's text where a run has no corpus, and the last stage
learns from soft labels too.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import ClassVar, Literal

from stillhouse import layer_maps
from stillhouse.config import Fraction, NonNegativeFloat, PositiveInt, StageConfig
from stillhouse.errors import UserError
from stillhouse.features import Dimensions, Part
from stillhouse.method import Method, Stage
from stillhouse.methods.minilm import MiniLMStages, published
from stillhouse.objectives.relation_kl import RelationKL
from stillhouse.objectives.soft_labels import Temperature, hard_and_soft
from stillhouse.task import Kind

LARGE = 1024  # the width from which a teacher is a large one
PUBLISHED_HEADS, PUBLISHED_HEADS_LARGE = 48, 64


class MiniLMv2(Method):
    """Relations among queries, among keys and among values of the last layer.

    Attributes:
        teacher_layer: Whose relations are learnt, 1-based; None = the last.
        weight_query: a_Q; 0 leaves the relation out.
        weight_key: a_K.
        weight_value: a_V.
        relation_heads: Has to divide both widths; None = 48, with a teacher of width 1024 or more 64,
            or the largest such number below.
        temperature: T of the last stage; 0.001 to 10,000.
        weight_soft: Share of the soft term in the last stage.
        weight_hard: Weight of its hard term; None = 1 - weight_soft.
        compat: `official`: the paper's steps and batch on a corpus.
    """

    general_stages: ClassVar[tuple[str, ...]] = ("general",)
    official_stages: ClassVar[Mapping[str, StageConfig]] = {"general": published(learning_rate=6e-4)}

    name: Literal["minilmv2"] = "minilmv2"
    teacher_layer: PositiveInt | None = None
    weight_query: NonNegativeFloat = 1.0
    weight_key: NonNegativeFloat = 1.0
    weight_value: NonNegativeFloat = 1.0
    relation_heads: PositiveInt | None = None
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
        weights: dict[Part, float] = {"query": self.weight_query, "key": self.weight_key, "value": self.weight_value}
        weights = {part: weight for part, weight in weights.items() if weight}
        if not weights:
            raise UserError(
                "method.weight_query, weight_key and weight_value are 0 and leave no relation to learn",
                expected="at least one above 0",
            )
        return RelationKL(
            relations=tuple((part, part) for part in weights),
            weights=tuple(weights.values()),
            student_layer=student.layers,
            teacher_layer=layer_maps.one_layer(self.teacher_layer, teacher.layers),
            heads=self._heads(student, teacher),
        )

    def _heads(self, student: Dimensions, teacher: Dimensions) -> int:
        both = gcd(student.attention_width, teacher.attention_width)
        possible = [count for count in range(1, both + 1) if both % count == 0]
        if self.relation_heads is None:
            largest = PUBLISHED_HEADS_LARGE if teacher.attention_width >= LARGE else PUBLISHED_HEADS
            return max(count for count in possible if count <= largest)
        if self.relation_heads not in possible:
            raise UserError(
                f"method.relation_heads is {self.relation_heads}, which does not divide the widths of student and "
                f"teacher, {student.attention_width} and {teacher.attention_width}",
                expected=f"one of {', '.join(map(str, possible))}",
            )
        return self.relation_heads
