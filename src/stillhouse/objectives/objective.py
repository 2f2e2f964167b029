"""What the loop knows of an objective: its name, its weight, what it needs, and how to call it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from stillhouse.config import Frozen, NonNegativeFloat
from stillhouse.data.batch import Batch
from stillhouse.features import Features, Needs


class Objective(Frozen, ABC):
    """One loss term.

    Attributes:
        name: How log and report call it.
        weight: Its factor in the stage's sum.
    """

    name: ClassVar[str]
    weight: NonNegativeFloat = 1.0

    @property
    @abstractmethod
    def student_needs(self) -> Needs: ...

    @property
    def teacher_needs(self) -> Needs:
        return Needs()

    @abstractmethod
    def __call__(self, student: Features, teacher: Features, batch: Batch) -> Tensor:
        """The unweighted term, a scalar in nats or squared units, in float32."""
