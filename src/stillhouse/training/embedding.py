"""Gradients of the token embeddings, row by row: a step reads a few hundred of some 30,000 rows.

torch's own gradient of an embedding is a table of zeros with a few rows in it. On a CPU its memory is asked of the system and
given back at every step, filled, normed and scaled: together a quarter of a step on short texts. Here the table stays, and
only rows that a step has read are added to, normed, scaled and set to zero again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

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

    def begin(self) -> None:
        """Makes the table."""
        self.table = torch.zeros_like(self.weight)
        self._read, self._is_sorted = [], True

    def add(self, rows: Tensor, gradient: Tensor) -> None:
        """Adds the gradient of what was looked up, as the backward pass comes to it."""
        rows, gradient = rows.flatten(), gradient.flatten(0, -2)
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
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        (rows,) = ctx.saved_tensors
        ctx.layer.add(rows, gradient)
        return None, None, None


@contextmanager
def row_gradients(module: nn.Module, *, is_on: bool) -> Iterator[list[RowEmbedding]]:
    """Inside the block the large tables of a module get their gradients row by row.

    Args:
        module: The student side.
        is_on: Off where the gradient has to be an ordinary one: where processes average it, and on other devices than the
            CPU, whose memory is not asked of the system.

    Yields:
        The layers.
    """
    owners = Counter(id(weight) for part in module.modules() for weight in part._parameters.values() if weight is not None)
    layers = [layer for layer in module.modules() if type(layer) is nn.Embedding and is_on and _is_worth_it(layer)]
    layers = [layer for layer in layers if owners[id(layer.weight)] == 1]  # a tied weight has other gradients too
    changed = []
    for layer in layers:
        layer.__class__ = RowEmbedding
        changed.append(cast(RowEmbedding, layer))
        changed[-1].begin()
    try:
        yield changed
    finally:
        for layer in changed:
            layer.end()


def _is_worth_it(layer: nn.Embedding) -> bool:
    is_plain = not layer.sparse and layer.max_norm is None and not layer.scale_grad_by_freq
    return is_plain and layer.weight.requires_grad and layer.num_embeddings >= LEAST_ROWS


def clip_gradients(parameters: Sequence[nn.Parameter], layers: Sequence[RowEmbedding], max_norm: float) -> Tensor:
    """Scales gradients so that their norm is at most `max_norm`.

    Args:
        parameters: All of them.
        layers: Those whose gradients are zero but for some rows.
        max_norm: Of all gradients together.

    Returns:
        The norm before.
    """
    tables = {id(layer.weight) for layer in layers}
    others = [parameter for parameter in parameters if id(parameter) not in tables]
    rows = [layer.rows() for layer in layers]
    parts = [layer.table[read] for layer, read in zip(layers, rows, strict=True)]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in others if parameter.grad is not None] + parts)
    nn.utils.clip_grads_with_norm_(others, max_norm, norm)
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)  # as torch clips
    for layer, read, part in zip(layers, rows, parts, strict=True):
        layer.table[read] = part * factor
    return norm
