"""Linear maps beside the student: which states they touch, how they start, that they stay behind."""

import pytest
import torch
from tests.features import needing
from tests.students.pairs import batch, pair

from stillhouse.features import LOGITS, Feature
from stillhouse.students.side import ProjectedSide, StageSide

STATES = needing(logits=True, hidden_states=frozenset({0, 1, 2}), cls=frozenset({1}))


def projected(**options):
    torch.manual_seed(0)
    successor, _ = pair()
    spec = ProjectedSide(**({"layers": (0, 1, 2), "student_width": 24, "teacher_width": 30} | options))
    return successor, spec.build(successor, None, STATES).eval()


def test_a_plain_side_gives_what_is_needed():
    successor, _ = pair()
    features = StageSide().build(successor, None, STATES).eval()(batch())
    assert features.tensors.keys() == STATES
    assert features[Feature("hidden_state", 1)].shape == (4, 7, 24)


@pytest.mark.parametrize(("sharing", "maps"), [("per_layer", 3), ("shared", 1), ("embedding+shared", 2)])
def test_maps_are_shared_as_asked(sharing, maps):
    successor, side = projected(sharing=sharing)
    own = sum(parameter.numel() for parameter in successor.parameters())
    assert len(side.projections) == maps
    assert sum(parameter.numel() for parameter in side.parameters()) - own == maps * (24 * 30 + 30)
    features = side(batch())
    assert all(features[Feature("hidden_state", layer)].shape == (4, 7, 30) for layer in (0, 1, 2))
    assert features[Feature("cls", 1)].shape == (4, 30)
    assert torch.allclose(features[Feature("cls", 1)], features[Feature("hidden_state", 1)][:, 0], atol=1e-6)
    plain = StageSide().build(successor, None, STATES).eval()(batch())
    layers = {"per_layer": (0, 1, 2), "shared": (0, 0, 0), "embedding+shared": (0, 1, 1)}[sharing]
    for layer, number in enumerate(layers):
        expected = side.projections[number](plain[Feature("hidden_state", layer)])
        assert torch.allclose(features[Feature("hidden_state", layer)], expected, atol=1e-6)
    assert torch.equal(features[LOGITS], plain[LOGITS])


def test_published_counts_of_maps():
    # One 312 -> 768 map: 312 * 768 + 768 = 240,384; five of them 1,201,920.
    _, side = projected(layers=tuple(range(5)), student_width=312, teacher_width=768)
    counts = [sum(parameter.numel() for parameter in projection.parameters()) for projection in side.projections]
    assert counts == [240_384] * 5
    assert sum(counts) == 1_201_920


def test_between_equal_widths_a_map_starts_as_nothing():
    successor, side = projected(teacher_width=24)
    plain = StageSide().build(successor, None, STATES).eval()(batch())
    features = side(batch())
    for feature, tensor in plain.tensors.items():
        assert torch.allclose(features[feature], tensor, atol=1e-6)


def test_maps_are_no_part_of_the_student():
    successor, _ = projected()
    assert not any("projection" in name for name in successor.state_dict())
