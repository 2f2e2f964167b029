"""Patient knowledge distillation, BERT-PKD (Sun et al., 2019; arXiv:1908.09355v1).

L = (1 - a) L_hard + a L_soft + b L_patient                                     a -> weight_soft, b -> weight_patient

L_soft     = T^2 KL(softmax(z_teacher / T) || softmax(z_student / T))           T -> temperature
L_patient  = mean over examples, j = 1..M-1 of || h_j / |h_j| - t_I(j) / |t_I(j)| ||^2 / d
             h_j, t_i: CLS of the student's layer j, of the teacher's layer i; I -> layer_map, `skip` or `last`

The top layer is left out: it feeds the classifier, and with it the soft labels. Departures from the paper: KL times T^2 in
the place of cross-entropy, and the mean over the width, both as in the authors' code; a linear map between different widths
where it is asked for.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stillhouse import layer_maps
from stillhouse.config import Fraction, Frozen, NonNegativeFloat, StageConfig
from stillhouse.errors import UserError
from stillhouse.features import Dimensions
from stillhouse.method import Method, Stage
from stillhouse.objectives.normalised_cls import NormalisedCls, Scale
from stillhouse.objectives.soft_labels import Divergence, Temperature, hard_and_soft
from stillhouse.students.side import in_one_space
from stillhouse.task import Kind

RULES = {"skip": layer_maps.uniform, "last": layer_maps.last}


class PKDStages(Frozen):
    """The one stage of patient distillation."""

    distil: StageConfig = StageConfig(epochs=4, least_steps=300, learning_rate=5e-5)


class PKD(Method):
    """CLS vectors of the layers below the top, beside soft and gold labels.

    Attributes:
        temperature: T, softens both distributions; 0.001 to 10,000.
        weight_soft: a, the share of the soft term.
        weight_hard: Weight of the hard term; None = 1 - a.
        weight_patient: b.
        divergence: `kl` or `ce`.
        layer_map: `skip`, `last`, or the teacher layer of each student layer but the last.
        normalise: Whether CLS vectors are brought to length one.
        scale: `element_mean`, for which the published weights are meant, or `paper_sum`, d times as large.
        projection: A learnt linear map from the student's width to the teacher's; asked for where the widths differ.
        compat: `official`: the soft term divided by the number of classes, as in the authors' code.
    """

    name: Literal["pkd"] = "pkd"
    temperature: Temperature = 10.0
    weight_soft: Fraction = 0.7
    weight_hard: NonNegativeFloat | None = None
    weight_patient: NonNegativeFloat = 100.0
    divergence: Divergence = "kl"
    layer_map: Literal["skip", "last"] | Annotated[tuple[int, ...], Field(min_length=1)] = "skip"
    normalise: bool = True
    scale: Scale = "element_mean"
    projection: bool = False
    compat: Literal["official"] | None = None
    stages: PKDStages = PKDStages()

    @property
    def spreads_layers(self) -> bool:
        return self.layer_map == "skip"

    def copied_layers(self, student_layers: int, teacher_layers: int) -> tuple[int, ...]:
        return layer_maps.first(student_layers, teacher_layers)

    def plan(self, kind: Kind, student: Dimensions, teacher: Dimensions) -> tuple[Stage, ...]:  # noqa: ARG002
        if student.layers < 2:
            raise UserError(
                "pkd compares the layers below the top, and the student has only one layer",
                expected="a student of at least 2 layers",
                fix="choose a deeper student, or --method logit",
            )
        pairs = layer_maps.chosen(self.layer_map, RULES, student.layers, teacher.layers, without_top=True)
        labels = hard_and_soft(
            weight_soft=self.weight_soft,
            weight_hard=self.weight_hard,
            temperature=self.temperature,
            divergence=self.divergence,
            per_class=self.compat == "official",
        )
        patient = NormalisedCls(layers=pairs, weight=self.weight_patient, normalise=self.normalise, scale=self.scale)
        layers = tuple(own for own, _ in pairs)
        side = in_one_space("pkd", layers, student, teacher, projection=self.projection)
        return (Stage("distil", (*labels, patient), self.stages.distil, side=side),)
