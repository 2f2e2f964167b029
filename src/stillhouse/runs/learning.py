"""Who learns from whom in a run, by configurations alone: the student, and where one is asked for the assistant before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from stillhouse.data.seeds import FRESH_ASSISTANT, FRESH_STUDENT, FRESH_TEACHER, stage_seed
from stillhouse.errors import UserError
from stillhouse.features import Dimensions
from stillhouse.method import Role, Stage
from stillhouse.models.adapter import dimensions
from stillhouse.models.checkpoint import Checkpoint
from stillhouse.models.model import Model
from stillhouse.models.spec import Shape
from stillhouse.models.start import Start
from stillhouse.runs.checks import check_stages
from stillhouse.runs.findings import refuse_first
from stillhouse.runs.names import run_name
from stillhouse.runs.prepared import Learner
from stillhouse.runs.run_config import RunConfig
from stillhouse.students.build import build_student, find_student, load_student, plan_student
from stillhouse.students.moments import SampleText
from stillhouse.students.shape import is_shape, parse_shape
from stillhouse.task import Head

STREAMS: dict[Role, int] = {"teacher": FRESH_TEACHER, "assistant": FRESH_ASSISTANT, "student": FRESH_STUDENT}


@dataclass(frozen=True)
class Learning:
    """A model that is to learn.

    Attributes:
        role: What it is.
        teacher: From whom it learns, where its method has a teacher.
        spec: `LxH` or `half`; None where it is a model already.
        sizes: Of the model.
        its: Sizes of its teacher.
    """

    role: Role
    teacher: Role
    spec: str | None
    sizes: Dimensions
    its: Dimensions

    def named(self, stages: Sequence[Stage]) -> tuple[Stage, ...]:
        """Stages of a method as those of this model."""
        prefix = "" if self.role == "student" else f"{self.role}-"
        return tuple(
            replace(stage, name=f"{prefix}{stage.name}", student=self.role, teacher=self.teacher if stage.teacher else None)
            for stage in stages
        )


def named_student(config: RunConfig) -> Checkpoint | None:
    """The student where it is a model already; None where it is a shape."""
    shape, method = str(config.student.shape), config.method
    if is_shape(shape):
        return None
    found = find_student(shape)
    if config.starts_from_fitted_teacher:
        what = f"method {method.name}" if method.starts_from_fitted_teacher else "student.start: fitted"
        raise UserError(
            f"{what} makes its student out of its teacher, but --student names a model, {shape}",
            expected="LxH such as 3x384 (layers x width), or half",
        )
    if config.student.start in ("slice", "fresh"):
        raise UserError(
            f"student.start is {config.student.start}, but --student names a model, {shape}, which has weights of its own",
            expected="LxH such as 3x384 (layers x width), or half",
            fix="leave student.start out",
        )
    return found


def learners_of(config: RunConfig, teacher: Checkpoint, own: Checkpoint | None) -> tuple[Learning, ...]:
    """Who learns, in order; the student is the last.

    Raises:
        UserError: A shape is not possible, or the assistant does not stand between teacher and student.
    """
    its = dimensions(teacher.config)
    spec = None if own is not None else str(config.student.shape)
    if config.assistant is None or not config.method.uses_teacher:
        student = own.config if own is not None else _made(config, str(spec), teacher.config)
        return (Learning("student", "teacher", spec, dimensions(student), its),)
    between = parse_shape(config.assistant, teacher.config, "assistant")
    shape = _shape_of(own) if spec is None else parse_shape(spec, teacher.config)
    _check_assistant(between, its, shape)
    spec = None if spec is None else str(shape)  # half is half of the teacher
    helper, _ = plan_student(str(between), teacher.config, config.method.copied_layers, config.shape_start)
    sizes = dimensions(own.config if own is not None else _made(config, str(shape), helper))
    first = Learning("assistant", "teacher", str(between), dimensions(helper), its)
    return first, Learning("student", "assistant", spec, sizes, first.sizes)


def _made(config: RunConfig, spec: str, teacher: Any) -> Any:
    """The configuration of a new student."""
    student, copied = plan_student(spec, teacher, config.copied_layers, config.shape_start)
    if copied is None and config.names_teacher_layers:
        raise UserError(
            f"student {spec} has another width than its teacher, of which it is told to start",
            expected=f"a student of width {dimensions(teacher).width}",
            fix="choose such a student, give student.start=slice, or leave student.layers and student.start out",
        )
    return student


def _shape_of(own: Checkpoint | None) -> Shape:
    """The shape of a student that is a model already."""
    assert own is not None
    sizes = dimensions(own.config)
    return Shape(sizes.layers, sizes.width)


def _check_assistant(shape: Shape, teacher: Dimensions, student: Shape) -> None:
    def refuse(is_what: str) -> UserError:
        ends = f"teacher {teacher.layers}x{teacher.width}, student {student.layers}x{student.width}"
        return UserError(
            f"--assistant {shape} {is_what} ({ends})",
            expected="no deeper and no wider than the teacher, no shallower and no narrower than the student",
            fix=f"{_between(teacher, student)}leave --assistant out",
        )

    if shape.layers > teacher.layers or shape.width > teacher.width:
        raise refuse("is larger than the teacher")
    if shape.layers < student.layers or shape.width < student.width:
        raise refuse("is smaller than the student")
    for name, other in (("teacher", teacher), ("student", student)):
        if (shape.layers, shape.width) == (other.layers, other.width):
            raise refuse(f"has the shape of the {name}")


def _between(teacher: Dimensions, student: Shape) -> str:
    """The assistant of MiniLM's authors where there is one, else one of half the way."""
    layers = teacher.layers if student.width < teacher.width else (teacher.layers + student.layers) // 2
    is_one = (layers, student.width) != (student.layers, student.width) and student.layers <= layers <= teacher.layers
    return f"--assistant {layers}x{student.width}, or " if is_one and student.width <= teacher.width else ""


def made(learning: Learning, head: Head, config: RunConfig, seed: int, text: SampleText, teacher: Model) -> tuple[Model, Start]:
    """A new model of a shape, at its start.

    Args:
        learning: Which.
        head: What it has on its encoder.
        config: The run's.
        seed: Of its fresh weights.
        text: Some of what the run learns from: of a slice it says what matters.
        teacher: The model that it starts from.
    """
    torch.manual_seed(stage_seed(seed, STREAMS[learning.role]))
    options: dict[str, Any] = {"teacher_checkpoint_name": teacher.name, "head": head, "start": config.shape_start}
    options["layers_rule"] = config.copied_layers if learning.role == "student" else config.method.copied_layers
    options["text"] = text if config.student.slice_by == "activations" else None
    encoder, start = build_student(str(learning.spec), teacher=teacher.encoder, **options)
    part = "" if learning.role == "student" else f"-{learning.role}"
    name = f"{run_name(config)}-{config.method.name}{part}-{learning.spec}"
    return Model(name, encoder, teacher.tokenizer, start.description, start.is_fresh), start


def given(own: Checkpoint | None, tokenizer: Any, head: Head, seed: int) -> tuple[Model, Start]:
    """A student that is a model already."""
    assert own is not None
    torch.manual_seed(stage_seed(seed, FRESH_STUDENT))
    encoder, start = load_student(own, head)
    return Model(own.name, encoder, tokenizer, start.description), start


Plans = list[tuple[Learning, tuple[Stage, ...]]]


def plans_of(
    config: RunConfig, teacher: Checkpoint, own: Checkpoint | None, plan: Callable[[Dimensions, Dimensions], Iterable[Stage]]
) -> Plans:
    """What each model that learns goes through.

    Args:
        config: The run's.
        teacher: The teacher.
        own: The student where it is a model already.
        plan: Sizes of a model and of its teacher -> the stages.

    Raises:
        UserError: The method cannot do with these models.
    """
    plans = []
    for learning in learners_of(config, teacher, own):
        stages = learning.named(tuple(plan(learning.sizes, learning.its)))
        refuse_first(check_stages(stages, config, learning.sizes.layers, learning.its.layers))
        plans.append((learning, stages))
    return plans


def ready(
    plans: Plans,
    config: RunConfig,
    teacher: Model,
    own: Callable[[], tuple[Model, Start]],
    head: Head,
    *,
    seed: int,
    text: SampleText,
    fits_teacher: bool = False,
    says_start: bool = True,
) -> tuple[tuple[Learner, ...], list[str]]:
    """The models that learn, at their start, and what people have to know of it.

    Args:
        plans: What each goes through.
        config: The run's.
        teacher: The teacher.
        own: The student where it is a model already.
        head: What they have on their encoders.
        seed: Of fresh weights.
        text: Some of what the run learns from.
        fits_teacher: Whether the teacher is trained before they start from it.
        says_start: Whether notes say how they start, where that is known before anything is trained.
    """
    learners: list[Learner] = []
    notes: list[str] = []
    teaching = teacher
    for learning, stages in plans:
        restart = None
        if learning.spec is None:
            model, start = own()
        else:
            make = partial(made, learning, head, config, seed, text)
            model, start = make(teaching)
            is_late = fits_teacher or learning.teacher == "assistant"
            restart = make if is_late and not start.is_fresh else None
        learner = Learner(model, stages, learning.teacher if config.method.uses_teacher else None, restart)
        if says_start and restart is None:
            notes.append(f"{learning.role} starts from {model.start}: {start.sentence()}")
        notes += layer_notes(stages, config, learning.sizes.layers, learning.its.layers)
        learners.append(learner)
        teaching = model
    return tuple(learners), notes


def layer_notes(stages: Sequence[Stage], config: RunConfig, own_layers: int, its_layers: int) -> list[str]:
    """Which layer of the student learns from which layer of the teacher."""
    notes: dict[str, None] = {}
    is_rounded = config.method.spreads_layers and its_layers % own_layers
    rounded = f" ({own_layers} does not divide {its_layers}: halves are rounded up)" if is_rounded else ""
    for stage in stages:
        for objective in stage.objectives:
            if pairs := [pair for pair in objective.layer_pairs if pair != (0, 0)]:
                said = ", ".join(f"{own} from {its}" for own, its in pairs)
                notes[f"stage {stage.name}: layer {said} of the {stage.teacher or 'teacher'}{rounded}"] = None
    return list(notes)
