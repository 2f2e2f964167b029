"""Soft labels: how far the student's distribution is from the teacher's, for every kind of task."""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from stillhouse.config import PositiveFloat
from stillhouse.data.batch import Batch
from stillhouse.data.text import Unit
from stillhouse.features import LOGITS, ONLY_LOGITS, Features, Needs
from stillhouse.objective import Objective
from stillhouse.objectives.hard_labels import HardLabels

Divergence = Literal["kl", "ce"]


def softened_divergence(
    student_logits: Float[Tensor, "*rows classes"],
    teacher_logits: Float[Tensor, "*rows classes"],
    temperature: float = 1.0,
    divergence: Divergence = "kl",
) -> Float[Tensor, "*rows"]:
    """`D(softmax(teacher / T) || softmax(student / T))` of each row, in nats, without the factor T^2.

    Args:
        student_logits: Logits, any scale.
        teacher_logits: Logits of the same classes.
        temperature: T > 0. Near 0 both become one-hot and the gradient vanishes or explodes; as T grows, `T^2 KL` tends to
            half the mean squared difference of the centred logits.
        divergence: `kl`, zero where both agree, or `ce`, the same plus the teacher's entropy (same gradient).

    Reference: Hinton et al., 2015 (arXiv:1503.02531v1), section 2.
    """
    student_log_probs = (student_logits.float() / temperature).log_softmax(dim=-1)
    teacher_log_probs = (teacher_logits.detach().float() / temperature).log_softmax(dim=-1)
    teacher_probs = teacher_log_probs.exp()
    if divergence == "ce":
        return -_product(teacher_probs, student_log_probs).sum(dim=-1)
    # 0 * (-inf - x) is NaN: positions that are masked on both sides have probability 0 and count nothing.
    return _product(teacher_probs, teacher_log_probs - student_log_probs).sum(dim=-1)


def _product(probs: Tensor, values: Tensor) -> Tensor:
    return (probs * values).where(probs > 0, 0.0)


def soft_labels(
    student_logits: Float[Tensor, "batch classes"],
    teacher_logits: Float[Tensor, "batch classes"],
    temperature: float = 1.0,
    divergence: Divergence = "kl",
) -> Float[Tensor, ""]:
    """`T^2 D`, sum over classes, mean over examples (`batch_mean`)."""
    return temperature**2 * softened_divergence(student_logits, teacher_logits, temperature, divergence).mean()


def binary_soft_labels(
    student_logits: Float[Tensor, "batch classes"],
    teacher_logits: Float[Tensor, "batch classes"],
    temperature: float = 1.0,
    divergence: Divergence = "kl",
) -> Float[Tensor, ""]:
    """`T^2 D` between the Bernoulli distributions `sigmoid(logit / T)` of each label; mean over labels, then examples."""
    student, teacher = student_logits.float() / temperature, teacher_logits.detach().float() / temperature
    probs = teacher.sigmoid()
    value = F.binary_cross_entropy_with_logits(student, probs, reduction="none")
    if divergence == "kl":
        value = value - F.binary_cross_entropy_with_logits(teacher, probs, reduction="none")
    return temperature**2 * value.mean()


def tagging_soft_labels(
    student_logits: Float[Tensor, "batch words classes"],
    teacher_logits: Float[Tensor, "batch words classes"],
    positions: Bool[Tensor, "batch words"],
    temperature: float = 1.0,
    divergence: Divergence = "kl",
) -> Float[Tensor, ""]:
    """`T^2 D`, mean over the real words of the batch (`token_mean`); an exact zero where there is none."""
    values = softened_divergence(student_logits, teacher_logits, temperature, divergence)
    return temperature**2 * values.where(positions, 0.0).sum() / positions.sum().clamp(min=1)


def span_soft_labels(
    student_logits: Float[Tensor, "batch tokens 2"],
    teacher_logits: Float[Tensor, "batch tokens 2"],
    positions: Bool[Tensor, "batch tokens"],
    temperature: float = 1.0,
    divergence: Divergence = "kl",
) -> Float[Tensor, ""]:
    """`T^2 D` of the start and of the end distributions over real tokens, averaged; mean over examples."""
    lowest = -1e9  # finite: the difference of two -inf is NaN, and its probability underflows to an exact zero
    student = student_logits.float().masked_fill(~positions[..., None], lowest).transpose(1, 2)
    teacher = teacher_logits.float().masked_fill(~positions[..., None], lowest).transpose(1, 2)
    return temperature**2 * softened_divergence(student, teacher, temperature, divergence).mean()


class SoftLabels(Objective):
    """`T^2 D(teacher || student)` for distributions; the squared difference of the outputs for regression, without T.

    A single logit through softmax would give a silent constant 0, hence the squared error.

    Attributes:
        temperature: T > 0.
        divergence: `kl` or `ce`.
        scale: `T2`: times T^2, which keeps the size of the gradient independent of T; `none`: not.
        per_class: Whether the sum over the classes of sentences and words is divided by their number (`element_mean`), as
            the code of PKD and TinyBERT does.
    """

    name: ClassVar[str] = "soft_labels"
    temperature: PositiveFloat = 1.0
    divergence: Divergence = "kl"
    scale: Literal["T2", "none"] = "T2"
    per_class: bool = False

    @property
    def unit(self) -> Unit:
        return "targets"

    @property
    def student_needs(self) -> Needs:
        return ONLY_LOGITS

    @property
    def teacher_needs(self) -> Needs:
        return ONLY_LOGITS

    def __call__(self, student: Features, teacher: Features, batch: Batch) -> Tensor:
        loss: Tensor = batch.task.kind.soft_loss(student[LOGITS], teacher[LOGITS], batch, self)
        return loss

    def scaled(self, value: Tensor, classes: int = 1) -> Tensor:
        """`T^2 D`, as `scale` and `per_class` want it; a kind whose classes are not summed over has none to divide by."""
        value = value / classes if self.per_class else value
        return value if self.scale == "T2" else value / self.temperature**2


def hard_and_soft(
    *,
    weight_soft: float,
    weight_hard: float | None,
    temperature: float,
    divergence: Divergence = "kl",
    per_class: bool = False,
) -> tuple[HardLabels, SoftLabels]:
    """`(1 - a) L_hard + a L_soft` as two objectives.

    Args:
        weight_soft: a.
        weight_hard: Instead of `1 - a`; None = that.
        temperature: See `SoftLabels`.
        divergence: See `SoftLabels`.
        per_class: See `SoftLabels`.
    """
    return (
        HardLabels(weight=1 - weight_soft if weight_hard is None else weight_hard),
        SoftLabels(weight=weight_soft, temperature=temperature, divergence=divergence, per_class=per_class),
    )
