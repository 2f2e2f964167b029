"""A student that starts from chosen layers of its teacher."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from stillhouse.errors import UserError
from stillhouse.models.adapter import hidden_size, layer_count, named_stack, stack_name
from stillhouse.models.start import Start, fresh_start


def copy_layers(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    layers: Sequence[int],
    *,
    teacher_name: str = "the teacher",
    with_head: bool = False,
) -> Start:
    """Copies teacher layers, embeddings and every other weight of the encoder that both have; of masked-LM heads the bias.

    Where the widths differ nothing is copied.

    Args:
        student: Changed in place.
        teacher: Of the same family.
        layers: For each student layer its teacher layer, 1-based.
        teacher_name: For the description.
        with_head: Whether the task head is copied too.

    Returns:
        What was copied, what found no place (the first layer of a ModernBERT has no normalisation to copy into, for
        one) and what stays fresh, the head among it.

    Raises:
        UserError: The families differ, or `layers` does not name one teacher layer for each student layer.
    """
    if type(student.base_model) is not type(teacher.base_model):
        raise UserError(
            f"the {student.config.model_type} student cannot copy layers of a {teacher.config.model_type} teacher",
            expected="student and teacher of one family",
        )
    if hidden_size(student.config) != hidden_size(teacher.config):
        return fresh_start(student)
    check_layers(layers, layer_count(student.config), layer_count(teacher.config))
    stack = stack_name(student)
    blocks = block_pairs(student, teacher, stack, layers)
    targets = student.base_model.state_dict()
    copied, skipped = [], []
    with torch.no_grad():
        for name, tensor in teacher.base_model.state_dict().items():
            names = student_names(name, stack, blocks)
            for own in names:
                if own in targets and targets[own].shape == tensor.shape:
                    targets[own].copy_(tensor)
                    copied.append(full_name(student, own))
                else:
                    skipped.append(full_name(teacher, name))
        if with_head:
            head, theirs = student.state_dict(), teacher.state_dict()
            base = f"{student.base_model_prefix}."
            for name in head.keys() & theirs.keys():
                if not name.startswith(base):
                    head[name].copy_(theirs[name])
                    copied.append(name)
        copied += copy_token_bias(student, teacher)
    held, fresh = told_apart(student, copied)
    return Start(
        layers_in_words(layers, teacher, stack, teacher_name) + (" as it solves the task, with its head" if with_head else ""),
        copied=held,
        skipped=tuple(dict.fromkeys(skipped)),
        fresh=fresh,
    )


def copy_token_bias(student: PreTrainedModel, teacher: PreTrainedModel) -> list[str]:
    """Copies what a masked-LM head adds to the score of each token, whatever the widths; gives its name in the student.

    The rest of such a head learns anew. Nothing is copied where one of the models has none, or another vocabulary.
    """
    own, its = (_token_bias(model) for model in (student, teacher))
    if own is None or its is None or own.shape != its.shape:
        return []
    own.detach().copy_(its.detach())
    return [name for name, parameter in student.named_parameters() if parameter is own]


def _token_bias(model: Any) -> Any:
    return getattr(model.get_output_embeddings(), "bias", None)


def told_apart(student: PreTrainedModel, copied: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of a student's tensors that hold what was copied, tied ones under every name, and of those that are fresh."""
    tensors = student.state_dict()
    known = {tensors[name].data_ptr() for name in copied}
    held = tuple(name for name, tensor in tensors.items() if tensor.data_ptr() in known)
    return held, tuple(name for name in tensors if name not in held)


def check_layers(layers: Sequence[int], student_layers: int, teacher_layers: int) -> None:
    """Checks that there is one teacher layer, 1-based, for each student layer.

    Raises:
        UserError: There is not.
    """
    if len(layers) != student_layers:
        raise UserError(
            f"{len(layers)} teacher layers are named for a student of {student_layers} layers",
            expected="one teacher layer for each student layer",
        )
    for layer in layers:
        if not 1 <= layer <= teacher_layers:
            raise UserError(
                f"teacher layer {layer} is to be copied, but the teacher has {teacher_layers} layers",
                expected=f"layers 1..{teacher_layers}",
            )


def block_pairs(student: PreTrainedModel, teacher: PreTrainedModel, stack: str, layers: Sequence[int]) -> dict[int, list[int]]:
    """For each block of the teacher's stack the student's blocks that start from it.

    A block is a layer, or in ALBERT a group: a student's group starts as the group of its first layer's teacher layer.
    """
    student_blocks, teacher_blocks = len(named_stack(student, stack)), len(named_stack(teacher, stack))
    pairs: dict[int, list[int]] = {}
    seen: set[int] = set()
    for index, layer in enumerate(layers):
        own = index * student_blocks // len(layers)
        if own not in seen:
            seen.add(own)
            pairs.setdefault((layer - 1) * teacher_blocks // layer_count(teacher.config), []).append(own)
    return pairs


def student_names(name: str, stack: str, blocks: dict[int, list[int]]) -> list[str]:
    """The names in the student of what starts as a tensor of the teacher's encoder; `blocks` as `block_pairs` gives them."""
    prefix = f"{stack}."
    if not name.startswith(prefix):
        return [name]
    block, _, rest = name[len(prefix) :].partition(".")
    return [f"{prefix}{own}.{rest}" for own in blocks.get(int(block), [])]


def full_name(model: PreTrainedModel, name: str) -> str:
    """The name in a whole model of a tensor of its encoder; a bare encoder is its own base model."""
    return name if model.base_model is model else f"{model.base_model_prefix}.{name}"


def layers_in_words(layers: Sequence[int], teacher: PreTrainedModel, stack: str, teacher_name: str) -> str:
    """Some layers of a teacher, for a description."""
    if len(named_stack(teacher, stack)) == 1 < layer_count(teacher.config):
        times = "once" if len(layers) == 1 else f"{len(layers)} times"
        return f"the shared layer of {teacher_name}, {times}"
    noun = "layer" if len(layers) == 1 else "layers"
    return f"{noun} {', '.join(str(layer) for layer in layers)} of {teacher_name}"
