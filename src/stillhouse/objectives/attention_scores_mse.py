"""Attention scores, before mask and softmax, against the teacher's, head by head."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from stillhouse.data.batch import Batch, Unit
from stillhouse.features import Features, Needs
from stillhouse.objectives.objective import LayerPairs, Objective

Pairs = Literal["valid", "keys_only", "official"]


def attention_scores_mse(
    student: Float[Tensor, "batch heads tokens tokens"],
    teacher: Float[Tensor, "batch heads tokens tokens"],
    attention_mask: Int[Tensor, "batch tokens"],
    pairs: Pairs = "valid",
    near: Bool[Tensor, "tokens tokens"] | None = None,
) -> Float[Tensor, ""]:
    """Squared difference of the scores, in float32.

    Args:
        student: Scores before softmax.
        teacher: Scores of as many heads.
        attention_mask: 1 = real token.
        pairs: What the mean is over: `valid`, pairs of a real query and a real key; `keys_only`, all queries and real keys;
            `official`, as the authors' code has it: padded keys count as equal but stay in the denominator.
        near: Local attention: which pairs are looked at at all; the others count as equal.

    Returns:
        Mean over the pairs and heads of the batch; an exact zero where there is none.
    """
    real = attention_mask.bool()
    keys = real[:, None, None, :]
    losses = (student.float() - teacher.float()).square()
    chosen = keys.expand(-1, 1, real.shape[1], -1) if pairs != "valid" else keys & real[:, None, :, None]
    looked_at = chosen if near is None else chosen & near
    total = losses.where(looked_at, 0.0).sum()
    count = torch.tensor(real.numel() * real.shape[1]) if pairs == "official" else chosen.sum()
    return total / (count.clamp(min=1) * losses.shape[1])


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
            values.append(attention_scores_mse(ours.scores(), theirs.scores(), mask, self.pairs, ours.near_pairs()))
        return sum(values[1:], values[0])
