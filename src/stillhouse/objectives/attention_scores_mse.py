"""Attention scores, before mask and softmax, against the teacher's, head by head."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stillhouse.data.batch import Batch
from stillhouse.data.text import Unit
from stillhouse.features import Feature, FeatureName, Features
from stillhouse.objective import LayerObjective, check_heads
from stillhouse.speed.blocks import MapRows, blocked_loss, near_pairs

Pairs = Literal["valid", "keys_only", "official"]


def attention_scores_mse(
    student: tuple[Float[Tensor, "batch heads tokens student_dim"], Float[Tensor, "batch heads tokens student_dim"]],
    teacher: tuple[
        Float[Tensor, "batch teacher_heads tokens teacher_dim"], Float[Tensor, "batch teacher_heads tokens teacher_dim"]
    ],
    attention_mask: Int[Tensor, "batch tokens"],
    pairs: Pairs = "valid",
    window: int | None = None,
) -> Float[Tensor, ""]:
    """Squared difference of the scores `Q K^T`, in float32.

    Args:
        student: Queries, times the factor of the scores, and keys.
        teacher: The same of the teacher, in as many heads.
        attention_mask: 1 = real token.
        pairs: What the mean is over: `valid`, pairs of a real query and a real key; `keys_only`, all queries and real keys;
            `official`, as the authors' code has it: padded keys count as equal but stay in the denominator.
        window: Local attention: how far away a key may be; pairs beyond it count as equal.

    Returns:
        Mean over the pairs and heads of the batch; an exact zero where there is none.

    Raises:
        UserError: The numbers of heads differ.
    """
    check_heads("attention_scores_mse", *student, *teacher)
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
    theirs, their_keys = theirs.detach(), their_keys.detach()

    def squares(scores: Tensor, rows: MapRows) -> tuple[Tensor, Tensor]:
        difference = scores.sub_(theirs[rows] @ their_keys[rows[:2]].transpose(-1, -2))
        if window is not None:
            difference.mul_(near_pairs(rows[2], real.shape[1], window, real.device))
        return difference.square().sum(), difference.mul_(2)

    return blocked_loss(ours, our_keys, squares) / (count.clamp(min=1) * ours.shape[1])


def _factors(features: Features, layer: int) -> tuple[Tensor, Tensor]:
    """Queries, times the factor of the scores, and keys."""
    return features[Feature("query", layer)].float() * features.attention[layer].scaling, features[Feature("key", layer)]


class AttentionScoresMSE(LayerObjective):
    """`attention_scores_mse`, summed over pairs of layers.

    Reference: TinyBERT (Jiao et al., 2020, arXiv:1909.10351v5), equation 7.
    See also: `RelationKL`, which compares distributions and so does not see what is added to a whole row of scores.

    Attributes:
        layers: Pairs of a student layer and a teacher layer, each attending in the same way and with as many heads.
        pairs: See `attention_scores_mse`. All but `valid` count padding: where rows are not filled up to one length, their
            value depends on how a step is cut.
    """

    name: ClassVar[str] = "attention_scores_mse"
    compares: ClassVar[tuple[FeatureName, ...]] = ("query", "key")
    pairs: Pairs = "valid"

    @property
    def unit(self) -> Unit:
        return "pairs" if self.pairs == "valid" else "rows"

    def __call__(self, student: Features, teacher: Features, batch: Batch) -> Tensor:
        mask = batch.learner.mask
        values = []
        for own, its in self.layers:
            ours, theirs = _factors(student, own), _factors(teacher, its)
            values.append(attention_scores_mse(ours, theirs, mask, self.pairs, student.attention[own].window))
        return sum(values[1:], values[0])
