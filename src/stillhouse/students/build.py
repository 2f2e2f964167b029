"""A student from its specification: a shape of the teacher's family, or a model of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from transformers import PreTrainedConfig, PreTrainedModel

from stillhouse.errors import UserError
from stillhouse.files import given_path
from stillhouse.models.adapter import head_parameters, hidden_size, layer_count
from stillhouse.models.architecture import head_kind, head_labels
from stillhouse.models.checkpoint import OFFLINE, Checkpoint, find_checkpoint
from stillhouse.models.loading import build_encoder, load_weights
from stillhouse.models.start import Start, fresh_start
from stillhouse.students.copy_layers import check_layers, copy_layers
from stillhouse.students.moments import SampleText
from stillhouse.students.shape import check_smaller, parse_shape, student_config
from stillhouse.students.slice import check_sliceable, slice_weights
from stillhouse.task import Head

LayersRule = Callable[[int, int], tuple[int, ...]]
ShapeStart = Literal["pretrained", "slice", "fresh"]
"""What a student that is given by its shape starts from."""


def build_student(
    spec: str,
    *,
    teacher: PreTrainedModel,
    teacher_checkpoint_name: str,
    head: Head,
    layers_rule: LayersRule,
    start: ShapeStart = "pretrained",
    text: SampleText | None = None,
) -> tuple[PreTrainedModel, Start]:
    """Makes a student of the teacher's family; fresh weights are drawn from torch's global generator.

    Args:
        spec: `LxH` or `half`.
        teacher: As it was before fine-tuning where that is known.
        teacher_checkpoint_name: Its name in the description of the start.
        head: Which head the student gets; it is always fresh.
        layers_rule: (student layers, teacher layers) -> the teacher layer, 1-based, of each student layer.
        start: `pretrained`: layers of the teacher are copied where the widths agree; `slice`: of a wider teacher what matters
            most of them, too; `fresh`: nothing is copied.
        text: What the teacher reads to show what matters, asked for a slice alone; None = its first dimensions are kept.

    Raises:
        UserError: The shape is not possible for this teacher.
    """
    config, layers = plan_student(spec, teacher.config, layers_rule, start)
    student = build_encoder(config, head)
    if layers is None:
        return student, fresh_start(student)
    if hidden_size(config) != hidden_size(teacher.config):
        return student, slice_weights(student, teacher, layers, text=text, teacher_name=teacher_checkpoint_name)
    found = copy_layers(student, teacher, layers, teacher_name=teacher_checkpoint_name)
    note = "its width is the teacher's: a slice leaves nothing out" if start == "slice" else ""
    return student, replace(found, note=note)


def plan_student(
    spec: str, teacher: PreTrainedConfig, layers_rule: LayersRule, start: ShapeStart = "pretrained"
) -> tuple[PreTrainedConfig, tuple[int, ...] | None]:
    """The configuration of a new student, and the teacher layers that it starts from; None where it starts fresh.

    Args:
        spec: See `build_student`.
        teacher: Configuration of the teacher.
        layers_rule: See `build_student`.
        start: See `build_student`.

    Raises:
        UserError: As `build_student`.
    """
    shape, width = parse_shape(spec, teacher), hidden_size(teacher)
    config = student_config(teacher, shape)  # refuses impossible shapes before the rule sees them
    if start == "fresh" or (start == "pretrained" and shape.width != width):
        return config, None
    if shape.width != width:
        check_smaller(shape, teacher)
        check_sliceable(teacher, config)
    layers = layers_rule(shape.layers, layer_count(teacher))
    check_layers(layers, shape.layers, layer_count(teacher))
    return student_config(teacher, shape, layers), layers


def find_student(spec: str) -> Checkpoint:
    """A student that is no shape: a folder or hub id.

    Raises:
        UserError: It is neither; or as `find_checkpoint`.
    """
    if spec != OFFLINE and "/" not in spec and not given_path(spec, "--student").exists():
        raise UserError(
            f"student {spec!r} is no shape, and there is no folder of that name",
            expected="LxH such as 3x384 (layers x width), half, a model folder, or a hub id owner/name",
        )
    return find_checkpoint(spec)


def load_student(checkpoint: Checkpoint, head: Head) -> tuple[PreTrainedModel, Start]:
    """A model of its own as the student, with its own weights.

    Its head is kept where it is such a one, for a task with the same labels in the same order; names that are mere numbers
    (`LABEL_0`, `0`) agree with any. Otherwise it gets a fresh one.

    Raises:
        UserError: As `load_encoder`.
    """
    keep = head_kind(checkpoint.config) is None or _same_labels(checkpoint, head)
    student, fresh = load_weights(checkpoint, head, keep_head=keep)
    known = set(fresh)
    own_head = all(name.startswith(f"{student.base_model_prefix}.") for name in fresh)
    is_bare = not head_parameters(student)
    with_head = "" if is_bare else ", with its own head" if own_head else ", with a fresh head"
    return student, Start(
        f"weights of {checkpoint.name}{with_head}",
        copied=tuple(name for name in student.state_dict() if name not in known),
        fresh=fresh,
    )


def _same_labels(checkpoint: Checkpoint, head: Head) -> bool:
    if head.task is None or not head.task.labels:
        return True
    own = [label.casefold() for label in head_labels(checkpoint.config)]
    wanted = [label.casefold() for label in head.task.labels]
    return own == wanted or _only_numbers(own) or _only_numbers(wanted)


def _only_numbers(labels: list[str]) -> bool:
    return all(label in (str(index), f"label_{index}") for index, label in enumerate(labels))
