"""Gradients of the token embeddings, row by row: a step reads a few hundred of some 30,000 rows.

torch's own gradient of an embedding is a table of zeros with a few rows in it. On a CPU its memory is asked of the system and
given back at every step, filled, normed and scaled: together a quarter of a step on short texts. Here the table stays, and
only rows that a step has read are added to, normed, scaled and set to zero again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LEAST_ROWS = 1000  # smaller tables are not worth the trouble


class RowEmbedding(nn.Embedding):
    """`nn.Embedding` whose gradient is kept in one table from step to step.

    Attributes:
        table: The gradient; zero but for the rows that the step has read.
    """

    table: Tensor
    _read: list[Tensor]
    _is_sorted: bool

    def forward(self, input: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and self.weight.requires_grad):
            return super().forward(input)
        looked_up: Tensor = _LookedUp.apply(self.weight, input, self)  # type: ignore[no-untyped-call]
        return looked_up

    def begin(self, table: Tensor) -> None:
        """Takes a table of zeros."""
        self.table = table
        self._read, self._is_sorted = [], True

    def add(self, rows: Tensor, gradient: Tensor) -> None:
        """Adds the gradient of what was looked up, as the backward pass comes to it."""
        rows, gradient = rows.flatten(), gradient.reshape(-1, gradient.shape[-1])
        if self.padding_idx is not None:
            real = rows != self.padding_idx
            rows, gradient = rows[real], gradient[real]
        self.table.index_add_(0, rows, gradient.to(self.table.dtype))
        self._read.append(rows)
        self._is_sorted = False
        self.weight.grad = self.table

    def rows(self) -> Tensor:
        """The rows that the step has read, each once."""
        if len(self._read) > 1 or not self._is_sorted:
            self._read = [torch.unique(torch.cat(self._read))] if self._read else []
            self._is_sorted = True
        return self._read[0] if self._read else torch.empty(0, dtype=torch.int64)

    def clear(self) -> None:
        """Sets the gradient to zero."""
        self.table[self.rows()] = 0.0
        self._read, self._is_sorted = [], True
        self.weight.grad = None

    def end(self) -> None:
        """An ordinary layer again."""
        self.weight.grad = None
        del self.table, self._read, self._is_sorted
        self.__class__ = nn.Embedding  # type: ignore[assignment]


class _LookedUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor, layer: RowEmbedding) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.layer = layer
        return nn.functional.embedding(rows, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        (rows,) = ctx.saved_tensors
        ctx.layer.add(rows, gradient)
        return None, None, None


@contextmanager
def row_gradients(encoder: Any, *, is_on: bool) -> Iterator[list[RowEmbedding]]:
    """Inside the block an encoder's token embeddings get their gradients row by row.

    Its other tables are left alone: a model may read their weights directly, as DeBERTa does with its relative positions.

    Args:
        encoder: Of transformers.
        is_on: Off where the gradient has to be an ordinary one: where processes average it, and on other devices than the
            CPU, whose memory is not asked of the system.

    Yields:
        The layer, or none where it is not worth the trouble, or where its gradient comes from elsewhere, too.
    """
    layer = encoder.get_input_embeddings()
    if not (is_on and _is_worth_it(layer) and _is_read_nowhere_else(layer, encoder)):
        yield []
        return
    table = torch.zeros_like(layer.weight)
    layer.__class__ = RowEmbedding
    layer.begin(table)
    try:
        yield [layer]
    finally:
        layer.end()


def _is_worth_it(layer: Any) -> bool:
    if type(layer) is not nn.Embedding or layer.num_embeddings < LEAST_ROWS:
        return False
    return layer.weight.requires_grad and not layer.sparse and layer.max_norm is None and not layer.scale_grad_by_freq


def _is_read_nowhere_else(layer: nn.Embedding, encoder: nn.Module) -> bool:
    """Whether the weight is no other module's, too."""
    weights = (weight for part in encoder.modules() for weight in part._parameters.values())
    return sum(weight is layer.weight for weight in weights) == 1


def clip_gradients(parameters: Sequence[nn.Parameter], layers: Sequence[RowEmbedding], max_norm: float) -> Tensor:
    """Scales gradients so that their norm is at most `max_norm`.

    Args:
        parameters: All of them.
        layers: Those whose gradients are zero but for some rows.
        max_norm: Of all gradients together.

    Returns:
        The norm before.
    """
    layers = [layer for layer in layers if layer.weight.grad is layer.table]
    tables = {id(layer.weight) for layer in layers}
    others = [parameter for parameter in parameters if id(parameter) not in tables]
    rows = [layer.rows() for layer in layers]
    parts = [layer.table[read] for layer, read in zip(layers, rows, strict=True)]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in others if parameter.grad is not None] + parts)
    factor = max_norm / (norm + 1e-6)  # as torch clips
    if factor.device.type == "cpu" and factor >= 1:  # there reading it costs less than multiplying everything by one
        return norm
    factor = factor.clamp(max=1.0)
    nn.utils.clip_grads_with_norm_(others, max_norm, norm)
    for layer, read, part in zip(layers, rows, parts, strict=True):
        layer.table[read] = part * factor
    return norm
