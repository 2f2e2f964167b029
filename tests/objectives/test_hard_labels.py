"""Closed forms of the hard-label objectives."""

import math

import pytest
import torch
from tests.features import giving

from stillhouse.data.batch import Batch
from stillhouse.objectives.hard_labels import (
    HardLabels,
    binary_cross_entropy,
    cross_entropy,
    span_cross_entropy,
    squared_error,
    tagging_cross_entropy,
)
from stillhouse.task import Task, load_kind

ALL = torch.tensor([True, True])


def test_cross_entropy_of_a_uniform_student_is_log_of_the_classes():
    value = cross_entropy(torch.zeros(2, 5), torch.tensor([1, 4]), ALL)
    assert value.item() == pytest.approx(math.log(5), rel=1e-6)


def test_rows_without_a_label_contribute_zero_and_stay_in_the_mean():
    logits = torch.zeros(3, 5, requires_grad=True)
    value = cross_entropy(logits, torch.tensor([1, -100, 2]), torch.tensor([True, False, False]))
    assert value.item() == pytest.approx(math.log(5) / 3, rel=1e-6)
    value.backward()
    assert logits.grad[1:].abs().sum() == 0.0
    assert logits.grad[0].abs().sum() > 0.0


def test_no_labels_at_all_give_a_zero_with_a_graph():
    logits = torch.randn(2, 3, requires_grad=True)
    value = cross_entropy(logits, torch.tensor([-100, -100]), ~ALL)
    value.backward()
    assert value.item() == 0.0
    assert logits.grad.abs().sum() == 0.0


def test_binary_cross_entropy_averages_over_labels():
    # sigmoid(0) = 1/2: log 2 for every label, whatever it is.
    value = binary_cross_entropy(torch.zeros(2, 3), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), ALL)
    assert value.item() == pytest.approx(math.log(2), rel=1e-6)


def test_squared_error():
    # (1 - 3)^2 and an unlabelled row whose label is NaN: (4 + 0) / 2.
    value = squared_error(torch.tensor([[1.0], [7.0]]), torch.tensor([3.0, math.nan]), torch.tensor([True, False]))
    assert value.item() == pytest.approx(2.0)


def test_tagging_divides_by_real_words():
    # Three real words, two of them with a tag: 2 log 7 / 3.
    labels = torch.tensor([[1, 2, -100, -100, -100]])
    positions = torch.tensor([[True, True, True, False, False]])
    value = tagging_cross_entropy(torch.zeros(1, 5, 7), labels, positions)
    assert value.item() == pytest.approx(2 * math.log(7) / 3, rel=1e-6)


def test_spans_are_normalised_over_real_tokens():
    # Three of five tokens are real and alike: log 3 for start and for end.
    positions = torch.tensor([[True, True, True, False, False]]).repeat(2, 1)
    spans = torch.tensor([[1, 2], [0, 0]])
    value = span_cross_entropy(torch.zeros(2, 5, 2), spans, positions, ALL)
    assert value.item() == pytest.approx(math.log(3), rel=1e-6)
    half = span_cross_entropy(torch.zeros(2, 5, 2), spans, positions, torch.tensor([True, False]))
    assert half.item() == pytest.approx(math.log(3) / 2, rel=1e-6)


POSITIONS = torch.tensor([[True, True, False], [True, False, False]])
TAGS = torch.tensor([[1, 4, -100], [2, -100, -100]])
SPANS = torch.tensor([[0, 1], [0, 0]])
# Shape of the logits, labels of two rows, what the loss is.
FORMULAS = {
    "classification": ((2, 5), torch.tensor([1, 4]), lambda logits, labels: cross_entropy(logits, labels, ALL)),
    "multilabel": ((2, 5), torch.eye(5)[:2], lambda logits, labels: binary_cross_entropy(logits, labels, ALL)),
    "regression": ((2, 1), torch.tensor([0.5, 3.0]), lambda logits, labels: squared_error(logits, labels, ALL)),
    "tagging": ((2, 3, 5), TAGS, lambda logits, labels: tagging_cross_entropy(logits, labels, POSITIONS)),
    "qa": ((2, 3, 2), SPANS, lambda logits, labels: span_cross_entropy(logits, labels, POSITIONS, ALL)),
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_every_kind_of_task_has_its_formula(kind):
    shape, labels, formula = FORMULAS[kind]
    logits = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    objective = HardLabels()
    batch = Batch(Task("t", load_kind(kind)), {}, labels, ALL, POSITIONS, torch.arange(2))
    value = objective(giving(logits=logits), giving(), batch)
    assert value.item() == pytest.approx(formula(logits, labels).item())
    assert objective.unit == "targets"
