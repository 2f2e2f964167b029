"""A run as one list of stages: who learns, from whom, on which text, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stillhouse.config import BASELINE_METHOD, StageConfig
from stillhouse.method import Role, Stage, TextName
from stillhouse.methods import load_method
from stillhouse.models.adapter import dimensions
from stillhouse.runs.prepared import Prepared


def schedule(prepared: Prepared) -> tuple[Stage, ...]:
    """Every stage of a run, in order.

    The student learns language before its teacher learns the task: stages on plain text, then the fit of a teacher without a
    head, then the stages on the task's rows, then the same student without a teacher.
    """
    config = prepared.config
    taught: Role | None = "teacher" if config.method.uses_teacher else None
    stages = tuple(replace(stage, teacher=taught if stage.teacher else None) for stage in prepared.stages)
    general, task = on_text(stages, "corpus"), on_text(stages, "task")
    fit = (alone("teacher", config.teacher.finetune, prepared),) if prepared.fits_teacher else ()
    return (*general, *fit, *task, *((_baseline(prepared),) if config.method.uses_teacher and config.baseline else ()))


def on_text(stages: Sequence[Stage], name: TextName, there: Sequence[TextName] = ("task",)) -> tuple[Stage, ...]:
    """The stages that train on one text of those that are there; what has none of its texts is left out."""
    return tuple(stage for stage in stages if next((text for text in stage.text if text in there), None) == name)


def alone(role: Role, config: StageConfig, prepared: Prepared, **changes: Any) -> Stage:
    """Fine-tuning on gold labels, without a teacher."""
    sizes = [dimensions(model.encoder.config) for model in (prepared.student, prepared.teacher)]
    (stage,) = load_method(BASELINE_METHOD).model_validate({}).plan(prepared.task.kind, *sizes)
    return replace(stage, name=role, config=config, student=role, teacher=None, **changes)


def _baseline(prepared: Prepared) -> Stage:
    """For as many steps as the student takes, at the rates of its last stage, and as often scored."""
    counts = prepared.step_counts()
    config = prepared.stages[-1].config.model_copy(update={"steps": sum(steps for steps, _ in counts)})
    return alone("baseline", config, prepared, evaluate_every=counts[-1][1])
