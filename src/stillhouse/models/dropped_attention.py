"""Attention with dropout on a CPU, block by block.

torch has a fused attention for CPUs, but not with dropout: then it makes every map whole, several times over, and draws a
number for each entry. Here a block of maps is made, masked and used while it is in the processor's cache; the backward pass
makes it again, so that of all maps one byte an entry is kept: what was dropped.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stillhouse.blocks import Block, blocks, mask_bias
from stillhouse.masks import LEVELS, keep_mask


def can_drop(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> bool:
    """Whether `dropped_attention` takes these: one shape, one mask for all heads, some but not all to drop."""
    is_one_shape = query.shape == key.shape == value.shape
    is_shared = mask is None or (mask.dtype == torch.bool and mask.ndim == 4 and mask.shape[1] == 1)
    return is_one_shape and is_shared and 0 < round(dropout * LEVELS) < LEVELS


def dropped_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, dropout: float) -> Tensor:
    """`dropout(softmax(Q K^T * scaling)) V`.

    Scores, softmax and the gradient by the maps are worked out in float32 at least; products with maps take them in the type
    of the values, and sum in float32.

    Args:
        query: `(batch, heads, tokens, head_dim)`, as keys and values. Rotated ones are in float32 under autocast: as SDPA
            there, this takes them in the type of the values.
        key: Keys.
        value: Values.
        mask: True where a query may look, `(batch or 1, 1, tokens or 1, tokens)`; None = everywhere. A query that may look
            nowhere looks everywhere.
        scaling: Factor of the scores.
        dropout: Probability that an entry of a map is dropped, to a multiple of 2^-16.

    Returns:
        `(batch, tokens, heads, head_dim)`.
    """
    query, key = query.to(value.dtype), key.to(value.dtype)
    with torch.autocast("cpu", enabled=False):
        result: Tensor = _DroppedAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, mask, scaling, round(dropout * LEVELS)
        )
    return result


class _DroppedAttention(torch.autograd.Function):
    """With maps P, masks M and O = (P M) V: dP = M dO V^T, dS = P (dP - sum of dP P over a row)."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, drop_level: int
    ) -> Tensor:
        factor = LEVELS / (LEVELS - drop_level)
        bias = None if mask is None else mask_bias(mask)
        result = _by_token(value)
        keep_masks = []
        for block in blocks(*query.shape[:3], on_cpu=True):
            maps = _maps(query, key, bias, scaling, block)
            keep_masks.append(keep_mask(maps.shape, drop_level))
            result[block] = (maps.mul_(keep_masks[-1]).to(value.dtype) @ value[block]).mul_(factor)
        ctx.save_for_backward(query, key, value, *keep_masks, *([] if bias is None else [bias]))
        ctx.scaling, ctx.factor, ctx.has_bias = scaling, factor, bias is not None
        return result.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *keep_masks = ctx.saved_tensors
        bias = keep_masks.pop() if ctx.has_bias else None
        gradient = gradient.transpose(1, 2)
        by_query, by_key, by_value = (_by_token(tensor) for tensor in (query, key, value))
        for block, kept in zip(blocks(*query.shape[:3], on_cpu=True), keep_masks, strict=True):
            maps = _maps(query, key, bias, ctx.scaling, block)
            slope = (_exact(gradient[block]) @ _exact(value[block]).transpose(-1, -2)).mul_(kept)
            slope = torch.ops.aten._softmax_backward_data(slope, maps, -1, maps.dtype).to(value.dtype)
            by_value[block] = (maps.mul_(kept).to(value.dtype).transpose(-1, -2) @ gradient[block]).mul_(ctx.factor)
            by_query[block] = (slope @ key[block]).mul_(ctx.factor * ctx.scaling)
            by_key[block] = (slope.transpose(-1, -2) @ query[block]).mul_(ctx.factor * ctx.scaling)
        return by_query, by_key, by_value, None, None, None


def _maps(query: Tensor, key: Tensor, bias: Tensor | None, scaling: float, block: Block) -> Tensor:
    scores = (_exact(query[block]) * scaling) @ _exact(key[block]).transpose(-1, -2)
    if bias is not None:
        scores.add_(bias[block[0]] if bias.shape[0] > 1 else bias)
    return torch.softmax(scores, dim=-1)


def _exact(vectors: Tensor) -> Tensor:
    """In float32 at least, head by head in memory."""
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32), memory_format=torch.contiguous_format)


def _by_token(like: Tensor) -> Tensor:
    """An empty one of the same shape that lies in memory token by token, as layers give and take vectors."""
    return torch.empty_like(like.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
