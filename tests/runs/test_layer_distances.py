"""Distances of layers: none where both do the same, and those of the whole text where they do not."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.evaluation.shared_scores import PAIRS, cut_small, engine, models, spoil, text
from tests.masked_text import masked_encoder
from tests.models.encoders import EVERY

from stillhouse.errors import NotFinite, UserError
from stillhouse.features import PARTS, Feature, needs_of
from stillhouse.models.forward import forward
from stillhouse.objectives.attention_scores_mse import AttentionScoresMSE
from stillhouse.objectives.relation_kl import RelationKL
from stillhouse.runs import layer_distances as module
from stillhouse.runs.layer_distances import layer_distances


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    cut_small(monkeypatch)


def whole(model, corpus):
    """Features of all rows in one batch, in eval mode, and the batch."""
    batch = corpus.batch(np.arange(len(corpus)))
    layers = range(model.config.num_hidden_layers + 1)
    needs = needs_of(("hidden_state",), layers) | needs_of(PARTS, layers[1:])
    with torch.no_grad():
        return forward(model.eval(), batch.learner, needs), batch


def cka(one, other):
    """By the tokens' products with each other, `tr(K L) / (|K| |L|)`, instead of the dimensions'."""
    kernels = [(states - states.mean(dim=0)) @ (states - states.mean(dim=0)).t() for states in (one.double(), other.double())]
    return float((kernels[0] * kernels[1]).sum() / (kernels[0].norm() * kernels[1].norm()))


@pytest.mark.parametrize("student", [{}, {"hidden": 30, "heads": 2}, {"hidden": 36, "heads": 3}])
def test_they_are_those_of_the_whole_text(student):
    """Of another width, and of other heads, too."""
    corpus, (_, teacher) = text(), models()
    student = masked_encoder(layers=2, **student)
    heads = {24: 24, 30: 6, 36: 12}[student.config.hidden_size]  # the largest that divides this and 24
    (ours, batch), (theirs, _) = whole(student, corpus), whole(teacher, corpus)
    real = batch.learner.mask.bool()
    student.train()
    found = layer_distances(student, teacher, corpus, PAIRS, engine())
    assert student.training
    assert [(one["student"], one["teacher"]) for one in found] == list(PAIRS)
    for (own, its), one in zip(PAIRS, found, strict=True):
        states = ours[Feature("hidden_state", own)][real], theirs[Feature("hidden_state", its)][real]
        assert one["hidden"] == pytest.approx(1 - cka(*states), rel=1e-5)
        assert 0.01 < one["hidden"] < 1
    assert found[0]["relations"] is found[0]["scores"] is None
    for (own, its), one in zip(PAIRS[1:], found[1:], strict=True):
        relations = tuple((part, part) for part in PARTS)
        kl = RelationKL(relations=relations, student_layer=own, teacher_layer=its, heads=heads)
        assert one["relations"] == pytest.approx(kl(ours, theirs, batch).item() / 3, rel=1e-4)
        assert one["relations"] > 0.01
        if student.config.num_attention_heads == 2:
            mse = AttentionScoresMSE(layers=((own, its),))
            assert one["scores"] == pytest.approx(mse(ours, theirs, batch).item(), rel=1e-4)
            assert one["scores"] > 0.01
        else:
            assert one["scores"] is None


@pytest.mark.parametrize(("family", "precision"), [*((family, "fp32") for family in EVERY), ("bert", "bf16")])
def test_a_student_that_is_its_teacher(family, precision):
    model = masked_encoder(family, layers=2)
    pairs = [(layer, layer) for layer in range(3)]
    for one in layer_distances(model, copy.deepcopy(model), text(10), pairs, engine(precision)):
        assert one["hidden"] == pytest.approx(0, abs=1e-9)
        for name in ("relations", "scores"):
            assert one[name] is None if one["student"] == 0 else one[name] == pytest.approx(0, abs=1e-6)


def test_rotated_shifted_and_scaled_states_are_the_same(monkeypatch):
    student, _ = models()
    teacher = copy.deepcopy(student)
    rotation = torch.linalg.qr(torch.randn(24, 24, generator=torch.Generator().manual_seed(1)))[0]

    def turned(model, inputs, needs):
        features = forward(model, inputs, needs)
        states = {feature: tensor for feature, tensor in features.tensors.items() if feature.name == "hidden_state"}
        return features.replaced({feature: 7 * tensor @ rotation + 5 for feature, tensor in states.items() if model is teacher})

    monkeypatch.setattr(module, "forward", turned)
    found = layer_distances(student, teacher, text(), [(1, 1), (2, 2), (2, 1)], engine())
    assert [one["hidden"] for one in found[:2]] == pytest.approx([0, 0], abs=1e-6)
    assert found[2]["hidden"] > 0.01


def test_an_attention_that_nobody_can_look_into_has_no_distance(monkeypatch):
    student, teacher = models()
    monkeypatch.setattr(type(student), "_can_set_attn_implementation", classmethod(lambda _cls: False))
    for one in layer_distances(student, teacher, text(), PAIRS, engine()):
        assert one["hidden"] > 0.01
        assert one["relations"] is one["scores"] is None


def test_states_that_are_all_the_same_are_like_none(monkeypatch):
    def constant(model, inputs, needs):
        features = forward(model, inputs, needs)
        return features.replaced({feature: torch.ones_like(tensor) for feature, tensor in features.tensors.items()})

    monkeypatch.setattr(module, "forward", constant)
    (found,) = layer_distances(*models(), text(), [(0, 0)], engine())
    assert found["hidden"] == 1


@pytest.mark.parametrize("spoilt", [0, 1])
@pytest.mark.parametrize("pair", [(0, 0), (1, 1)])
def test_nan_is_refused(spoilt, pair):
    both = models()
    spoil(both[spoilt])
    with pytest.raises(NotFinite, match="NaN"):
        layer_distances(*both, text(), [pair], engine())


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="hidden state 4 is asked of a model with 3 layers"):
        layer_distances(*models(), text(), [(1, 4)], engine())


def test_plain_text_will_do():
    corpus = replace(text(), masking=None)
    assert layer_distances(*models(), corpus, [(1, 1)], engine())[0]["hidden"] > 0.01
