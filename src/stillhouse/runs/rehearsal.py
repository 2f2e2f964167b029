"""A single row through every stage before anything is trained: what a family of models does not let a method do shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from stillhouse.data.text import Text
from stillhouse.errors import UserError
from stillhouse.features import ONLY_LOGITS
from stillhouse.method import Stage
from stillhouse.models.forward import evaluating, forward
from stillhouse.students.side import StageSide


def rehearse(stages: Sequence[Stage], student: Any, teacher: Any, text: Text, view: int = 0) -> None:
    """Leaves both models, and torch's generator, as they were.

    Args:
        stages: What will be run.
        student: Encoder of the student.
        teacher: Encoder of the teacher.
        text: Of which the first row is used.
        view: Key of the tokens that the teacher reads.

    Raises:
        UserError: A model does not give what a stage needs of it.
    """
    batch = text.batch(np.zeros(1, dtype=np.int64))
    implementations = [(model, model.config._attn_implementation) for model in (student, teacher)]
    for stage in stages:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), evaluating(student), evaluating(teacher):
            # With logits no pass ends before the last layer, so that how often a model attends is looked at.
            side = stage.side.build(student, teacher, stage.student_needs | ONLY_LOGITS)
            try:
                forward(teacher, batch.views[view], stage.teacher_needs | ONLY_LOGITS)
                side.try_out(batch)
            except UserError:
                raise
            except Exception as error:  # whatever a family's own code makes of it
                raise UserError(
                    f"stage {stage.name!r} {_asks(stage)}, which {teacher.config.model_type} does not let it: {error}",
                    expected="a teacher of another family, such as BERT or RoBERTa",
                    fix="choose another teacher, or --method logit",
                ) from error
            finally:
                side.release()
                for model, implementation in implementations:
                    model.requires_grad_(True)
                    if model.config._attn_implementation != implementation:
                        model.set_attn_implementation(implementation)


def _asks(stage: Stage) -> str:
    """What a stage does with its models."""
    if stage.student_needs - ONLY_LOGITS:
        return "reads what is inside its models"
    return "reads its models' outputs" if type(stage.side) is StageSide else "replaces their layers"
