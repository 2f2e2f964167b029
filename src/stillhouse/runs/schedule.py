"""A run as one list of stages: who learns, and from whom, in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stillhouse.config import BASELINE_METHOD, StageConfig
from stillhouse.method import Role, Stage
from stillhouse.methods import load_method
from stillhouse.models.adapter import dimensions
from stillhouse.runs.prepared import Prepared


def schedule(prepared: Prepared) -> tuple[Stage, ...]:
    """The stages of a task, in order: the fit of a teacher without a head, an assistant's, the student's, its own alone."""
    config = prepared.config
    stages = (stage for learner in prepared.learners for stage in learner.stages)
    fit = (alone("teacher", config.teacher.finetune, prepared),) if prepared.fits_teacher else ()
    return (*fit, *stages, *((_baseline(prepared),) if config.method.uses_teacher and config.baseline else ()))


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
