"""A run's configuration with every default that needs neither data nor models."""

from __future__ import annotations

from pathlib import Path

from stillhouse.errors import UserError
from stillhouse.runs.names import data_name, short_name
from stillhouse.runs.run_config import RunConfig
from stillhouse.teachers.store import store_root


def with_defaults(config: RunConfig) -> RunConfig:
    """The configuration with every default that needs neither data nor models.

    Raises:
        UserError: Settings that contradict each other, or a store that can be none.
    """
    method = config.method
    if config.teacher.store is not None:
        store_root(config.teacher.store)
    if not method.uses_teacher and config.baseline:
        raise UserError(
            f"--baseline is given, but method {method.name} has no teacher: it is the baseline itself",
            expected="a method that learns from a teacher",
            fix="leave --baseline out (--no-baseline where a run file asks for it)",
        )
    if not method.uses_plain_text and config.data.labels == "teacher":
        reason = "learns from gold labels alone" if method.uses_teacher else "has no teacher to give them"
        raise UserError(
            f"--labels teacher is given, but method {method.name} {reason}",
            expected="--labels gold or mixed",
            fix="leave --labels out, or choose a method that learns from the teacher's labels",
        )
    if config.data.transfer and (not method.uses_plain_text or config.data.labels == "gold"):
        if method.uses_plain_text:
            reason = "--labels gold leaves"
        else:
            why = "learns from gold labels alone" if method.uses_teacher else "has no teacher"
            reason = f"method {method.name}, which {why}, leaves"
        raise UserError(
            f"--transfer is given, but {reason} text without a label out",
            expected="a teacher that labels the text",
            fix="leave --transfer out, or use --labels mixed and a method that learns from the teacher's labels",
        )
    if method.starts_from_fitted_teacher and not config.starts_from_fitted_teacher:
        raise UserError(
            f"student.start is {config.student.start}, but method {method.name} makes its student out of the fitted teacher",
            fix="leave student.start out",
        )
    shape = config.student.shape or method.default_student
    baseline = config.data.source == "pydocs" and method.uses_teacher if config.baseline is None else config.baseline
    return config.model_copy(
        update={
            "student": config.student.model_copy(update={"shape": shape}),
            "baseline": baseline,
            "out": config.out or str(Path("runs") / f"{data_name(config.data.source)}-{method.name}-{short_name(shape)}"),
        }
    )
