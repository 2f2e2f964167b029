"""The shape of a model as people write it: `LxH`, layers x width."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stillhouse.errors import UserError

_LAYERS_BY_WIDTH = re.compile(r"\s*([+-]?\d{1,9})\s*[xX×]\s*([+-]?\d{1,9})\s*")
FEED_FORWARD = {312: 1200}  # TinyBERT's published width; every other width has four times as many


@dataclass(frozen=True)
class Shape:
    """Number of layers and width."""

    layers: int
    width: int

    def __str__(self) -> str:
        return f"{self.layers}x{self.width}"

    @property
    def feed_forward(self) -> int:
        """Width between the two linear maps of a layer, of a model that is made anew."""
        return FEED_FORWARD.get(self.width, 4 * self.width)


def is_layers_by_width(spec: str) -> bool:
    """Whether somebody wrote `LxH`, rather than a folder or hub id."""
    return _LAYERS_BY_WIDTH.fullmatch(spec) is not None


def read_shape(spec: str, role: str) -> Shape | None:
    """The shape that somebody wrote; None where it is no `LxH`.

    Args:
        spec: As it was written.
        role: Of the model, for messages: `student`.

    Raises:
        UserError: A number is not positive.
    """
    match = _LAYERS_BY_WIDTH.fullmatch(spec)
    if match is None:
        return None
    shape = Shape(int(match[1]), int(match[2]))
    if shape.layers < 1 or shape.width < 1:
        raise UserError(
            f"{role} {spec!r} has {shape.layers} layers of width {shape.width}",
            expected="at least one layer and a positive width",
        )
    return shape
