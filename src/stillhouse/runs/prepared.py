"""All that a run works with, ready to train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from stillhouse.data.examples import Dataset
from stillhouse.data.tokenized_split import TokenizedSplit
from stillhouse.evaluation.evaluate import Split
from stillhouse.method import Role, Stage
from stillhouse.models.model import Model
from stillhouse.models.start import Start
from stillhouse.runs.run_config import RunConfig
from stillhouse.task import Task
from stillhouse.training.trainer import stage_steps


@dataclass(frozen=True)
class Learner:
    """A model that learns, ready to: the student, or the assistant before it.

    Attributes:
        model: The model at its start, as far as that is known before anything is trained.
        stages: What it goes through, in order.
        teacher: From whom it learns; None = from nobody.
        restart: Makes it anew from its teacher, where that is trained first; None = its start is known already.
    """

    model: Model
    stages: tuple[Stage, ...]
    teacher: Role | None
    restart: Callable[[Model], tuple[Model, Start]] | None = None

    @property
    def role(self) -> Role:
        return self.stages[0].student


@dataclass(frozen=True)
class Prepared:
    """All that a run works with.

    Attributes:
        config: The complete configuration.
        dataset: The data, labels in the teacher's order.
        teacher: The teacher; to be fine-tuned first where `teacher_has_head` is false.
        learners: Who learns, in order; the student is the last.
        splits: `train`, `selection`, `validation` and, where there is one with labels, `test`.
        data_notes: What was decided about the data.
        model_notes: How the student starts, and from which layers it learns.
    """

    config: RunConfig
    dataset: Dataset
    teacher: Model
    teacher_has_head: bool
    learners: tuple[Learner, ...]
    splits: dict[str, Split]
    data_notes: tuple[str, ...]
    model_notes: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.data_notes, *self.model_notes)

    @property
    def student(self) -> Model:
        """The student at its start."""
        return self.learners[-1].model

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The method's plan for the student, in order."""
        return self.learners[-1].stages

    @property
    def task(self) -> Task:
        return self.dataset.task

    @property
    def fits_teacher(self) -> bool:
        """Whether the teacher is fine-tuned first."""
        return self.config.needs_fitted_teacher and not self.teacher_has_head

    def rows_of(self, stage: Stage) -> TokenizedSplit:
        """The training rows that a stage sees, with the labels that it may use."""
        is_fit, labels = stage.student == "teacher", self.config.data.labels
        # The baseline, which has no teacher, learns from the words that the student learns from: those that both models see.
        views = (self.teacher.view,) if is_fit else (self.student.view, self.teacher.view)
        train = self.splits["train"].tokens.seen_by(*views)
        if stage.pads:
            assert self.config.data.max_length is not None
            train = replace(train, width=self.config.data.max_length)
        if not is_fit and not stage.needs_gold and labels == "teacher":
            return train.without_labels()
        if not stage.needs_gold and labels != "gold":
            return train
        return train.labelled()

    def step_counts(self) -> list[tuple[int, int]]:
        """For each stage of the student its optimiser steps, and the steps between two scores on the selection rows."""
        return [stage_steps(stage, len(self.rows_of(stage))) for stage in self.stages]
