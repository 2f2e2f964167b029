"""Attention maps block by block: what works on maps never holds more of them than a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Entries of the maps that are worked on at once: what a processor's cache holds, and what keeps a GPU busy.
BLOCK_ENTRIES, BLOCK_ENTRIES_GPU = 2**18, 2**26
# Where a row has fewer entries than a vector register, torch's softmax works on one after the other, many times slower.
LEAST_KEYS = 16

Block = tuple[slice, slice]
MapRows = tuple[slice, slice, slice]
# The scores of some rows of a block, which may be overwritten, and where they are -> their loss, and its gradient by them.
Loss = Callable[[Tensor, MapRows], tuple[Tensor, Tensor]]


def blocked_loss(a: Tensor, b: Tensor, loss: Loss) -> Tensor:
    """The sum of a loss of the scores `S = A B^T`, in float32 at least, of which none is kept.

    Of a long text not even one head's map is made whole: memory grows with the tokens, not with their square. The gradients by
    A and B, `dS B` and `dS^T A`, are made in the same pass, while a block is in the processor's cache, instead of making it
    again in the backward pass; their products take all three in the type of A, which is that of the gradients.

    Args:
        a: `(batch, heads, tokens, head_dim)`.
        b: The same, perhaps with more tokens.
        loss: Of some rows of a block.
    """
    with torch.autocast(a.device.type, enabled=False):
        total: Tensor = _Blocked.apply(a, b, loss)  # type: ignore[no-untyped-call]
    return total


class _Blocked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, loss: Loss) -> Tensor:
        wants_gradient = a.requires_grad or b.requires_grad
        by_a, by_b = torch.empty_like(a), torch.empty_like(b)
        exact = torch.promote_types(a.dtype, torch.float32)
        total = a.new_zeros((), dtype=exact)
        on_cpu = a.device.type == "cpu"
        for block in blocks(*a.shape[:3], on_cpu=on_cpu):
            keys = b[block].to(exact).transpose(-1, -2)
            by_keys: Tensor | None = None
            for queries in _query_spans(a.shape[2], on_cpu=on_cpu):
                rows = (*block, queries)
                value, slope = loss(a[rows].to(exact) @ keys, rows)
                total += value
                if wants_gradient:
                    slope = slope.to(a.dtype)
                    by_a[rows] = slope @ b[block]
                    part = slope.transpose(-1, -2) @ a[rows]
                    # Of many parts the sum takes float32: bf16 would lose what it cannot hold.
                    by_keys = part if by_keys is None else by_keys.to(exact) + part
            if by_keys is not None:
                by_b[block] = by_keys
        if wants_gradient:
            ctx.save_for_backward(by_a, by_b)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_a, by_b = ctx.saved_tensors
        return gradient.to(by_a.dtype) * by_a, gradient.to(by_b.dtype) * by_b, None


def mask_bias(mask: Tensor) -> Tensor:
    """What is added to scores: 0, or for what may not be looked at -1e9, which makes its probability an exact zero.

    Finite: the difference of two -inf is NaN. Keys that `with_least_keys` has added come after all others, with -2e9: where
    nothing may be looked at, not even then at them.
    """
    bias = mask.contiguous().view(torch.uint8).float().sub_(1).mul_(1e9)  # reading bytes, faster than filling by a mask
    missing = LEAST_KEYS - mask.shape[-1]
    return nn.functional.pad(bias, (0, missing), value=-2e9) if missing > 0 else bias


def with_least_keys(keys: Tensor) -> Tensor:
    """`(batch, heads, tokens, head_dim)`, with zeros for keys or values up to `LEAST_KEYS`; `mask_bias` hides them."""
    missing = LEAST_KEYS - keys.shape[2]
    return nn.functional.pad(keys, (0, 0, 0, missing)) if missing > 0 else keys


def near_pairs(queries: slice, tokens: int, window: int, device: torch.device) -> Tensor:
    """Which pairs of some queries and all keys a layer with local attention looks at, `(queries, tokens)`."""
    position = torch.arange(tokens, device=device)
    return (position[queries, None] - position).abs() <= window


def _entries(*, on_cpu: bool) -> int:
    return BLOCK_ENTRIES if on_cpu else BLOCK_ENTRIES_GPU


def blocks(examples: int, heads: int, tokens: int, *, on_cpu: bool) -> Iterator[Block]:
    """Slices of examples and heads whose maps together have about as many entries as are worked on at once, or of one map."""
    entries = _entries(on_cpu=on_cpu)
    size = tokens * max(tokens, LEAST_KEYS)
    head_step = max(1, min(heads, entries // size))
    example_step = max(1, entries // (size * head_step)) if head_step == heads else 1
    for example in range(0, examples, example_step):
        for head in range(0, heads, head_step):
            yield slice(example, example + example_step), slice(head, head + head_step)


def _query_spans(tokens: int, *, on_cpu: bool) -> Iterator[slice]:
    """All queries at once where a map has no more entries than are worked on, else so many that their rows have."""
    step = max(1, _entries(on_cpu=on_cpu) // max(tokens, LEAST_KEYS))
    for start in range(0, tokens, step):
        yield slice(start, min(start + step, tokens))
