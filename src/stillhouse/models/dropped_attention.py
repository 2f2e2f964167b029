"""Attention with dropout on a CPU, block by block.

torch has a fused attention for CPUs, but not with dropout: then it makes every map whole, several times over, and draws a
number for each entry. Here a block of maps is made, masked and used while it is in the processor's cache; the backward pass
makes it again, so that of all maps one byte an entry is kept: what was dropped.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stillhouse.blocks import blocks
from stillhouse.masks import LEVELS, keep_mask


def dropped_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, dropout: float) -> Tensor:
    """`dropout(softmax(Q K^T * scaling)) V`, scores and maps in float32.

    Args:
        query: `(batch, heads, tokens, head_dim)`, as keys and values.
        key: Keys.
        value: Values.
        mask: True where a query may look, broadcast over `(batch, heads, tokens, tokens)`; None = everywhere.
        scaling: Factor of the scores.
        dropout: Probability that an entry of a map is dropped, a multiple of 2^-16.

    Returns:
        `(batch, heads, tokens, head_dim)`.
    """
    level = round(dropout * LEVELS)
    dtype = torch.promote_types(query.dtype, torch.float32)
    # Heads come as a view of what was computed token by token; block by block it would be copied again and again.
    vectors = (tensor.to(dtype).contiguous() for tensor in (query, key, value))
    with torch.autocast("cpu", enabled=False):
        result: Tensor = _Dropped.apply(*vectors, mask, scaling, level)  # type: ignore[no-untyped-call]
    return result.to(value.dtype)


class _Dropped(torch.autograd.Function):
    """With maps P, masks M, O = (P M) V and D = sum of dO O over a row: dS = P (M dO V^T - D)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, level: int) -> Tensor:
        query = query * scaling
        result = torch.empty_like(value)
        norms = query.new_empty(query.shape[:3])
        kept = []
        for block in blocks(*query.shape[:3], on_cpu=True):
            maps = _scores(query[block], key[block], mask, block[0])
            norms[block] = maps.logsumexp(dim=-1)
            maps.sub_(norms[block][..., None]).exp_()
            kept.append(keep_mask(maps.shape, level))
            result[block] = maps.mul_(kept[-1]) @ value[block]
        result.mul_(LEVELS / (LEVELS - level))
        ctx.save_for_backward(query, key, value, result, norms, *kept, *([] if mask is None else [mask]))
        ctx.scaling, ctx.level, ctx.has_mask = scaling, level, mask is not None
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, result, norms, *kept = ctx.saved_tensors
        mask = kept.pop() if ctx.has_mask else None
        by_query, by_key, by_value = (torch.empty_like(tensor) for tensor in (query, key, value))
        gradient = gradient.contiguous()
        sums = (gradient * result).sum(dim=-1)
        gradient = gradient * (LEVELS / (LEVELS - ctx.level))
        for block, keeps in zip(blocks(*query.shape[:3], on_cpu=True), kept, strict=True):
            maps = _scores(query[block], key[block], mask, block[0]).sub_(norms[block][..., None]).exp_()
            slope = (gradient[block] @ value[block].transpose(-1, -2)).mul_(keeps).sub_(sums[block][..., None]).mul_(maps)
            by_value[block] = maps.mul_(keeps).transpose(-1, -2) @ gradient[block]
            by_query[block] = slope @ key[block]
            by_key[block] = slope.transpose(-1, -2) @ query[block]
        return by_query.mul_(ctx.scaling), by_key, by_value, None, None, None


def _scores(query: Tensor, key: Tensor, mask: Tensor | None, examples: slice) -> Tensor:
    scores = query @ key.transpose(-1, -2)
    if mask is not None:
        scores.masked_fill_(~(mask[examples] if mask.shape[0] > 1 else mask), -1e9)
    return scores
