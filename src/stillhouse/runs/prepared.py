"""All that a run works with, ready to train."""

from __future__ import annotations

from dataclasses import dataclass

from stillhouse.data.batch import TokenizedSplit
from stillhouse.data.examples import Dataset
from stillhouse.errors import UserError
from stillhouse.evaluation.evaluate import Split
from stillhouse.method import Stage
from stillhouse.models.model import Model
from stillhouse.runs.run_config import RunConfig
from stillhouse.task import Task
from stillhouse.training.trainer import stage_steps


@dataclass(frozen=True)
class Prepared:
    """All that a run works with.

    Attributes:
        config: The complete configuration.
        dataset: The data, labels in the teacher's order.
        teacher: The teacher; to be fine-tuned first where `teacher_has_head` is false.
        student: The student at its start.
        stages: What the student is trained with, in order.
        splits: `train`, `selection`, `validation` and, where there is one with labels, `test`.
        data_notes: What was decided about the data.
        model_notes: How the student starts, and from which layers it learns.
    """

    config: RunConfig
    dataset: Dataset
    teacher: Model
    teacher_has_head: bool
    student: Model
    stages: tuple[Stage, ...]
    splits: dict[str, Split]
    data_notes: tuple[str, ...]
    model_notes: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.data_notes, *self.model_notes)

    @property
    def task(self) -> Task:
        return self.dataset.task

    def student_rows(self) -> TokenizedSplit:
        """The training rows as the student sees them: which labels it may use."""
        train = self.splits["train"].tokens
        if self.config.data.labels == "gold" or not self.config.method.uses_plain_text:
            return self.gold_rows()
        return train.without_labels() if self.config.data.labels == "teacher" else train

    def gold_rows(self) -> TokenizedSplit:
        """The training rows that have a gold label.

        Raises:
            UserError: There are none.
        """
        rows = self.splits["train"].tokens.labelled()
        if len(rows) == 0:
            raise UserError(
                "no training row has a label",
                expected="labels to train on",
                fix="use --labels teacher, or data with labels",
            )
        return rows

    def step_counts(self) -> list[tuple[int, int]]:
        """For each stage its optimiser steps, and the steps between two scores on the selection rows."""
        rows = self.student_rows()
        return [stage_steps(stage, len(rows.labelled() if stage.needs_gold else rows)) for stage in self.stages]
