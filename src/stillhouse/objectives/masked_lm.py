"""Masked language modelling: the tokens that stood where the text was masked."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stillhouse.data.batch import IGNORED, Batch
from stillhouse.data.text import Unit
from stillhouse.features import ONLY_VOCABULARY, Features, Needs, VocabularyScores
from stillhouse.objective import Objective, Origin
from stillhouse.speed.vocabulary import chunked_loss


def masked_lm(student: VocabularyScores, labels: Int[Tensor, " positions"]) -> Float[Tensor, ""]:
    """`-log softmax(scores)[label]` in nats, mean over positions; an exact zero where there is none.

    Args:
        student: Scores of these positions.
        labels: The token of each.
    """

    def surprise(scores: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        gold = labels[rows, None]
        log_probs = scores.log_softmax(dim=-1)
        value = -log_probs.gather(1, gold).sum()
        return value, log_probs.exp_().scatter_add_(1, gold, -torch.ones_like(gold, dtype=log_probs.dtype))

    return chunked_loss(student.states, student.table, student.bias, surprise) / max(1, len(labels))


class MaskedLM(Objective):
    """`masked_lm` of the positions that a batch has labels for.

    Reference: BERT (Devlin et al., 2019, arXiv:1810.04805v2), section 3.1.
    See also: `SoftTokens`, which learns at the same positions, or at all, from a teacher.
    """

    name: ClassVar[str] = "masked_lm"
    learns_from: ClassVar[Origin] = "text"

    @property
    def unit(self) -> Unit:
        return "targets"

    @property
    def student_needs(self) -> Needs:
        return ONLY_VOCABULARY

    def __call__(self, student: Features, teacher: Features, batch: Batch) -> Tensor:  # noqa: ARG002
        masked = batch.labels != IGNORED
        return masked_lm(student.vocabulary.at(masked), batch.labels[masked])
