"""Everything that a stage trains, in one module: the only one that Accelerate prepares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import nn

from stillhouse.config import Frozen
from stillhouse.data.batch import Batch
from stillhouse.data.text import Step
from stillhouse.errors import UserError
from stillhouse.features import Dimensions, Features, Needs
from stillhouse.models.forward import forward

Sharing = Literal["per_layer", "shared", "embedding+shared"]


class StudentSide(nn.Module):
    """The student and what is trained beside it.

    Its forward returns the Features that the stage needs, hidden states already in the teacher's width; the losses read
    nothing else.

    Args:
        encoder: The student.
        needs: What the stage reads.
        projections: For some hidden states a linear map; the same one may serve several.

    Attributes:
        may_rest: Whether there may be steps in which nothing is trained.
        measured: Parameters that are not trained, but whose gradients count in the norm that is clipped.
        models: All whose layers run in training: the student, and what else a method puts beside it.
    """

    may_rest: ClassVar[bool] = False

    def __init__(self, encoder: nn.Module, needs: Needs, projections: Mapping[int, nn.Linear] | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.needs = needs
        projections = projections or {}
        maps = list(dict.fromkeys(projections.values()))
        self.projections = nn.ModuleList(maps)
        self._projection_of = {layer: maps.index(projection) for layer, projection in projections.items()}
        self.measured: list[nn.Parameter] = []
        self.models: list[nn.Module] = [encoder]

    def forward(self, batch: Batch) -> Features:
        features = forward(self.encoder, batch.learner, self.needs)
        if not self._projection_of:
            return features
        mapped = {
            feature: self.projections[self._projection_of[feature.layer]](state)
            for feature, state in features.tensors.items()
            if feature.name in ("hidden_state", "cls") and feature.layer in self._projection_of
        }
        return features.replaced(mapped)

    def before_step(self, step: Step) -> None:
        """Told before every optimiser step."""

    def try_out(self, batch: Batch) -> None:
        """One forward pass by every way that training may take."""
        self(batch)

    def values(self) -> dict[str, float]:
        """Numbers that change with the step, for the log."""
        return {}

    def release(self) -> None:
        """Gives the encoder back as it was, but for its weights."""


class StageSide(Frozen):
    """How a stage's student side is made: the student alone. Its subclasses make others."""

    def build(self, encoder: nn.Module, teacher: nn.Module | None, needs: Needs) -> StudentSide:  # noqa: ARG002
        """The module; its fresh weights come from torch's global generator.

        Args:
            encoder: The student.
            teacher: The teacher; parts of it may be used, without gradient.
            needs: What the stage reads of the student.
        """
        return StudentSide(encoder, needs)


class ProjectedSide(StageSide):
    """The student with linear maps, with bias, from its width to the teacher's. They are dropped with the stage.

    A map between equal widths starts as the identity, any other from a normal distribution of width 0.02.

    Attributes:
        layers: The hidden states that are mapped, 0 = embedding output.
        student_width: Width of the student's hidden states.
        teacher_width: Width of the teacher's.
        sharing: One map `per_layer`; one `shared` by all; or one for the embeddings and one shared by all layers.
    """

    layers: tuple[int, ...]
    student_width: int
    teacher_width: int
    sharing: Sharing = "per_layer"

    def build(self, encoder: nn.Module, teacher: nn.Module | None, needs: Needs) -> StudentSide:  # noqa: ARG002
        groups = {layer: self._group(layer) for layer in self.layers}
        maps = {group: nn.Linear(self.student_width, self.teacher_width) for group in dict.fromkeys(groups.values())}
        for projection in maps.values():
            nn.init.zeros_(projection.bias)
            if self.student_width == self.teacher_width:
                nn.init.eye_(projection.weight)  # layers that were copied already speak the teacher's language
            else:
                nn.init.trunc_normal_(projection.weight, std=0.02)
        return StudentSide(encoder, needs, {layer: maps[group] for layer, group in groups.items()})

    def _group(self, layer: int) -> int:
        if self.sharing == "per_layer":
            return layer
        return min(layer, 1) if self.sharing == "embedding+shared" else 0


def in_one_space(
    method: str, layers: tuple[int, ...], student: Dimensions, teacher: Dimensions, *, projection: bool
) -> StageSide:
    """The side of a method that compares vectors of student and teacher.

    Args:
        method: Its name, for messages.
        layers: Whose hidden states are compared.
        student: Sizes of the student.
        teacher: Sizes of the teacher.
        projection: Whether a linear map between the widths is learnt.

    Raises:
        UserError: The widths differ, and no map was asked for.
    """
    if projection:
        return ProjectedSide(layers=layers, student_width=student.width, teacher_width=teacher.width)
    if student.width != teacher.width:
        raise UserError(
            f"{method} compares vectors, but the student's width is {student.width} and the teacher's {teacher.width}",
            expected=f"a student of width {teacher.width}",
            fix="choose such a student, or let a linear map be learnt: --set method.projection=true",
        )
    return StageSide()
