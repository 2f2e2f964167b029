"""The patient loss: lengths and angles by hand."""

import math

import pytest
import torch
from tests.features import giving, needing
from tests.objectives.matching import batch_of

from stillhouse.features import Dimensions, layers_of
from stillhouse.methods.pkd import PKD
from stillhouse.objectives.normalised_cls import NormalisedCls, cls_distance
from stillhouse.task import load_kind

WIDTH = 768


def axis(number, length=1.0):
    vector = torch.zeros(WIDTH)
    vector[number] = length
    return vector


def cls(**layers):
    return giving(cls={int(name[1:]): value for name, value in layers.items()})


def test_distances_of_directions():
    # |a - b|^2 = 2 - 2 cos: 0 for the same direction, 2 for orthogonal, 4 for opposite, 1 for 60 degrees.
    sixty = math.cos(math.pi / 3) * axis(0) + math.sin(math.pi / 3) * axis(1)
    student = torch.stack([axis(0), axis(0), axis(0), axis(0)])
    teacher = torch.stack([axis(0, 7.0), axis(1), axis(0, -3.0), 5 * sixty])
    assert torch.allclose(cls_distance(student, teacher), torch.tensor([0.0, 2.0, 4.0, 1.0]), atol=1e-6)
    # Without normalisation lengths count: (1 - 7)^2, 1 + 1, (1 + 3)^2.
    raw = cls_distance(student, teacher, normalise=False)
    assert torch.allclose(raw[:3], torch.tensor([36.0, 2.0, 16.0]))


def test_the_scale_of_the_published_weights():
    # Orthogonal vectors: 2 a pair; divided by the width 768: 0.00260416667.
    features = cls(_1=torch.stack([axis(0)] * 3)), cls(_2=torch.stack([axis(1)] * 3))
    assert NormalisedCls(layers=((1, 2),))(*features, batch_of(2)).item() == pytest.approx(0.00260416667, rel=1e-6)
    assert NormalisedCls(layers=((1, 2),), scale="paper_sum")(*features, batch_of(2)).item() == pytest.approx(2.0)


def test_mean_over_rows_and_pairs():
    # Pair (1, 2): rows at 2 and 0; pair (2, 4): rows at 4 and 2. Mean of the four: 2.
    student = cls(_1=torch.stack([axis(0), axis(0)]), _2=torch.stack([axis(0), axis(0)]))
    teacher = cls(_2=torch.stack([axis(1), axis(0)]), _4=torch.stack([axis(0, -1.0), axis(2)]))
    value = NormalisedCls(layers=((1, 2), (2, 4)), scale="paper_sum")(student, teacher, batch_of(2))
    assert value.item() == pytest.approx(2.0)


def test_length_of_either_side_does_not_matter():
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 7), torch.randn(5, 7)
    assert torch.allclose(cls_distance(3 * student, teacher), cls_distance(student, 0.2 * teacher), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_zero_vector_is_no_nan(dtype):
    student = torch.zeros(2, 5, dtype=dtype, requires_grad=True)
    value = cls_distance(student, torch.ones(2, 5, dtype=dtype)).sum()
    value.backward()
    assert value.item() == pytest.approx(2.0)
    assert student.grad.isfinite().all() or dtype != torch.float32  # of order 1e12, which half precision cannot hold


def test_it_asks_for_cls_of_its_layers_alone():
    objective = NormalisedCls(layers=((1, 2), (2, 4)))
    assert objective.student_needs == needing(cls=frozenset({1, 2}))
    assert objective.teacher_needs == needing(cls=frozenset({2, 4}))
    with pytest.raises(LookupError, match="cls_2 was not computed"):
        objective(cls(_1=torch.ones(2, 3)), cls(_2=torch.ones(2, 3)), batch_of(2))


def test_neither_the_top_layer_nor_other_tokens_count():
    """pkd, from the models' hidden states on."""
    torch.manual_seed(0)
    dimensions = [Dimensions(layers, 8, 2, 8, (None,) * layers) for layers in (3, 6)]
    (stage,) = PKD(weight_soft=0.0, weight_hard=0.0).plan(load_kind("classification"), *dimensions)
    (patient,) = [objective for objective in stage.objectives if isinstance(objective, NormalisedCls)]
    student, teacher = ([torch.randn(2, 5, 8) for _ in range(layers + 1)] for layers in (3, 6))

    def value(student, teacher):
        sides = (
            giving(cls={layer: states[layer][:, 0] for layer in layers_of(needs, "cls")})
            for states, needs in ((student, patient.student_needs), (teacher, patient.teacher_needs))
        )
        return patient(*sides, batch_of(5, 3)).item()

    before = value(student, teacher)
    changed = [state.clone() for state in student]
    changed[3] += 1.0
    for state in changed:
        state[:, 1:] += 1.0
    assert value(changed, teacher) == before
    changed[2][:, 0] += 1.0
    assert value(changed, teacher) != before
