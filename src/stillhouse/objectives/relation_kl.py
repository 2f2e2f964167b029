"""Relations between tokens, softmaxed, against the teacher's: the objective of MiniLM and MiniLMv2."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stillhouse.config import PositiveFloat, PositiveInt
from stillhouse.data.batch import Batch
from stillhouse.features import Feature, Features, Needs, Part, needs_of
from stillhouse.objective import Objective, check_heads
from stillhouse.speed.blocks import MapRows, blocked_loss, mask_bias, near_pairs, with_least_keys

Relation = tuple[Part, Part]


def relation_heads(vectors: Float[Tensor, "batch heads tokens head_dim"], count: int | None) -> Tensor:
    """The heads' vectors side by side, cut into `count` relation heads, `(batch, relation_heads, tokens, width / count)`.

    Native heads mix on purpose. None, or the native number, leaves them as they are.
    """
    if count is None or count == vectors.shape[1]:
        return vectors
    batch, heads, tokens, width = vectors.shape
    return vectors.transpose(1, 2).reshape(batch, tokens, count, heads * width // count).transpose(1, 2)


def relation_kl(
    student: tuple[Float[Tensor, "batch heads tokens student_dim"], Float[Tensor, "batch heads tokens student_dim"]],
    teacher: tuple[
        Float[Tensor, "batch teacher_heads tokens teacher_dim"], Float[Tensor, "batch teacher_heads tokens teacher_dim"]
    ],
    attention_mask: Int[Tensor, "batch tokens"],
    window: int | None = None,
) -> Float[Tensor, ""]:
    """`KL( softmax(X_t Y_t^T / sqrt(d_t)) || softmax(X_s Y_s^T / sqrt(d_s)) )` of every query's row, in nats.

    Each side is scaled by its own head width. Only real tokens are keys.

    Args:
        student: X and Y of the student.
        teacher: X and Y of the teacher, in as many heads.
        attention_mask: 1 = real token.
        window: Local attention: how far away a key may be.

    Returns:
        Mean over heads and real queries of an example, then over examples (`example_mean`). An example without any real
        token counts as 0.

    Raises:
        UserError: The numbers of heads differ.
    """
    check_heads("relation_kl", *student, *teacher)
    real = attention_mask.bool()
    keys = real[:, None, None, :]
    every_bias = mask_bias(keys)
    share = (real / (real.sum(dim=-1, keepdim=True).clamp(min=1) * real.shape[0] * student[0].shape[1]))[:, None, :, None]
    ours, theirs = student[0], teacher[0].detach().float()
    our_keys, their_keys = with_least_keys(student[1]), with_least_keys(teacher[1].detach().float())
    our_factor, their_factor = ours.shape[-1] ** -0.5, theirs.shape[-1] ** -0.5

    def bias_of(examples: slice, queries: slice) -> Tensor:
        if window is None:
            return every_bias[examples]
        return mask_bias(keys[examples] & near_pairs(queries, real.shape[1], window, real.device))

    def divergence(scores: Tensor, rows: MapRows) -> tuple[Tensor, Tensor]:
        """With scores S a row's KL has the gradient `softmax(S_s) - softmax(S_t)`."""
        examples, heads, queries = rows
        bias, own_share = bias_of(examples, queries), share[examples, :, queries]
        log_student = scores.mul_(our_factor).add_(bias).log_softmax(dim=-1)
        their_scores = (theirs[rows] @ their_keys[examples, heads].transpose(-1, -2)).mul_(their_factor).add_(bias)
        log_teacher = their_scores.log_softmax(dim=-1)
        # Softmax again: on a CPU it is faster than the exponential of its logarithm.
        probability = their_scores.softmax(dim=-1)
        value = (log_teacher.sub_(log_student).mul_(probability).sum(dim=-1, keepdim=True) * own_share).sum()
        return value, scores.softmax(dim=-1).sub_(probability).mul_(own_share * our_factor)

    return blocked_loss(ours, our_keys, divergence)


class RelationKL(Objective):
    """`relation_kl`, summed over relations.

    Reference: MiniLM (Wang et al., 2020, arXiv:2002.10957v2), equations 4 to 7, for `(query, key)` and `(value, value)`;
    MiniLMv2 (Wang et al., 2021, arXiv:2012.15828v2), equations 4 and 5, for the other pairs and for relation heads.

    Attributes:
        relations: Which two parts are compared, pair by pair.
        weights: The weight of each relation; None = 1 each.
        student_layer: The student's layer, 1-based.
        teacher_layer: The teacher's.
        heads: Relation heads; None = the native heads, of which both sides must have as many.
    """

    name: ClassVar[str] = "relation_kl"
    relations: tuple[Relation, ...]
    weights: tuple[PositiveFloat, ...] | None = None
    student_layer: PositiveInt
    teacher_layer: PositiveInt
    heads: PositiveInt | None = None

    @property
    def _parts_read(self) -> tuple[Part, ...]:
        return tuple(part for relation in self.relations for part in relation)

    @property
    def student_needs(self) -> Needs:
        return needs_of(self._parts_read, (self.student_layer,))

    @property
    def teacher_needs(self) -> Needs:
        return needs_of(self._parts_read, (self.teacher_layer,))

    def __call__(self, student: Features, teacher: Features, batch: Batch) -> Tensor:
        mask = batch.learner.mask
        values = []
        for relation, weight in zip(self.relations, self.weights or (1.0,) * len(self.relations), strict=True):
            # Attention itself is local where its layer is; the other relations are ours to define, over all tokens.
            window = student.attention[self.student_layer].window if relation == ("query", "key") else None
            ours, theirs = (
                self._parts(student, self.student_layer, relation),
                self._parts(teacher, self.teacher_layer, relation),
            )
            values.append(weight * relation_kl(ours, theirs, mask, window))
        return torch.stack(values).sum()

    def _parts(self, features: Features, layer: int, relation: Relation) -> tuple[Tensor, Tensor]:
        first, second = (relation_heads(features[Feature(part, layer)], self.heads) for part in relation)
        return first, second
