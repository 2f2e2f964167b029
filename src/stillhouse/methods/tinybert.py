"""TinyBERT (Jiao et al., 2020; arXiv:1909.10351v5): one stage on a corpus, two on the task's text.

general, intermediate:  L = L_embd + sum over m = 1..M of ( L_hidn(m) + L_attn(m) )
prediction:             L = L_pred

L_embd    = MSE(H_0 W_0, T_0)                                        eq. 9; H, T: hidden states of student and teacher
L_hidn(m) = MSE(H_m W_m, T_g(m))                                     eq. 8; g -> layer_map, W -> projections
L_attn(m) = 1/heads sum over heads MSE(Z_m, Z_g(m))                  eq. 7; Z: scores, before mask and softmax
L_pred    = CE(softmax(z_teacher / t), softmax(z_student / t))       eq. 10; t -> temperature

Departures from the paper: means run over real tokens, and over pairs of them (`compat: official` counts padding, up to
`max_length`, as the authors' code does); maps between equal widths start as the identity; the regression's target is the
teacher, with `official` the gold label; the head is the architecture's own; no augmented text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stillhouse import layer_maps
from stillhouse.config import Frozen, StageConfig
from stillhouse.corpus.masking import Masking
from stillhouse.errors import UserError
from stillhouse.features import Dimensions
from stillhouse.method import Method, Stage
from stillhouse.objective import Objective
from stillhouse.objectives.attention_scores_mse import AttentionScoresMSE
from stillhouse.objectives.hard_labels import HardLabels
from stillhouse.objectives.hidden_mse import EmbeddingMSE, HiddenMSE
from stillhouse.objectives.soft_labels import SoftLabels, Temperature
from stillhouse.students.side import ProjectedSide, Sharing
from stillhouse.task import Kind

RULES = {"uniform": layer_maps.uniform, "top": layer_maps.last, "bottom": layer_maps.first}


class TinyBERTStages(Frozen):
    """The general phase, and the two stages of the task phase."""

    general: StageConfig = StageConfig(epochs=3, learning_rate=3e-4, select_on="none")
    intermediate: StageConfig = StageConfig(epochs=20, learning_rate=5e-5, warmup=0.0, decay="constant", select_on="none")
    prediction: StageConfig = StageConfig(epochs=3, least_steps=300, learning_rate=3e-5)


class TinyBERT(Method):
    """Embeddings, hidden states and attention scores first, soft labels then.

    Attributes:
        layer_map: `uniform`, `top`, `bottom`, or the teacher layer of each student layer.
        projections: One linear map `per_layer`, one `shared` by all, or one for the embeddings and one for all layers
            (`embedding+shared`).
        temperature: t of the prediction stage; 0.001 to 10,000.
        embedding: Whether the embedding term is there.
        hidden: Whether the hidden term is there.
        attention: Whether the attention term is there.
        prediction: Whether the last stage learns from soft labels; otherwise from the gold labels.
        masking: Which tokens of a corpus are hidden; None = none.
        compat: `official`: the reductions of the authors' code, and the paper's batch on a corpus.
    """

    general_stages: ClassVar[tuple[str, ...]] = ("general",)
    official_stages: ClassVar[Mapping[str, StageConfig]] = {
        "general": StageConfig(epochs=3, learning_rate=5e-5, batch_size=256, accumulate=8, select_on="none")
    }

    name: Literal["tinybert"] = "tinybert"
    layer_map: Literal["uniform", "top", "bottom"] | Annotated[tuple[int, ...], Field(min_length=1)] = "uniform"
    projections: Sharing = "per_layer"
    temperature: Temperature = 1.0
    embedding: bool = True
    hidden: bool = True
    attention: bool = True
    prediction: bool = True
    masking: Masking | None = None
    compat: Literal["official"] | None = None
    stages: TinyBERTStages = TinyBERTStages()

    @property
    def spreads_layers(self) -> bool:
        return self.layer_map == "uniform"

    def general(self, student: Dimensions, teacher: Dimensions) -> tuple[Stage, ...]:
        objectives = self._inside(student, teacher)
        if not objectives:
            raise UserError(
                "method.embedding, hidden and attention are off and leave nothing to learn from a corpus",
                expected="at least one that is on",
                fix="turn one on, or leave --corpus out",
            )
        return (
            Stage(
                "general",
                objectives,
                self.stages.general,
                text="corpus",
                masking=self.masking,
                side=self._side(student, teacher),
                pads=self.compat == "official",
            ),
        )

    def plan(self, kind: Kind, student: Dimensions, teacher: Dimensions) -> tuple[Stage, ...]:
        objectives = self._inside(student, teacher)
        prediction = Stage("prediction", (self._prediction(kind),), self.stages.prediction)
        if not objectives:
            return (prediction,)
        side, pads = self._side(student, teacher), self.compat == "official"
        return (Stage("intermediate", objectives, self.stages.intermediate, side=side, pads=pads), prediction)

    def _inside(self, student: Dimensions, teacher: Dimensions) -> tuple[Objective, ...]:
        """What is compared inside the models."""
        pairs = layer_maps.chosen(self.layer_map, RULES, student.layers, teacher.layers)
        is_official = self.compat == "official"
        objectives: list[Objective] = []
        if self.embedding:
            objectives.append(EmbeddingMSE(tokens="all" if is_official else "valid"))
        if self.hidden:
            objectives.append(HiddenMSE(layers=pairs, tokens="all" if is_official else "valid"))
        if self.attention:
            _check_attention(pairs, student, teacher)
            objectives.append(AttentionScoresMSE(layers=pairs, pairs="official" if is_official else "valid"))
        return tuple(objectives)

    def _side(self, student: Dimensions, teacher: Dimensions) -> ProjectedSide:
        return ProjectedSide(
            layers=tuple(range(student.layers + 1)),
            student_width=student.width,
            teacher_width=teacher.width,
            sharing=self.projections,
        )

    def _prediction(self, kind: Kind) -> Objective:
        is_official = self.compat == "official"
        if not self.prediction or (is_official and not kind.has_distribution):
            return HardLabels()
        return SoftLabels(temperature=self.temperature, divergence="ce", scale="none", per_class=is_official)


def _check_attention(pairs: tuple[tuple[int, int], ...], student: Dimensions, teacher: Dimensions) -> None:
    """Attention scores can be compared head by head, where both layers look at the same tokens."""
    without = "leave the attention out: --set method.attention=false"
    if student.heads != teacher.heads:
        raise UserError(
            f"tinybert compares heads one by one, but the student has {student.heads} heads and the teacher {teacher.heads}",
            expected=f"a student with {teacher.heads} heads",
            fix=f"choose such a student (LxH has as many as its teacher), or {without}",
        )
    for own, its in pairs:
        if student.windows[own - 1] != teacher.windows[its - 1]:
            kinds = ["global" if window is None else "local" for window in (student.windows[own - 1], teacher.windows[its - 1])]
            raise UserError(
                f"layer {own} of the student has {kinds[0]} attention, layer {its} of the teacher {kinds[1]} attention",
                expected="layers that attend alike",
                fix=f"give another --set method.layer_map, or {without}",
            )
