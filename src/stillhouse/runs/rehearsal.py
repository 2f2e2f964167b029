"""A row or two through models and stages before anything is trained: what a family of models does not let a method do shows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.data.batch import Inputs
from stillhouse.data.text import Text
from stillhouse.errors import UserError
from stillhouse.features import ONLY_LOGITS, ONLY_VOCABULARY, Needs, needs_of
from stillhouse.method import Stage
from stillhouse.models.adapter import layer_count
from stillhouse.models.architecture import reason_of
from stillhouse.models.forward import evaluating, forward
from stillhouse.models.model import Model
from stillhouse.students.side import StageSide

_ADVICE = {"teacher": "choose another teacher", "student": "choose another student, or a teacher of another family"}


def try_to_read(model: Model, role: str, texts: Sequence[Text], fix: str) -> None:
    """Lets a model read the longest row that it will meet.

    Args:
        model: The model; its mode, and torch's generator, are left as they were.
        role: What messages call it: `the teacher`.
        texts: All that it will read.
        fix: What to do if it can read nothing.

    Raises:
        UserError: It cannot.
    """
    longest = max(texts, key=lambda text: text.encoded(model.view).lengths.max(initial=0))
    row = longest.encoded(model.view).lengths.argmax()
    inputs = longest.batch(np.array([row])).views[model.view]
    if (error := _failure(model, inputs)) is None:
        return
    said, family = reason_of(error), model.encoder.config.model_type
    readable, unreadable = 0, inputs.ids.shape[1]
    while unreadable - readable > 1:
        middle = (readable + unreadable) // 2
        if _failure(model, inputs.changed(partial(_first, tokens=middle))) is None:
            readable = middle
        else:
            unreadable = middle
    if readable == 0:
        raise UserError(f"{role} {model.name}, a {family}, cannot be run: {said}", fix=fix) from error
    raise UserError(
        f"{role} {model.name}, a {family}, cannot read the longest text, of {inputs.ids.shape[1]} tokens: {said}",
        expected=f"at most {readable} tokens",
        fix=f"--max-length {readable}",
    ) from error


def _first(tensor: Tensor, tokens: int) -> Tensor:
    return tensor[:, :tokens]


def _failure(model: Model, inputs: Inputs) -> Exception | None:
    """What a model's own code makes of some rows; None where all is well."""
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), evaluating(model.encoder):
            forward(model.encoder, Inputs(inputs.ids, inputs.mask, inputs.segments), ONLY_LOGITS)
    except Exception as error:
        return error
    return None


def rehearse(stages: Sequence[Stage], student: Any, teacher: Any, text: Text, view: int = 0) -> None:
    """Leaves both models, and torch's generator, as they were.

    Args:
        stages: What will be run.
        student: Encoder of the student.
        teacher: Encoder of the teacher; it runs where a stage learns from one.
        text: Of which the longest row is used.
        view: Key of the tokens that the teacher reads.

    Raises:
        UserError: A model does not give what a stage needs of it.
    """
    batch = text.batch(np.array([text.lengths.argmax()]))
    implementations = [(model, model.config._attn_implementation) for model in (student, teacher)]
    for stage in stages:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), evaluating(student), evaluating(teacher):
            side = stage.side.build(student, teacher, stage.student_needs | _end_of(student, stage))
            role, family = "teacher", teacher.config.model_type
            try:
                if stage.teacher is not None:
                    forward(teacher, batch.views[view], stage.teacher_needs | _end_of(teacher, stage))
                role, family = "student", student.config.model_type
                side.try_out(batch)
            except UserError:
                raise
            except Exception as error:  # whatever a family's own code makes of it
                asks = _asks(stage)
                failed = f"{asks}, which the {role} ({family}) does not let it" if asks else f"cannot run the {role} ({family})"
                raise UserError(
                    f"stage {stage.name!r} {failed}: {reason_of(error)}",
                    expected=f"a {role} of another family, such as BERT or RoBERTa",
                    fix=_ADVICE[role] + (", or --method logit" if asks else ""),
                ) from error
            finally:
                side.release()
                for model, implementation in implementations:
                    model.requires_grad_(True)
                    if model.config._attn_implementation != implementation:
                        model.set_attn_implementation(implementation)


def _end_of(model: Any, stage: Stage) -> Needs:
    """With these no pass ends before the last layer, so that how often a model attends is looked at."""
    return ONLY_LOGITS if stage.text == "task" else needs_of(("hidden_state",), [layer_count(model.config)])


def _asks(stage: Stage) -> str:
    """What a stage does with its models beyond reading their outputs; "" where it does no more."""
    if stage.student_needs - ONLY_LOGITS - ONLY_VOCABULARY:
        return "reads what is inside its models"
    return "" if type(stage.side) is StageSide else "replaces their layers"
