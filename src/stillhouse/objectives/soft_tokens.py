"""Soft labels over the vocabulary: what the teacher would write at each position."""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from stillhouse.data.batch import IGNORED, Batch
from stillhouse.data.text import Unit
from stillhouse.errors import UserError
from stillhouse.features import ONLY_VOCABULARY, Features, Needs, VocabularyScores
from stillhouse.objective import Objective
from stillhouse.objectives.soft_labels import PLAIN_GRADIENT, Temperature, softened_divergence
from stillhouse.speed.vocabulary import chunked_loss, scores_of


def soft_tokens(student: VocabularyScores, teacher: VocabularyScores, temperature: float = 1.0) -> Float[Tensor, ""]:
    """`T^2 KL( softmax(teacher / T) || softmax(student / T) )` in nats, mean over positions; an exact zero where there is none.

    Args:
        student: Scores of these positions.
        teacher: Of the same positions, over the same vocabulary.
        temperature: T > 0, see `softened_divergence`.
    """
    theirs = teacher.changed(lambda tensor: tensor.detach())
    table = theirs.table.to(theirs.states.dtype)

    def divergence(scores: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        their_scores = scores_of(theirs.states[rows], table, theirs.bias)
        exact = softened_divergence(scores, their_scores, temperature).sum() if temperature > PLAIN_GRADIENT else None
        student_probs, student_total = _softmax(scores.div_(temperature))
        teacher_probs, teacher_total = _softmax(their_scores.div_(temperature))
        log_ratio = scores.sub_(their_scores).sub_(student_total - teacher_total)
        slope = student_probs.sub_(teacher_probs)
        # The difference of the probabilities, whose sum is zero, makes every term of the sum positive: where large terms cancel
        # their rounding would stay. Up to that temperature this is as good as the exact value, at a third of its passes.
        terms = log_ratio.mul_(teacher_probs).neg_().add_(slope)
        value = terms.sum() if exact is None else exact
        return value * temperature**2, slope.mul_(temperature)

    return chunked_loss(student.states, student.table, student.bias, divergence) / max(1, len(student.states))


def _softmax(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities, and the logarithm of what they were divided by, without another pass of exponentials."""
    probs = scores.softmax(dim=-1)
    return probs, scores.amax(dim=-1, keepdim=True) - probs.amax(dim=-1, keepdim=True).log()


class SoftTokens(Objective):
    """`soft_tokens` of all real tokens, special ones too, or of the masked ones alone.

    Reference: DistilBERT (Sanh et al., 2019, arXiv:1910.01108v4), section 3, and the authors' code.
    See also: `SoftLabels`, the same of a task's classes.

    Attributes:
        temperature: T > 0.
        positions: `all` real tokens, or `masked` ones.
    """

    name: ClassVar[str] = "soft_tokens"
    temperature: Temperature = 2.0
    positions: Literal["all", "masked"] = "all"

    @property
    def unit(self) -> Unit:
        return "tokens" if self.positions == "all" else "targets"

    @property
    def student_needs(self) -> Needs:
        return ONLY_VOCABULARY

    @property
    def teacher_needs(self) -> Needs:
        return ONLY_VOCABULARY

    def __call__(self, student: Features, teacher: Features, batch: Batch) -> Tensor:
        ours, theirs = student.vocabulary, teacher.vocabulary
        if ours.bias.shape != theirs.bias.shape:
            raise UserError(
                f"{self.name} compares scores over one vocabulary, but the student has {len(ours.bias)} tokens "
                f"and the teacher {len(theirs.bias)}",
                expected="the vocabulary of the teacher",
                fix="choose a student of the teacher's vocabulary, or a method that compares hidden states or relations",
            )
        where = batch.learner.mask.bool() if self.positions == "all" else batch.labels != IGNORED
        return soft_tokens(ours.at(where), theirs.at(where), self.temperature)
