"""Directions of hidden states against the teacher's, token by token; layer 0 is the embedding output."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from stillhouse.data.batch import Batch
from stillhouse.data.text import Unit
from stillhouse.features import Feature, FeatureName, Features
from stillhouse.objective import LayerObjective


def hidden_cosine(
    student: Float[Tensor, "batch tokens hidden"],
    teacher: Float[Tensor, "batch tokens hidden"],
    attention_mask: Int[Tensor, "batch tokens"],
) -> Float[Tensor, ""]:
    """`1 - cos(student, teacher)` in float32, mean over the real tokens of the batch; an exact zero where there is none.

    0 for equal directions, 1 for orthogonal, 2 for opposite ones.

    Args:
        student: Hidden states, brought to the teacher's width.
        teacher: Hidden states.
        attention_mask: 1 = real token.
    """
    # Half the squared distance of the directions is the same number, but an exact zero where they are equal. In half precision
    # this epsilon would be 0, and a zero vector NaN.
    ours, theirs = (F.normalize(states.float(), dim=-1, eps=1e-12) for states in (student, teacher.detach()))
    losses = (ours - theirs).square().sum(dim=-1) / 2
    real = attention_mask.bool()
    return losses.where(real, 0.0).sum() / real.sum().clamp(min=1)


class HiddenCosine(LayerObjective):
    """`hidden_cosine`, summed over pairs of layers; DistilBERT's is the pair of the last ones.

    Reference: DistilBERT (Sanh et al., 2019, arXiv:1910.01108v4), section 2, and the authors' code.
    See also: `HiddenMSE`, which compares lengths as well.
    """

    name: ClassVar[str] = "hidden_cosine"
    compares: ClassVar[tuple[FeatureName, ...]] = ("hidden_state",)

    @property
    def unit(self) -> Unit:
        return "tokens"

    def __call__(self, student: Features, teacher: Features, batch: Batch) -> Tensor:
        mask = batch.learner.mask
        values = [
            hidden_cosine(student[Feature("hidden_state", own)], teacher[Feature("hidden_state", its)], mask)
            for own, its in self.layers
        ]
        return sum(values[1:], values[0])
