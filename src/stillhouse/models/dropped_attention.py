"""Attention with dropout on a CPU, block by block.

torch has a fused attention for CPUs, but not with dropout: then it makes every map whole, several times over, and draws a
number for each entry. Here a block of maps is made, masked and used while it is in the processor's cache; the backward pass
makes it again, so that of all maps one byte an entry is kept: what was dropped.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stillhouse.blocks import Block, blocks
from stillhouse.masks import LEVELS, keep_mask


def dropped_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, dropout: float) -> Tensor:
    """`dropout(softmax(Q K^T * scaling)) V`.

    Scores, softmax and the gradient by the maps are worked out in float32 at least; products with maps take them in the type
    of the values, and sum in float32.

    Args:
        query: `(batch, heads, tokens, head_dim)`, as keys and values.
        key: Keys.
        value: Values.
        mask: True where a query may look, broadcast over `(batch, heads, tokens, tokens)`; None = everywhere.
        scaling: Factor of the scores.
        dropout: Probability that an entry of a map is dropped, to a multiple of 2^-16.

    Returns:
        `(batch, tokens, heads, head_dim)`.
    """
    with torch.autocast("cpu", enabled=False):
        result: Tensor = _Dropped.apply(query, key, value, mask, scaling, round(dropout * LEVELS))  # type: ignore[no-untyped-call]
    return result


class _Dropped(torch.autograd.Function):
    """With maps P, masks M and O = (P M) V: dP = M dO V^T, dS = P (dP - sum of dP P over a row)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, level: int) -> Tensor:
        factor = LEVELS / (LEVELS - level)
        floor = None if mask is None else _floor(mask)
        result = _by_token(value)
        kept = []
        for block in blocks(*query.shape[:3], on_cpu=True):
            maps = _maps(query, key, floor, scaling, block)
            kept.append(keep_mask(maps.shape, level))
            result[block] = (maps.mul_(kept[-1]).to(value.dtype) @ value[block]).mul_(factor)
        ctx.save_for_backward(query, key, value, *kept, *([] if floor is None else [floor]))
        ctx.scaling, ctx.factor, ctx.has_floor = scaling, factor, floor is not None
        return result.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        floor = kept.pop() if ctx.has_floor else None
        gradient = gradient.transpose(1, 2)
        by_query, by_key, by_value = (_by_token(tensor) for tensor in (query, key, value))
        for block, keeps in zip(blocks(*query.shape[:3], on_cpu=True), kept, strict=True):
            maps = _maps(query, key, floor, ctx.scaling, block)
            slope = (_exact(gradient[block]) @ _exact(value[block]).transpose(-1, -2)).mul_(keeps)
            slope = torch.ops.aten._softmax_backward_data(slope, maps, -1, maps.dtype).to(value.dtype)
            by_value[block] = (maps.mul_(keeps).to(value.dtype).transpose(-1, -2) @ gradient[block]).mul_(ctx.factor)
            by_query[block] = (slope @ key[block]).mul_(ctx.factor * ctx.scaling)
            by_key[block] = (slope.transpose(-1, -2) @ query[block]).mul_(ctx.factor * ctx.scaling)
        return by_query, by_key, by_value, None, None, None


def _maps(query: Tensor, key: Tensor, floor: Tensor | None, scaling: float, block: Block) -> Tensor:
    scores = (_exact(query[block]) * scaling) @ _exact(key[block]).transpose(-1, -2)
    if floor is not None:
        scores.add_(floor[block[0]] if floor.shape[0] > 1 else floor)
    return torch.softmax(scores, dim=-1)


def _exact(vectors: Tensor) -> Tensor:
    """In float32 at least, head by head in memory."""
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32), memory_format=torch.contiguous_format)


def _floor(mask: Tensor) -> Tensor:
    """What is added to scores: 0, or for what may not be looked at so little that its probability is an exact zero."""
    return mask.contiguous().view(torch.uint8).float().sub_(1).mul_(1e9)


def _by_token(like: Tensor) -> Tensor:
    """An empty one of the same shape that lies in memory token by token, as layers give and take vectors."""
    return torch.empty_like(like.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
