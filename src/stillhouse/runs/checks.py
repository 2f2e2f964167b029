"""What is known before anything is trained: whether models and stages fit, and whether the teacher knows the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from stillhouse.data.text import Text
from stillhouse.errors import NotFinite, UserError
from stillhouse.evaluation.evaluate import predict_split
from stillhouse.evaluation.floor import check_teacher
from stillhouse.features import ONLY_LOGITS
from stillhouse.method import Stage
from stillhouse.models.forward import evaluating, forward
from stillhouse.runs.prepared import Prepared
from stillhouse.runs.run_config import RunConfig
from stillhouse.students.side import StageSide
from stillhouse.task import Kind

WHOLE = ONLY_LOGITS  # no pass ends before the last layer, so that how often a model attends is looked at


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
            side = stage.side.build(student, teacher, stage.student_needs | WHOLE)
            try:
                forward(teacher, batch.views[view], stage.teacher_needs | WHOLE)
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


def check_tokens(stages: Sequence[Stage], config: RunConfig, teacher: str, student: str, kind: Kind) -> None:
    """Refuses what cannot be done with two tokenizers."""
    both = f"teacher {teacher} and student {student}"
    if any(stage.teacher_needs - ONLY_LOGITS for stage in stages):
        raise UserError(
            f"method {config.method.name} compares tokens, but {both} cut text differently",
            expected="one tokenizer for both",
            fix="choose a student of the teacher's family (such as --student half), or --method logit",
        )
    if kind.needs_one_tokenizer:
        raise UserError(
            f"{both} cut text into different tokens",
            expected=f"one tokenizer for {kind.needs_one_tokenizer}",
            fix="choose a student of the teacher's family (such as --student half)",
        )


def check_stages(stages: Sequence[Stage], config: RunConfig, student_layers: int, teacher_layers: int) -> None:
    """Refuses what no method can do, whichever it is."""
    gold = [stage.name for stage in stages if stage.needs_gold]
    if gold and config.data.labels == "teacher":
        raise UserError(
            f"--labels teacher leaves stage {gold[0]!r} of method {config.method.name} nothing to learn from",
            expected="--labels gold or mixed, where a stage learns from gold labels alone",
        )
    for stage in stages:
        if not any(objective.weight for objective in stage.objectives):
            raise UserError(
                f"all weights of stage {stage.name!r} of method {config.method.name} are 0: there is nothing to learn",
                expected="at least one weight above 0",
            )
    if student_layers > teacher_layers and any(stage.student_needs - ONLY_LOGITS for stage in stages):
        raise UserError(
            f"the student has {student_layers} layers and its teacher {teacher_layers}, "
            f"and method {config.method.name} looks inside",
            expected=f"at most {teacher_layers} layers",
            fix="ask for fewer layers, or --method logit",
        )


def check_prepared_teacher(prepared: Prepared, accelerator: Accelerator) -> str:
    """What the teacher knows of the task, in words.

    Raises:
        UserError: Nothing, or its outputs are no numbers.
    """
    teacher, selection = prepared.teacher, prepared.splits["selection"]
    try:
        predictions = predict_split(teacher.encoder.to(accelerator.device), selection, accelerator, view=teacher.view)
    except NotFinite as error:
        raise UserError(
            f"teacher {teacher.name}: {error}", expected="numbers", fix="check its weights, or use --precision fp32"
        ) from error
    options = {"allow_weak": prepared.config.teacher.allow_weak, "is_fitted": not prepared.teacher_has_head}
    return f"teacher {teacher.name}: {check_teacher(selection, predictions, **options)}"
