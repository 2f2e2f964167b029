"""Attention scores, before mask and softmax, against the teacher's, head by head."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from stillhouse.data.batch import Batch, Unit
from stillhouse.features import Attention, Features, Needs
from stillhouse.objectives.blocks import blocks
from stillhouse.objectives.objective import LayerPairs, Objective

Pairs = Literal["valid", "keys_only", "official"]


def attention_scores_mse(
    student: tuple[Float[Tensor, "batch heads tokens student_dim"], Float[Tensor, "batch heads tokens student_dim"]],
    teacher: tuple[Float[Tensor, "batch heads tokens teacher_dim"], Float[Tensor, "batch heads tokens teacher_dim"]],
    attention_mask: Int[Tensor, "batch tokens"],
    pairs: Pairs = "valid",
    near: Bool[Tensor, "tokens tokens"] | None = None,
) -> Float[Tensor, ""]:
    """Squared difference of the scores `Q K^T`, in float32.

    Args:
        student: Queries, times the factor of the scores, and keys.
        teacher: The same of the teacher, in as many heads.
        attention_mask: 1 = real token.
        pairs: What the mean is over: `valid`, pairs of a real query and a real key; `keys_only`, all queries and real keys;
            `official`, as the authors' code has it: padded keys count as equal but stay in the denominator.
        near: Local attention: which pairs are looked at at all; the others count as equal.

    Returns:
        Mean over the pairs and heads of the batch; an exact zero where there is none.
    """
    real = attention_mask.bool()
    padding = ~real[:, None, :, None]
    # A vector of zeros gives a score of 0 on both sides: what is not to be compared counts as equal.
    our_keys, their_keys = (keys.float().masked_fill(padding, 0.0) for _, keys in (student, teacher))
    ours, theirs = (queries.float() for queries, _ in (student, teacher))
    if pairs == "valid":
        ours, theirs = (queries.masked_fill(padding, 0.0) for queries in (ours, theirs))
    lengths = real.sum(dim=1)
    every = torch.full_like(lengths, real.shape[1])
    count = ((lengths if pairs == "valid" else every) * (every if pairs == "official" else lengths)).sum()
    total: Tensor = _BlockedSquares.apply(  # type: ignore[no-untyped-call]
        ours, our_keys, theirs.detach(), their_keys.detach(), near
    )
    return total / (count.clamp(min=1) * ours.shape[1])


class _BlockedSquares(torch.autograd.Function):
    """`sum of (A_s B_s^T - A_t B_t^T)^2`, block by block, so that no map is kept.

    With the difference D of a block the gradients are `2 D B_s` and `2 D^T A_s`, made while it is in the processor's cache.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, their_a: Tensor, their_b: Tensor, near: Tensor | None) -> Tensor:
        wants_gradient = a.requires_grad or b.requires_grad
        by_a, by_b = torch.empty_like(a), torch.empty_like(b)
        total = a.new_zeros(())
        for block in blocks(*a.shape[:3], on_cpu=a.device.type == "cpu"):
            difference = (a[block] @ b[block].transpose(-1, -2)).sub_(their_a[block] @ their_b[block].transpose(-1, -2))
            if near is not None:
                difference.mul_(near)
            total += difference.square().sum()
            if wants_gradient:
                by_a[block] = difference @ b[block]
                by_b[block] = difference.transpose(-1, -2) @ a[block]
        if wants_gradient:
            ctx.save_for_backward(by_a, by_b)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_a, by_b = ctx.saved_tensors
        return 2 * gradient * by_a, 2 * gradient * by_b, None, None, None


def _factors(attention: Attention) -> tuple[Tensor, Tensor]:
    """Queries, times the factor of the scores, and keys."""
    return attention.require("query").float() * attention.scaling, attention.require("key")


class AttentionScoresMSE(Objective):
    """`attention_scores_mse`, summed over pairs of layers.

    Reference: TinyBERT (Jiao et al., 2020, arXiv:1909.10351v5), equation 7.
    See also: `RelationKL`, which compares distributions and so does not see what is added to a whole row of scores.

    Attributes:
        layers: Pairs of a student layer and a teacher layer, each attending in the same way and with as many heads.
        pairs: See `attention_scores_mse`. `official` counts the padding of each micro-batch, so that its value depends on
            how a step is cut.
    """

    name: ClassVar[str] = "attention_scores_mse"
    layers: LayerPairs
    pairs: Literal["valid", "official"] = "valid"

    @property
    def unit(self) -> Unit:
        return "rows" if self.pairs == "official" else "pairs"

    @property
    def student_needs(self) -> Needs:
        return Needs(attentions=frozenset(own for own, _ in self.layers), parts=frozenset({"query", "key"}))

    @property
    def teacher_needs(self) -> Needs:
        return Needs(attentions=frozenset(its for _, its in self.layers), parts=frozenset({"query", "key"}))

    def __call__(self, student: Features, teacher: Features, batch: Batch) -> Tensor:
        mask = batch.student_inputs["attention_mask"]
        values = []
        for own, its in self.layers:
            ours, theirs = student.require_attention(own), teacher.require_attention(its)
            values.append(attention_scores_mse(_factors(ours), _factors(theirs), mask, self.pairs, ours.near_pairs()))
        return sum(values[1:], values[0])
