"""How far layers of a student are from their teacher's on held-out text: hidden states, relations, attention scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.data.batch import Batch
from stillhouse.data.text import Text
from stillhouse.errors import NotFinite, UserError
from stillhouse.evaluation.scoring import own_batches, summed
from stillhouse.features import PARTS, Feature, Features, Needs
from stillhouse.models.adapter import dimensions
from stillhouse.models.forward import evaluating, forward
from stillhouse.objective import Objective
from stillhouse.objectives.attention_scores_mse import AttentionScoresMSE
from stillhouse.objectives.relation_kl import RelationKL

RELATION_HEADS = 48  # at most, as MiniLMv2 has them
TOKENS = 1024  # in a batch, all of whose layers that are looked at are there at once

Pair = tuple[int, int]
Models = tuple[Any, Any]


def layer_distances(
    student: nn.Module, teacher: nn.Module, text: Text, pairs: Sequence[Pair], accelerator: Any
) -> list[dict[str, Any]]:
    """Distances of pairs of layers, in eval mode: the same ones in every process, each of which has to call this.

    Args:
        student: An encoder, with a head or without.
        teacher: Another that reads the same tokens.
        text: What both are given, masked or not.
        pairs: A layer of the student and one of the teacher; 0 = embeddings.
        accelerator: Gives device and precision.

    Returns:
        For each pair the layers `student` and `teacher`, and three distances, which are 0 where both do the same. `hidden`: 1 -
        linear CKA of the hidden states of real tokens (Kornblith et al., 2019, arXiv:1905.00414v4, section 3), 0 to 1, whatever
        their widths; it sees no rotation, shift or scale of all of them. `relations`: mean of the three relation KLs of
        MiniLMv2, in nats. `scores`: mean squared difference of the attention scores. The last two are None for embeddings and
        where they cannot be compared: scores of other numbers of heads, models whose attention cannot be looked into.

    Raises:
        NotFinite: Something of a model is NaN or infinite; then every process raises it.
        UserError: A layer is asked for that a model does not have.
    """
    models = student.to(accelerator.device), teacher.to(accelerator.device)
    objectives = _objectives(pairs, models, text, accelerator)
    needs = _needs(pairs, list(objectives.values()))
    widths = tuple(dimensions(model.config).width for model in models)
    likeness = {pair: _Likeness(widths) for pair in pairs}
    sums = torch.zeros(len(objectives), 2, dtype=torch.float64)
    for part in own_batches(text.lengths, accelerator, tokens=TOKENS):
        batch = text.batch(part).to(accelerator.device)
        lengths = batch.learner.mask.sum(dim=1)
        counts = {"rows": len(batch), "pairs": int(lengths.square().sum())}
        with torch.inference_mode():
            ours, theirs = _features(models, needs, batch, accelerator)
            for row, objective in enumerate(objectives.values()):
                weight = counts[objective.unit]
                sums[row] += torch.tensor([float(objective(ours, theirs, batch)) * weight, weight], dtype=torch.float64)
            for (own, its), one in likeness.items():
                one.add(batch, ours[Feature("hidden_state", own)], theirs[Feature("hidden_state", its)])
    totals = summed(sums, accelerator).tolist()
    found: dict[Any, float | None] = {key: total / weight for key, (total, weight) in zip(objectives, totals, strict=True)}
    found |= {(pair, "hidden"): one.distance(accelerator) for pair, one in likeness.items()}
    if not all(math.isfinite(value) for value in found.values() if value is not None):
        raise NotFinite("the models' layers give NaN or infinite values")
    names = ("hidden", "relations", "scores")
    return [{"student": own, "teacher": its} | {name: found.get(((own, its), name)) for name in names} for own, its in pairs]


def _objectives(
    pairs: Sequence[Pair], models: Models, text: Text, accelerator: Any
) -> dict[tuple[Pair, str], RelationKL | AttentionScoresMSE]:
    """What compares the attention of each pair of layers, where it can be compared: the first such pair is tried out."""
    attending = [pair for pair in pairs if all(pair)]
    both = math.gcd(*(dimensions(model.config).attention_width for model in models))
    heads = max(count for count in range(1, RELATION_HEADS + 1) if both % count == 0)
    made: dict[tuple[Pair, str], RelationKL | AttentionScoresMSE] = {}
    for own, its in attending:
        made[(own, its), "relations"] = RelationKL(
            relations=tuple((part, part) for part in PARTS),
            weights=(1 / len(PARTS),) * len(PARTS),
            student_layer=own,
            teacher_layer=its,
            heads=heads,
        )
        made[(own, its), "scores"] = AttentionScoresMSE(layers=((own, its),))
    row = text.batch(np.zeros(1, np.int64)).to(accelerator.device)
    possible = {
        name for pair, name in made if pair == attending[0] and _can_compare(made[pair, name], models, row, accelerator)
    }
    return {(pair, name): one for (pair, name), one in made.items() if name in possible}


def _can_compare(objective: Objective, models: Models, row: Batch, accelerator: Any) -> bool:
    try:
        with torch.inference_mode():
            objective(*_features(models, _needs((), [objective]), row, accelerator), row)
    except (RuntimeError, UserError):
        return False
    return True


def _needs(pairs: Sequence[Pair], objectives: Sequence[Objective]) -> tuple[Needs, Needs]:
    """Of student and teacher."""
    ours, theirs = (frozenset(Feature("hidden_state", pair[side]) for pair in pairs) for side in (0, 1))
    return ours.union(*(one.student_needs for one in objectives)), theirs.union(*(one.teacher_needs for one in objectives))


def _features(models: Models, needs: tuple[Needs, Needs], batch: Batch, accelerator: Any) -> tuple[Features, Features]:
    student, teacher = models
    with evaluating(student), evaluating(teacher), accelerator.autocast():
        return forward(student, batch.learner, needs[0]), forward(teacher, batch.learner, needs[1])


class _Likeness:
    """Products of hidden states, summed over tokens: of the student's with themselves, the teacher's, and both.

    Args:
        widths: Theirs.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        own, its = (width + 1 for width in widths)  # a column of ones, whose products are the sums
        self._products = [torch.zeros(shape, dtype=torch.float64) for shape in ((own, own), (its, its), (own, its))]

    def add(self, batch: Batch, ours: Tensor, theirs: Tensor) -> None:
        real = batch.learner.mask.bool()
        first, second = (nn.functional.pad(_exact(states[real]), (0, 1), value=1.0) for states in (ours, theirs))
        for number, (one, other) in enumerate(((first, first), (second, second), (first, second))):
            product = one.t() @ other
            self._products[number] = self._products[number].to(product.device) + product

    def distance(self, accelerator: Any) -> float:
        """1 - linear CKA; 1 where states of a model are all the same."""
        ours, theirs, both = (_centred(summed(product, accelerator)).norm() for product in self._products)
        return float((1 - both.square() / (ours * theirs)).clamp(min=0)) if ours * theirs != 0 else 1.0


def _exact(states: Tensor) -> Tensor:
    """In float64: in float32 what is left of large sums would be noise. Apple's GPUs do not have it."""
    return (states.cpu() if states.device.type == "mps" else states).double()


def _centred(products: Tensor) -> Tensor:
    """Products of states from which their means are subtracted."""
    return products[:-1, :-1] - products[:-1, -1:] * products[-1:, :-1] / products[-1, -1]
