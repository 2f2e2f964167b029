"""Hidden states of chosen layers against the teacher's, token by token; layer 0 is the embedding output."""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Float, Int
from torch import Tensor

from stillhouse.data.batch import Batch
from stillhouse.data.text import Unit
from stillhouse.features import Feature, FeatureName, Features
from stillhouse.objective import LayerObjective, LayerPairs

Tokens = Literal["valid", "all"]


def hidden_mse(
    student: Float[Tensor, "batch tokens hidden"],
    teacher: Float[Tensor, "batch tokens hidden"],
    attention_mask: Int[Tensor, "batch tokens"],
    tokens: Tokens = "valid",
) -> Float[Tensor, ""]:
    """Squared difference in float32, mean over the width and over the tokens of the batch.

    Args:
        student: Hidden states, brought to the teacher's width.
        teacher: Hidden states.
        attention_mask: 1 = real token.
        tokens: `valid` leaves padding out (an exact zero where all is padding), `all` counts it.
    """
    losses = (student.float() - teacher.detach().float()).square().mean(dim=-1)
    if tokens == "all":
        return losses.mean()
    real = attention_mask.bool()
    return losses.where(real, 0.0).sum() / real.sum().clamp(min=1)


class HiddenMSE(LayerObjective):
    """`hidden_mse`, summed over pairs of layers.

    Reference: TinyBERT (Jiao et al., 2020, arXiv:1909.10351v5), equation 8.

    Attributes:
        layers: Pairs of a student layer and a teacher layer.
        tokens: See `hidden_mse`. `all` counts padding: where rows are not filled up to one length, its value depends on how
            a step is cut.
    """

    name: ClassVar[str] = "hidden_mse"
    compares: ClassVar[tuple[FeatureName, ...]] = ("hidden_state",)
    tokens: Tokens = "valid"

    @property
    def unit(self) -> Unit:
        return "tokens" if self.tokens == "valid" else "rows"

    def __call__(self, student: Features, teacher: Features, batch: Batch) -> Tensor:
        mask = batch.learner.mask
        values = [
            hidden_mse(student[Feature("hidden_state", own)], teacher[Feature("hidden_state", its)], mask, self.tokens)
            for own, its in self.layers
        ]
        return sum(values[1:], values[0])


class EmbeddingMSE(HiddenMSE):
    """`HiddenMSE` of the embedding outputs alone, under a name of its own.

    Reference: TinyBERT (Jiao et al., 2020, arXiv:1909.10351v5), equation 9.
    """

    name: ClassVar[str] = "embedding_mse"
    layers: LayerPairs = ((0, 0),)
