"""Method and Stage: what a method file says and what the loop reads. Values, no behaviour to override but `plan`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from stillhouse.config import MethodSettings, StageConfig
from stillhouse.corpus.masking import Masking
from stillhouse.features import NOTHING, Dimensions, Needs
from stillhouse.layer_maps import spread
from stillhouse.objective import Objective
from stillhouse.students.side import StageSide
from stillhouse.task import Kind

Role = Literal["teacher", "assistant", "student", "baseline"]
"""What a model is in a run."""

TextName = Literal["corpus", "task"]
"""What a stage trains on: the blocks of a corpus, or the rows of the task."""


@dataclass(frozen=True)
class Trained:
    """What a stage trains: factors of its learning rate, by part of the encoder; what has 0 rests.

    Attributes:
        embeddings: Of all that is neither a layer nor the task head: embeddings, a pooler, a last normalisation.
        layers: Of all layers, or of each.
        head: Of the task head.
    """

    embeddings: float = 1.0
    layers: float | tuple[float, ...] = 1.0
    head: float = 1.0


@dataclass(frozen=True)
class Stage:
    """One phase of training: objectives that are minimised together.

    Attributes:
        name: Its name in log, report and checkpoints.
        objectives: The terms of the loss.
        config: Steps, batch size, optimiser and schedule.
        evaluate_every: Steps between two scores on the selection rows; None = once an epoch.
        text: What it trains on; a run that has none of it leaves the stage out.
        without_corpus: Whether a run with a corpus leaves it out, too: what it teaches was learnt there.
        masking: Which tokens of a corpus are hidden; None = none.
        trained: What of the encoder is trained.
        pads: Whether every row is filled up to the run's longest input, for losses that count padding.
        dropout: Whether the student's dropout is active.
        side: How the student side is made: what is trained beside the encoder.
        student: Who learns; set by the run, not by a method.
        teacher: Whom it learns from; None = nobody. Who that is, the run sets.
    """

    name: str
    objectives: Sequence[Objective]
    config: StageConfig
    evaluate_every: int | None = None
    text: TextName = "task"
    without_corpus: bool = False
    masking: Masking | None = None
    trained: Trained = Trained()
    pads: bool = False
    dropout: bool = True
    side: StageSide = field(default_factory=StageSide)
    student: Role = "student"
    teacher: Role | None = "teacher"

    @property
    def needs_gold(self) -> bool:
        """Whether it learns from gold labels alone: rows without one are left out then."""
        return all(objective.learns_from == "gold" for objective in self.objectives)

    @property
    def student_needs(self) -> Needs:
        return NOTHING.union(*(objective.student_needs for objective in self.objectives))

    @property
    def teacher_needs(self) -> Needs:
        return NOTHING.union(*(objective.teacher_needs for objective in self.objectives))


class Method(MethodSettings, ABC):
    """One paper: how its student starts and which stages it trains.

    A subclass has the fields `name`, `stages` (a frozen model with one `StageConfig` a stage, in order) and its own knobs.

    Attributes:
        uses_teacher: Whether anything is learnt from a teacher.
        general_stages: Names of those of its stages that learn from a corpus, in order; none = no stage can.
        official_stages: What `compat: official` makes of some stages: the steps and batches of the paper.
        uses_plain_text: Whether anything is learnt from rows without a gold label.
        starts_from_fitted_teacher: Whether the student starts from the teacher as it solves the task, head included,
            rather than from what it was before it was fine-tuned.
        default_student: The shape of the student where the user names none.
    """

    uses_teacher: ClassVar[bool] = True
    general_stages: ClassVar[tuple[str, ...]] = ()
    official_stages: ClassVar[Mapping[str, StageConfig]] = {}
    uses_plain_text: ClassVar[bool] = True
    starts_from_fitted_teacher: ClassVar[bool] = False
    default_student: ClassVar[str] = "half"

    @classmethod
    def preset(cls, compat: object = None) -> Self:
        """Its settings where nothing else is given.

        Args:
            compat: `official` = with `official_stages`; the setting of this name is left as it is.
        """
        method = cls.model_validate({})
        stages = cls.official_stages if compat == "official" else {}
        return method.model_copy(update={"stages": method.stages.model_copy(update=stages)})

    @property
    def spreads_layers(self) -> bool:
        """Whether the layers that are learnt from are spread evenly over the teacher's, and so may be rounded."""
        return False

    def copied_layers(self, student_layers: int, teacher_layers: int) -> tuple[int, ...]:
        """Which teacher layer (1-based) each student layer starts from, where the widths agree."""
        return spread(student_layers, teacher_layers)

    def general(self, student: Dimensions, teacher: Dimensions) -> tuple[Stage, ...]:  # noqa: ARG002
        """The stages that learn from a corpus, in order: `general_stages`.

        Args:
            student: Sizes of the student.
            teacher: Sizes of the teacher; a method without one does not look at them.

        Raises:
            UserError: The method cannot do with these models.
        """
        return ()

    @abstractmethod
    def plan(self, kind: Kind, student: Dimensions, teacher: Dimensions) -> tuple[Stage, ...]:
        """The stages that learn from the rows of a task, in order.

        Args:
            kind: Of the task.
            student: Sizes of the student.
            teacher: Sizes of the teacher; a method without one does not look at them.

        Raises:
            UserError: The method cannot do with these models.
        """

    def last_config(self, *, has_task: bool = True) -> StageConfig:
        """How the last stage runs; see `last_stage`."""
        config: StageConfig = getattr(self.stages, self.last_stage(has_task=has_task))
        return config

    @classmethod
    def last_stage(cls, *, has_task: bool = True) -> str:
        """Name of the last stage of a run with or without a task: the one that `--epochs` and its like speak of."""
        if not has_task and cls.general_stages:
            return cls.general_stages[-1]
        stages: Any = cls.model_fields["stages"].default
        return str(list(type(stages).model_fields)[-1])
