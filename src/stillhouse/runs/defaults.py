"""A run's configuration with every default that needs neither data nor models."""

from __future__ import annotations

from stillhouse.config import StageConfig, TeacherConfig
from stillhouse.files import out_path
from stillhouse.machine.engine import resolve_precision
from stillhouse.runs.checks import check_settings
from stillhouse.runs.findings import refuse_first
from stillhouse.runs.names import name_of_all, short_name
from stillhouse.runs.run_config import RunConfig

# How a teacher learns language that is made from nothing, where nobody says otherwise.
NEW_TEACHER = StageConfig(epochs=3, learning_rate=3e-4, select_on="last")


def with_defaults(config: RunConfig) -> RunConfig:
    """The configuration with every default that needs neither data nor models.

    Raises:
        UserError: The first thing that `check_settings` refuses.
    """
    refuse_first(check_settings(config))
    method, teacher = config.method, config.teacher
    if config.has_new_teacher and teacher.masked_lm == TeacherConfig().masked_lm:
        teacher = teacher.model_copy(update={"masked_lm": NEW_TEACHER})
    shape = config.student.shape or method.default_student
    baseline = config.data.source == "pydocs" and method.uses_teacher if config.baseline is None else config.baseline
    unnamed = f"runs/{name_of_all(config)}-{method.name}-{short_name(shape)}"
    return config.model_copy(
        update={
            "student": config.student.model_copy(update={"shape": shape}),
            "teacher": teacher,
            "baseline": baseline,
            "out": str(out_path(unnamed if config.out is None else config.out)),
        }
    )


def with_precision(config: RunConfig) -> RunConfig:
    """The configuration with the precision that `auto` means here."""
    engine = config.engine.model_copy(update={"precision": resolve_precision(config.engine.precision)})
    return config.model_copy(update={"engine": engine})
