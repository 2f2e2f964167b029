"""Scores over a vocabulary, some positions at a time: what works on them never holds more of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores that are worked on at once: with fewer, adding to the gradient by the table takes the time; with more, memory grows.
CHUNK_ENTRIES = 2**22
# Rows of that gradient which are added to at once where the product has to be made first, in another type.
TABLE_ROWS = 2**12

# The scores of some positions, which may be overwritten, and which these are -> their loss, and its gradient by them.
ChunkLoss = Callable[[Tensor, slice], tuple[Tensor, Tensor]]


def chunked_loss(states: Tensor, table: Tensor, bias: Tensor, loss: ChunkLoss) -> Tensor:
    """The sum of a loss of the scores `states @ table.T + bias`, in float32 at least, of which none is kept.

    The gradients are made in the same pass, while a chunk of scores is there. That by the table is summed up in the table's own
    type, whatever type the products are in: that of the states. It may be asked for once.

    Args:
        states: `(positions, hidden)`.
        table: `(vocab, hidden)`.
        bias: `(vocab,)`.
        loss: Of some of the positions.
    """
    with torch.autocast(states.device.type, enabled=False):
        total: Tensor = _Chunked.apply(states, table, bias, loss, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
    return total


def scores_of(states: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    """`states @ table.T + bias`, multiplied in the type of the states, in float32 at least."""
    exact = torch.promote_types(states.dtype, torch.float32)
    if states.dtype == exact:
        return torch.addmm(bias.to(exact), states, table.to(exact).t())
    return (states @ table.to(states.dtype).t()).to(exact).add_(bias)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, bias: Tensor, loss: ChunkLoss, wants_gradient: bool) -> Tensor:
        by_states, by_table, by_bias = (
            torch.zeros_like(given) if wants_gradient and needed else None
            for given, needed in zip((states, table, bias), ctx.needs_input_grad, strict=False)
        )
        total = states.new_zeros((), dtype=torch.promote_types(states.dtype, torch.float32))
        weight = table.to(states.dtype)
        for rows in position_chunks(len(states), len(table)):
            value, slope = loss(scores_of(states[rows], weight, bias), rows)
            total += value
            if by_bias is not None:
                by_bias += slope.sum(dim=0)
            slope = slope.to(states.dtype)
            if by_states is not None:
                by_states[rows] = slope @ weight
            if by_table is not None and by_table.dtype == slope.dtype:
                by_table.addmm_(slope.t(), states[rows])
            elif by_table is not None:
                for start in range(0, len(table), TABLE_ROWS):
                    some = slice(start, start + TABLE_ROWS)
                    by_table[some] += slope[:, some].t() @ states[rows]
        ctx.save_for_backward(by_states, by_table, by_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # In place: another table would take as much memory again.
        slopes = (None if slope is None else slope.mul_(gradient) for slope in ctx.saved_tensors)
        return (*slopes, None, None)


def position_chunks(positions: int, vocabulary: int) -> Iterator[slice]:
    """All positions, so many at a time that their scores have about `CHUNK_ENTRIES`, or one."""
    step = max(1, CHUNK_ENTRIES // max(1, vocabulary))
    for start in range(0, positions, step):
        yield slice(start, min(start + step, positions))
