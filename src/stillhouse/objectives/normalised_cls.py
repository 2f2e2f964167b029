"""The patient loss of BERT-PKD: CLS vectors of chosen layers, brought to length one, compared by squared distance."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from stillhouse.data.batch import Batch
from stillhouse.features import Feature, FeatureName, Features
from stillhouse.objective import LayerObjective

Scale = Literal["element_mean", "paper_sum"]


def cls_distance(
    student: Float[Tensor, "batch hidden"], teacher: Float[Tensor, "batch hidden"], normalise: bool = True
) -> Float[Tensor, " batch"]:
    """`|| s / |s| - t / |t| ||^2` of each row, in float32; 0 for equal directions, 2 for orthogonal, 4 for opposite ones.

    Args:
        student: CLS vectors.
        teacher: Of the same width.
        normalise: Whether the vectors are divided by their length; a vector of length 0 stays 0.
    """
    student, teacher = student.float(), teacher.detach().float()
    if normalise:
        # In half precision this epsilon would be 0, and a zero vector NaN.
        student, teacher = (F.normalize(vectors, dim=-1, eps=1e-12) for vectors in (student, teacher))
    return (student - teacher).square().sum(dim=-1)


class NormalisedCls(LayerObjective):
    """Mean of `cls_distance` over rows and layer pairs (`paper_sum`), divided by the width as well (`element_mean`).

    Reference: Sun et al., 2019 (arXiv:1908.09355v1), equation 7; its weights are meant for `element_mean`, which is what
    the authors' code computes.

    Attributes:
        layers: Pairs of a student layer and a teacher layer.
        normalise: See `cls_distance`.
        scale: `element_mean` or `paper_sum`.
    """

    name: ClassVar[str] = "normalised_cls"
    compares: ClassVar[tuple[FeatureName, ...]] = ("cls",)
    normalise: bool = True
    scale: Scale = "element_mean"

    def __call__(self, student: Features, teacher: Features, batch: Batch) -> Tensor:  # noqa: ARG002
        pairs = [(student[Feature("cls", own)], teacher[Feature("cls", its)]) for own, its in self.layers]
        value = torch.stack([cls_distance(ours, theirs, self.normalise) for ours, theirs in pairs]).mean()
        return value / pairs[0][1].shape[-1] if self.scale == "element_mean" else value
