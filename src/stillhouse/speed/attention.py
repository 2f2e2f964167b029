"""Attention on a CPU, block by block: with dropout, and on short texts without.

torch has a fused attention for CPUs, but not with dropout: then it makes every map whole, several times over, and draws a
number for each entry. Here a block of maps is made, masked and used while it is in the processor's cache; the backward pass
makes it again, so that of all maps one byte an entry is kept: what was dropped.

Without dropout torch's fused form is made for long texts; on short ones it takes longer than this.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stillhouse.speed.blocks import LEAST_KEYS, Block, blocks, mask_bias, with_least_keys
from stillhouse.speed.masks import LEVELS, keep_mask

SHORT_TOKENS = 128  # tokens


def can_attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> bool:
    """Whether `block_attention` takes these: one shape, one mask for all heads, not everything to drop."""
    is_one_shape = query.shape == key.shape == value.shape
    is_shared = mask is None or (mask.dtype == torch.bool and mask.ndim == 4 and mask.shape[1] == 1)
    return is_one_shape and is_shared and round(dropout * LEVELS) < LEVELS


def is_short(query: Tensor) -> bool:
    """Whether `block_attention` without dropout, and without gradient, is faster than torch's: for several short texts."""
    return query.shape[0] > 1 and query.shape[2] <= SHORT_TOKENS


def block_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, dropout: float) -> Tensor:
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
        result: Tensor = _BlockAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, mask, scaling, round(dropout * LEVELS)
        )
    return result


class _BlockAttention(torch.autograd.Function):
    """With maps P, masks M and O = (P M) V: dP = M dO V^T, dS = P (dP - sum of dP P over a row)."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, drop_level: int
    ) -> Tensor:
        factor = LEVELS / (LEVELS - drop_level)
        tokens = query.shape[2]
        if mask is None and tokens < LEAST_KEYS:
            mask = torch.ones(1, 1, 1, tokens, dtype=torch.bool)
        bias = None if mask is None else mask_bias(mask)
        key, value = with_least_keys(key), with_least_keys(value)
        result = _by_token(query)
        keep_masks = []
        for block in blocks(*query.shape[:3], on_cpu=True):
            maps = _maps(query, key, bias, scaling, block)
            if drop_level:
                keep_masks.append(keep_mask(maps.shape, drop_level))
                maps.mul_(keep_masks[-1])
            torch.mul(maps.to(value.dtype) @ value[block], factor, out=result[block])
        ctx.save_for_backward(query, key, value, *keep_masks, *([] if bias is None else [bias]))
        ctx.scaling, ctx.factor, ctx.has_bias = scaling, factor, bias is not None
        return result.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *keep_masks = ctx.saved_tensors
        bias = keep_masks.pop() if ctx.has_bias else None
        gradient = gradient.transpose(1, 2)
        by_query, by_key, by_value = (_by_token(query) for _ in range(3))
        tokens = query.shape[2]
        for number, block in enumerate(blocks(*query.shape[:3], on_cpu=True)):
            maps = _maps(query, key, bias, ctx.scaling, block)
            slope = _exact(gradient[block]) @ _exact(value[block]).transpose(-1, -2)
            if keep_masks:
                slope.mul_(keep_masks[number])
            slope = torch.ops.aten._softmax_backward_data(slope, maps, -1, maps.dtype).to(value.dtype)
            if keep_masks:
                maps.mul_(keep_masks[number])
            by_value[block] = (_turned(maps.to(value.dtype), tokens) @ gradient[block]).mul_(ctx.factor)
            by_query[block] = (slope @ key[block]).mul_(ctx.factor * ctx.scaling)
            by_key[block] = (_turned(slope, tokens) @ query[block]).mul_(ctx.factor * ctx.scaling)
        return by_query, by_key, by_value, None, None, None


def _maps(query: Tensor, key: Tensor, bias: Tensor | None, scaling: float, block: Block) -> Tensor:
    scores = (_exact(query[block]) * scaling) @ _exact(key[block]).transpose(-1, -2)
    if bias is not None:
        scores.add_(bias[block[0]] if bias.shape[0] > 1 else bias)
    return torch.softmax(scores, dim=-1)


def _turned(matrix: Tensor, tokens: int) -> Tensor:
    """Transposed, without the keys that are no tokens."""
    return matrix[..., :tokens].transpose(-1, -2)


def _exact(vectors: Tensor) -> Tensor:
    """In float32 at least, head by head in memory."""
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32), memory_format=torch.contiguous_format)


def _by_token(like: Tensor) -> Tensor:
    """An empty one of the same shape that lies in memory token by token, as layers give and take vectors."""
    return torch.empty_like(like.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
