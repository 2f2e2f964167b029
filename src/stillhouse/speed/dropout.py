"""Dropout from whole random words: one draw an element is, on a CPU, a fifth of a training step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from stillhouse.speed.masks import LEVELS, keep_mask


class FastDropout(nn.Dropout):
    """`nn.Dropout` whose masks take a quarter of the random numbers: its probability is a multiple of 2^-16.

    On another device than the CPU, which has random numbers enough, it is `nn.Dropout`.
    """

    def forward(self, input: Tensor) -> Tensor:
        level = round(self.p * LEVELS)
        if not self.training or input.device.type != "cpu" or not 0 < level < LEVELS or self.inplace:
            return super().forward(input)
        dropped: Tensor = _Masked.apply(input, level)  # type: ignore[no-untyped-call]
        return dropped


class _Masked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, level: int) -> Tensor:
        mask = keep_mask(input.shape, level, input.dtype).mul_(LEVELS / (LEVELS - level))
        ctx.save_for_backward(mask)
        return input * mask

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return gradient * mask, None


@contextmanager
def fast_dropout(models: Iterable[nn.Module]) -> Iterator[None]:
    """Inside the block the models' dropout layers are `FastDropout`."""
    layers = [layer for model in models for layer in model.modules() if type(layer) is nn.Dropout]
    for layer in layers:
        layer.__class__ = FastDropout
    try:
        yield
    finally:
        for layer in layers:
            layer.__class__ = nn.Dropout
