"""Hard labels: the loss of plain fine-tuning, for every kind of task.

Rows without a gold label contribute zero and stay in the mean, so that a batch's value is the mean over its examples of
what each example asks for, whatever share of them is labelled.
"""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from stillhouse.data.batch import IGNORED, Batch
from stillhouse.data.text import Unit
from stillhouse.features import LOGITS, ONLY_LOGITS, Features, Needs
from stillhouse.objective import Objective, Origin


def cross_entropy(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], has_label: Bool[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """`-log softmax(logits)[label]` in nats, summed over labelled rows, divided by all rows."""
    losses = F.cross_entropy(logits.float(), labels, reduction="none", ignore_index=IGNORED)
    return losses.where(has_label, 0.0).mean()


def binary_cross_entropy(
    logits: Float[Tensor, "batch classes"], labels: Float[Tensor, "batch classes"], has_label: Bool[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Cross-entropy of one sigmoid per label, mean over labels, then summed over labelled rows, divided by all rows."""
    losses = F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none").mean(dim=-1)
    return losses.where(has_label, 0.0).mean()


def squared_error(
    logits: Float[Tensor, "batch 1"], labels: Float[Tensor, " batch"], has_label: Bool[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """`(logit - label)^2`, summed over labelled rows, divided by all rows."""
    known = labels.float().where(has_label, 0.0)
    return (logits.float().squeeze(-1) - known).square().where(has_label, 0.0).mean()


def tagging_cross_entropy(
    logits: Float[Tensor, "batch words classes"],
    labels: Int[Tensor, "batch words"],
    positions: Bool[Tensor, "batch words"],
) -> Float[Tensor, ""]:
    """Cross-entropy at the first sub-word of each word, summed over labelled words, divided by all real words."""
    losses = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="sum", ignore_index=IGNORED)
    return losses / positions.sum().clamp(min=1)


def span_cross_entropy(
    logits: Float[Tensor, "batch tokens 2"],
    spans: Int[Tensor, "batch 2"],
    positions: Bool[Tensor, "batch tokens"],
    has_label: Bool[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Cross-entropy of the start and of the end over real tokens, averaged; rows as in `cross_entropy`."""
    log_probs = logits.float().masked_fill(~positions[..., None], float("-inf")).log_softmax(dim=1)
    chosen = log_probs.gather(1, spans[:, None, :]).squeeze(1)
    return -chosen.mean(dim=-1).where(has_label, 0.0).mean()


class HardLabels(Objective):
    """Cross-entropy or squared error against the gold labels, as the task asks for.

    Reference: BERT (Devlin et al., 2019, arXiv:1810.04805v2), section 4.
    """

    name: ClassVar[str] = "hard_labels"
    learns_from: ClassVar[Origin] = "gold"

    @property
    def unit(self) -> Unit:
        return "targets"

    @property
    def student_needs(self) -> Needs:
        return ONLY_LOGITS

    def __call__(self, student: Features, teacher: Features, batch: Batch) -> Tensor:  # noqa: ARG002
        assert batch.task is not None
        loss: Tensor = batch.task.kind.hard_loss(student[LOGITS], batch)
        return loss
