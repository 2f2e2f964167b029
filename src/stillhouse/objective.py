"""What the loop knows of an objective: its name, its weight, what it needs, and how to call it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from stillhouse.config import Frozen, NonNegativeFloat
from stillhouse.data.batch import Batch
from stillhouse.data.text import Unit
from stillhouse.errors import UserError
from stillhouse.features import NOTHING, FeatureName, Features, Needs, needs_of

Origin = Literal["gold", "teacher", "text"]
LayerPairs = Annotated[tuple[tuple[int, int], ...], Field(min_length=1)]  # (student layer, teacher layer), 0 = embeddings


class Objective(Frozen, ABC):
    """One loss term.

    Attributes:
        name: How log and report call it.
        learns_from: Labels of the data (`gold`), the `teacher`, or the `text` itself.
        weight: Its factor in the stage's sum.
    """

    name: ClassVar[str]
    learns_from: ClassVar[Origin] = "teacher"
    weight: NonNegativeFloat = 1.0

    @property
    @abstractmethod
    def student_needs(self) -> Needs: ...

    @property
    def unit(self) -> Unit:
        """What the term is a mean over: what its share of a step's sum is counted in, where micro-batches make up a step."""
        return "rows"

    @property
    def teacher_needs(self) -> Needs:
        return NOTHING

    @property
    def layer_pairs(self) -> tuple[tuple[int, int], ...]:
        """Which layer of the student learns from which layer of the teacher, where that is said."""
        return ()

    @abstractmethod
    def __call__(self, student: Features, teacher: Features, batch: Batch) -> Tensor:
        """The unweighted term, a scalar in nats or squared units, in float32."""


class LayerObjective(Objective):
    """A loss term over pairs of layers, one of the student and one of the teacher.

    Attributes:
        compares: What of each of these layers.
        layers: The pairs.
    """

    compares: ClassVar[tuple[FeatureName, ...]]
    layers: LayerPairs

    @property
    def layer_pairs(self) -> tuple[tuple[int, int], ...]:
        return self.layers

    @property
    def student_needs(self) -> Needs:
        return needs_of(self.compares, (own for own, _ in self.layers))

    @property
    def teacher_needs(self) -> Needs:
        return needs_of(self.compares, (its for _, its in self.layers))


def check_heads(name: str, *sides: Tensor) -> None:
    """Refuses to compare head by head what has not as many heads: some would be left out, or a single one repeated.

    Args:
        name: Of what compares.
        sides: `(batch, heads, ...)`: the student's vectors, then the teacher's.

    Raises:
        UserError: They differ.
    """
    student, *others = (side.shape[1] for side in sides)
    for heads in others:
        if heads != student:
            raise UserError(
                f"{name} compares attention head by head, but the student has {student} heads and the teacher {heads}",
                expected="as many heads on both sides",
                fix="choose another student, or `minilmv2`, whose relation heads are cut anew",
            )
