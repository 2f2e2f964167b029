"""BERT-of-Theseus (Xu et al., 2020; arXiv:2002.02925v4): teacher blocks are replaced by single layers, at random.

replacing:   y_(i+1) = r_i scc_i(y_i) + (1 - r_i) prd_i(y_i),   r_i ~ Bernoulli(p(t))           eqs. 3 to 5
             p(t) = b for `constant_steps`, or the whole stage (`constant`);                    b -> base
             p(t) = min(1, k t + b) (`curriculum`)                                              eq. 8; k -> slope
             p(t) = max(b, 1 - k t) (`decreasing`, the paper's counter-check)
successor:   y_(i+1) = scc_i(y_i)                                                               section 3.2

prd_i: N/M layers of the predecessor, the teacher as it solves the task; scc_i: one layer of the successor, at first a copy of
the predecessor's layer i (`copied`). L = L_hard in both stages: there is no other loss. Embeddings and head are the
predecessor's and stay as they are. Departures from the paper: k defaults to what reaches 1 half way through the stage; a layer
that was not drawn rests, and gradients are clipped by the norm over the successor alone, where the authors' code moves such a
layer on its momentum and counts the predecessor's gradients too (`compat: official`).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from stillhouse import layer_maps
from stillhouse.config import Fraction, Frozen, NonNegativeFloat, PositiveInt, StageConfig
from stillhouse.errors import UserError
from stillhouse.features import Dimensions
from stillhouse.method import Method, Stage, Trained
from stillhouse.objectives.hard_labels import HardLabels
from stillhouse.students.replacing import Replacing, Schedule
from stillhouse.task import Kind

OPTIMISER = {"weight_decay": 0.0, "warmup": 0.0}
LAYERS_ALONE = Trained(embeddings=0.0, head=0.0)


class TheseusStages(Frozen):
    """Replacing, then fine-tuning what is left."""

    replacing: StageConfig = StageConfig(epochs=10, least_steps=300, learning_rate=2e-5, **OPTIMISER)
    successor: StageConfig = StageConfig(epochs=3, least_steps=100, learning_rate=2e-5, **OPTIMISER)


class Theseus(Method):
    """Compression by progressive module replacing.

    Attributes:
        schedule: `curriculum`, `constant` or `decreasing`, see the head of this file.
        base: p of a constant schedule, b of the others; 0..1.
        slope: k of a curriculum, a step; None = p gets to its other end half way through the stage.
        constant_steps: Of a constant schedule: after so many steps p is 1; None = not in this stage.
        per_example: One gate for each example and module instead of one for each module and step; costs both branches.
        predecessor_dropout: Whether the predecessor's dropout is active.
        train_head: Whether embeddings and head are trained in the second stage too.
        copied: What a successor layer starts from: layer i of the predecessor (`first`), or the first or last layer of the
            module that it replaces (`module_first`, `module_last`).
        compat: `official`: momentum and clipping of the authors' code.
    """

    uses_plain_text: ClassVar[bool] = False
    starts_from_fitted_teacher: ClassVar[bool] = True

    name: Literal["theseus"] = "theseus"
    schedule: Schedule = "curriculum"
    base: Fraction = 0.3
    slope: NonNegativeFloat | None = None
    constant_steps: PositiveInt | None = None
    per_example: bool = False
    predecessor_dropout: bool = True
    train_head: bool = False
    copied: Literal["first", "module_first", "module_last"] = "first"
    compat: Literal["official"] | None = None
    stages: TheseusStages = TheseusStages()

    def copied_layers(self, student_layers: int, teacher_layers: int) -> tuple[int, ...]:
        size = max(1, teacher_layers // student_layers)
        if self.copied == "first" or teacher_layers % student_layers:  # the plan refuses the latter
            return layer_maps.first(student_layers, teacher_layers)
        return tuple(range(1 if self.copied == "module_first" else size, teacher_layers + 1, size))

    def plan(self, kind: Kind, student: Dimensions, teacher: Dimensions) -> tuple[Stage, ...]:  # noqa: ARG002
        self._check_schedule()
        _check(student, teacher)
        replacing = Replacing(
            schedule=self.schedule,
            base=self.base,
            slope=self.slope,
            constant_steps=self.constant_steps,
            per_example=self.per_example,
            predecessor_dropout=self.predecessor_dropout,
            official=self.compat == "official",
        )
        loss = (HardLabels(),)
        return (
            Stage("replacing", loss, self.stages.replacing, trained=LAYERS_ALONE, side=replacing),
            Stage("successor", loss, self.stages.successor, trained=Trained() if self.train_head else LAYERS_ALONE),
        )

    def _check_schedule(self) -> None:
        unread = {"constant": "slope", "curriculum": "constant_steps", "decreasing": "constant_steps"}[self.schedule]
        if getattr(self, unread) is not None:
            raise UserError(
                f"method.{unread} is {getattr(self, unread)}, which a {self.schedule} schedule does not know",
                expected=f"method.{unread} left out, or another method.schedule",
            )
        stays = self.schedule == "constant" and self.constant_steps is None
        if self.base == 0 and (stays or (self.schedule == "curriculum" and self.slope == 0)):
            raise UserError(
                f"a {self.schedule} schedule that stays at method.base 0 replaces no layer: none would be trained",
                expected="a replacing rate above 0",
                fix="give method.base, such as 0.5",
            )


def _check(student: Dimensions, teacher: Dimensions) -> None:
    if student.family != teacher.family or student.width != teacher.width:
        raise UserError(
            f"theseus puts the student's layers in the place of the teacher's, but the student is a {student.family} of width "
            f"{student.width} and the teacher a {teacher.family} of width {teacher.width}",
            expected=f"a student of the teacher's family and of width {teacher.width}",
            fix="choose --student half, or LxH with the teacher's width",
        )
    if teacher.layers % student.layers:
        would = [str(count) for count in range(1, teacher.layers + 1) if teacher.layers % count == 0]
        raise UserError(
            f"theseus replaces equal blocks, but the teacher's {teacher.layers} layers cannot be cut into {student.layers}",
            expected=f"a student of {', '.join(would)} layers",
        )
    if teacher.is_shared or student.is_shared:
        raise UserError(
            f"theseus replaces layers, but those of {teacher.family} share their weights",
            expected="a teacher whose layers have weights of their own",
            fix="choose another teacher, or --method logit",
        )
    if len(set(teacher.windows)) > 1:
        raise UserError(
            f"theseus replaces blocks by one layer, but those of {teacher.family} attend locally and globally in turn",
            expected="a teacher whose layers all attend alike",
            fix="choose another teacher, or --method logit",
        )
