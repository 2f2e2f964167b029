"""Soft labels: how far the student's distribution is from the teacher's, for every kind of task."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from stillhouse.data.batch import Batch
from stillhouse.data.text import Unit
from stillhouse.features import LOGITS, ONLY_LOGITS, Features, Needs
from stillhouse.objective import Objective
from stillhouse.objectives.hard_labels import HardLabels

Divergence = Literal["kl", "ce"]
Temperature = Annotated[float, Field(ge=1e-3, le=1e4, allow_inf_nan=False)]
"""Within these bounds float32 holds both logits divided by T and T^2 times a divergence."""
# Up to this T the gradient of the plain formula is good to six digits, and it is left as it is, to the bit.
PLAIN_GRADIENT = 20.0
NEAR = 0.5  # differences of softened logits below which a KL in float32 is better worked out from its series


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
    plain = _product(teacher_probs, teacher_log_probs - student_log_probs).sum(dim=-1)
    difference = (student_logits.float() - teacher_logits.detach().float()) / temperature
    return _without_cancellation(plain, teacher_probs, difference, temperature)


def _product(probs: Tensor, values: Tensor) -> Tensor:
    return (probs * values).where(probs > 0, 0.0)


def _without_cancellation(plain: Tensor, probs: Tensor, difference: Tensor, temperature: float) -> Tensor:
    """A KL worked out from the differences of the logits, whose terms are of its own size and are all positive.

    `KL = log(1 + E[exp(d) - 1 - d])`, where d is the difference minus its mean, and E the mean under the teacher. The terms of
    `sum of p log(p / q)` shrink with 1 / T, their sum with 1 / T^2: at T = 100 float32 leaves it two digits.

    Args:
        plain: What that sum gives, `(*rows)`; it stands where d is not small.
        probs: The teacher's, `(*rows, classes)`.
        difference: `(student - teacher) / T` of the logits.
        temperature: T.
    """
    if temperature <= PLAIN_GRADIENT:
        difference = difference.detach()
    difference = difference.where(probs > 0, 0.0)
    d = difference - (probs * difference).sum(dim=-1, keepdim=True)
    is_near = d.abs().amax(dim=-1) < NEAR
    d = d.clamp(-NEAR, NEAR)
    series = torch.zeros_like(d)  # of (exp(d) - 1 - d) / d^2
    for power in range(8, 1, -1):
        series = (series * d + 1) / power
    exact = (probs * d.square() * series).sum(dim=-1).log1p()
    if temperature > PLAIN_GRADIENT:
        return exact.where(is_near, plain)
    return plain + (exact - plain).where(is_near, 0.0).detach()


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
        both = torch.stack([probs, (-teacher).sigmoid()], dim=-1)
        difference = (student_logits.float() - teacher_logits.detach().float()) / temperature
        value = _without_cancellation(value, both, torch.stack([difference, torch.zeros_like(difference)], dim=-1), temperature)
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
    temperature: Temperature = 1.0
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
        assert batch.task is not None
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
