"""The shape of a student: `LxH` or `half` -> a configuration of the teacher's family."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig

from stillhouse.errors import UserError
from stillhouse.models.adapter import head_count, hidden_size, layer_count
from stillhouse.models.spec import Shape, is_layers_by_width, read_shape

HALF = "half"
_OF_NO_LAYER = re.compile(r"architectures|languages|vocab|axial|shape")  # lists that may be as long as there are layers
_WIDTH = re.compile(r"(hidden|embed|embedding|emb|head|model)_(size|dim|width)$")
_HEAD_WIDTH = re.compile(r"head_dim|d_head|attention_head_size")


def is_shape(spec: str) -> bool:
    """Whether a student is given by its shape, rather than as a folder or hub id."""
    return spec.strip().lower() == HALF or is_layers_by_width(spec)


def parse_shape(spec: str, teacher: PreTrainedConfig, role: str = "student") -> Shape:
    """Reads `LxH`, or `half`: half of the teacher's layers (an odd number rounds up), its width.

    Args:
        spec: As it was written.
        teacher: The teacher's configuration.
        role: Of the model, for messages.

    Raises:
        UserError: It is no shape, a number is not positive, or the teacher's family has no free width.
    """
    if spec.strip().lower() == HALF:
        return Shape((layer_count(teacher) + 1) // 2, hidden_size(teacher))
    shape = read_shape(spec, role)
    if shape is None:
        raise UserError(f"{role} {spec!r} is no shape", expected="LxH such as 3x384 (layers x width), or half")
    if teacher.model_type == "mobilebert":
        raise UserError(
            f"{role} {spec!r}: MobileBERT's layers have a bottleneck whose widths LxH does not describe",
            expected="half, a folder or a hub id where the teacher is a MobileBERT",
        )
    return shape


def student_config(teacher: PreTrainedConfig, shape: Shape, copied: Sequence[int] = ()) -> PreTrainedConfig:
    """The teacher's configuration at another shape; the teacher's own is left alone.

    Heads are the teacher's. The feed-forward width is the teacher's where the student has its width, so that layers can
    be copied; otherwise 4H, and 1200 for 312, where layers are copied no more than the teacher's.

    Args:
        teacher: The teacher's configuration.
        shape: Layers and width.
        copied: Teacher layers (1-based) that the student starts from: it takes over their attention types.

    Raises:
        UserError: The width cannot be divided by the heads, or the student is deeper than a teacher of its width.
    """
    layers, width = layer_count(teacher), hidden_size(teacher)
    if shape.width == width and shape.layers > layers:
        raise UserError(
            f"student {shape} is deeper than its teacher, which has {layers} layers of that width",
            expected=f"at most {layers} layers",
            fix="ask for fewer layers",
        )
    config: Any = copy.deepcopy(teacher)
    try:
        config.num_hidden_layers = shape.layers
    except NotImplementedError as error:  # Funnel's are in blocks
        raise _not_known(teacher) from error
    chosen = [layer - 1 for layer in copied] or [index % layers for index in range(shape.layers)]
    for name, values in _each_layers(teacher).items():
        setattr(config, name, [values[index] for index in chosen])
    if hasattr(config, "num_hidden_groups"):  # ALBERT: layers of a group share their weights
        config.num_hidden_groups = min(config.num_hidden_groups, shape.layers)
    if shape.width != width:
        _check_heads(shape, teacher)
        feed_forward = _feed_forward_name(teacher)
        for name, value in _repeating_width(teacher).items():
            setattr(config, name, shape.width * value // width)
        config.hidden_size = shape.width
        wanted = shape.feed_forward
        setattr(config, feed_forward, min(wanted, getattr(teacher, feed_forward)) if copied else wanted)
        if hasattr(config, "embedding_size"):  # ELECTRA, ALBERT: embeddings are never wider than the layers
            config.embedding_size = min(config.embedding_size, shape.width)
    return config


def check_smaller(shape: Shape, teacher: PreTrainedConfig) -> None:
    """Makes sure that a slice of the teacher can have this shape.

    Raises:
        UserError: It has more layers than the teacher, or a larger width.
    """
    layers, width = layer_count(teacher), hidden_size(teacher)
    if shape.width > width or shape.layers > layers:
        raise UserError(
            f"student.start is slice, but the student, {shape}, is larger than its teacher, {layers}x{width}",
            expected=f"at most {layers} layers and a width of at most {width}",
            fix="choose such a student, or student.start=fresh",
        )


def _each_layers(config: PreTrainedConfig) -> dict[str, list[Any]]:
    """What has an entry a layer, by its length: ModernBERT's kinds of attention, Longformer's windows."""
    return {
        name: list(value)
        for name, value in vars(config).items()
        if isinstance(value, (list, tuple)) and len(value) == layer_count(config) and not _OF_NO_LAYER.search(name)
    }


def _repeating_width(config: PreTrainedConfig) -> dict[str, int]:
    """What repeats the width, or a head's part of it, by its name and value: DeBERTa's pooler, EuroBERT's heads."""
    width, heads = hidden_size(config), head_count(config)
    values = {name: value for name, value in vars(config).items() if type(value) is int}
    return {
        name: value
        for name, value in values.items()
        if (_WIDTH.search(name) and value == width) or (_HEAD_WIDTH.fullmatch(name) and value * heads == width)
    }


def _not_known(config: PreTrainedConfig) -> UserError:
    return UserError(f"LxH is not known for {config.model_type} teachers", expected="a folder or a hub id as the student")


def _check_heads(shape: Shape, teacher: PreTrainedConfig) -> None:
    heads = head_count(teacher)
    # Rotary positions turn pairs of a head's dimensions.
    step = 2 * heads if teacher.model_type == "modernbert" else heads
    if shape.width % step == 0:
        return
    divisors = [str(count) for count in range(1, shape.width + 1) if shape.width % (count * step // heads) == 0]
    lower = shape.width // step * step
    near = " or ".join(str(width) for width in (lower, lower + step) if width)
    raise UserError(
        f"student {shape}: its width cannot be divided among the teacher's {heads} heads",
        expected=f"a multiple of {step}; head counts that would divide {shape.width}: {', '.join(divisors) or 'none'}",
        fix=f"choose width {near}",
    )


def _feed_forward_name(config: PreTrainedConfig) -> str:
    for name in ("intermediate_size", "hidden_dim"):
        if isinstance(getattr(config, name, None), int):
            return name
    raise _not_known(config)
