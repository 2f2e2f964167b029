"""Closed forms of the soft-label objectives (Hinton et al., 2015)."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.features import giving

from stillhouse.data.batch import Batch
from stillhouse.objectives.soft_labels import (
    SoftLabels,
    binary_soft_labels,
    soft_labels,
    softened_divergence,
    span_soft_labels,
    tagging_soft_labels,
)
from stillhouse.task import Task, load_kind

TWO_ZERO = torch.tensor([[2.0, 0.0]], dtype=torch.float32)
ZEROS = torch.zeros(1, 2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 10.0])
def test_identical_logits_give_zero(temperature):
    logits = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, 0.0]])
    assert soft_labels(logits, logits, temperature).item() == pytest.approx(0.0, abs=1e-6)


# Teacher (2, 0) -> p = sigmoid(2 / T); student uniform: KL = log 2 - H(p), CE = log 2 whatever the teacher.
@pytest.mark.parametrize(
    ("temperature", "kl", "scaled"),
    [
        (1.0, 0.327813325473, 0.327813325473),
        (2.0, 0.110944071672, 0.443776286687),
        (4.0, 0.030299861981, 0.484797791692),
    ],
)
def test_two_classes_against_uniform(temperature, kl, scaled):
    assert softened_divergence(ZEROS, TWO_ZERO, temperature).item() == pytest.approx(kl, rel=1e-5)
    assert soft_labels(ZEROS, TWO_ZERO, temperature).item() == pytest.approx(scaled, rel=1e-5)
    assert softened_divergence(ZEROS, TWO_ZERO, temperature, "ce").item() == pytest.approx(math.log(2), rel=1e-6)


def test_cross_entropy_is_kl_plus_the_teachers_entropy():
    kl = softened_divergence(ZEROS, TWO_ZERO).item()
    ce = softened_divergence(ZEROS, TWO_ZERO, divergence="ce").item()
    assert ce - kl == pytest.approx(0.365333855087, rel=1e-5)


# d(T^2 KL) / d z_student = T (p_student - p_teacher), mean over one example.
@pytest.mark.parametrize(("temperature", "gradient"), [(1.0, 0.380797), (2.0, 0.462117), (4.0, 0.489837)])
def test_gradient(temperature, gradient):
    student = torch.zeros(1, 2, requires_grad=True)
    soft_labels(student, TWO_ZERO, temperature).backward()
    assert student.grad[0].tolist() == pytest.approx([-gradient, gradient], rel=1e-4)


def test_reduction_sums_over_classes_and_averages_over_examples():
    teacher, student = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]])
    assert soft_labels(student, teacher).item() == pytest.approx(1.150420765209, rel=1e-5)
    assert softened_divergence(student, teacher, 2.0).item() == pytest.approx(0.320156667830, rel=1e-5)
    both = soft_labels(torch.cat([student, teacher]), torch.cat([teacher, teacher]))
    assert both.item() == pytest.approx(1.150420765209 / 2, rel=1e-5)


@pytest.mark.parametrize(("temperature", "value"), [(10.0, 0.719395), (100.0, 0.768149), (1000.0, 0.772910)])
def test_high_temperature_tends_to_half_the_mean_squared_difference_of_centred_logits(temperature, value):
    # Differences (1, -2, 1, 0.5), mean 0.125, centred squares sum to 6.1875: half the mean over 4 classes is 0.7734375.
    teacher = torch.tensor([[1.0, -1.0, 0.5, 2.0]], dtype=torch.float64)
    student = torch.tensor([[0.0, 1.0, -0.5, 1.5]], dtype=torch.float64)
    # float32 leaves 1e-7 of a value that is multiplied by T^2.
    tolerance = max(1e-5, 3e-7 * temperature**2)
    assert soft_labels(student, teacher, temperature).item() == pytest.approx(value, abs=tolerance)
    assert abs(value - 0.7734375) < 0.6 / temperature


@settings(max_examples=25, deadline=None)
@given(st.floats(-5, 5), st.floats(-5, 5), st.integers(0, 1000))
def test_a_constant_added_to_either_side_changes_nothing(left, right, seed):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 3, 5, generator=generator)
    assert torch.allclose(soft_labels(student + left, teacher + right, 2.0), soft_labels(student, teacher, 2.0), atol=1e-4)


def test_one_hot_teacher_against_a_uniform_student_gives_log_of_the_classes():
    teacher = torch.tensor([[100.0, 0.0, 0.0, 0.0, 0.0]])
    assert soft_labels(torch.zeros(1, 5), teacher).item() == pytest.approx(math.log(5), rel=1e-6)


def test_half_precision_is_computed_in_float32():
    student, teacher = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    value = soft_labels(student.bfloat16(), teacher.bfloat16())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(soft_labels(student, teacher).item(), rel=0.05)


def test_binary_soft_labels_average_bernoulli_divergences_over_labels():
    # One label as in the two-class case: sigmoid(2) against sigmoid(0) is softmax((2, 0)) against uniform.
    one = binary_soft_labels(torch.zeros(1, 1), torch.tensor([[2.0]]))
    assert one.item() == pytest.approx(0.327813325473, rel=1e-5)
    # Two more labels on which both agree bring the mean over labels to a third.
    three = binary_soft_labels(torch.tensor([[0.0, 1.0, -3.0]]), torch.tensor([[2.0, 1.0, -3.0]]))
    assert three.item() == pytest.approx(0.327813325473 / 3, rel=1e-5)
    at_two = binary_soft_labels(torch.zeros(1, 1), torch.tensor([[2.0]]), 2.0)
    assert at_two.item() == pytest.approx(0.443776286687, rel=1e-5)


def test_tagging_counts_real_words_only():
    teacher = torch.tensor([[[2.0, 0.0], [2.0, 0.0], [9.0, -9.0]]])
    student = torch.zeros(1, 3, 2)
    positions = torch.tensor([[True, True, False]])
    assert tagging_soft_labels(student, teacher, positions).item() == pytest.approx(0.327813325473, rel=1e-5)
    # Two sentences of 2 and 1 words: the mean is over the three words, not over sentences.
    agreeing = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    both = tagging_soft_labels(
        student.repeat(2, 1, 1),
        torch.cat([teacher, agreeing]),
        torch.tensor([[True, True, False], [True, False, False]]),
    )
    assert both.item() == pytest.approx(2 * 0.327813325473 / 3, rel=1e-5)


def test_a_mask_that_selects_nothing_gives_a_zero_with_a_graph():
    student = torch.randn(2, 3, 5, requires_grad=True)
    value = tagging_soft_labels(student, torch.randn(2, 3, 5), torch.zeros(2, 3, dtype=torch.bool))
    value.backward()
    assert value.item() == 0.0
    assert student.grad.abs().sum() == 0.0


def test_spans_average_start_and_end_and_ignore_padding():
    # Over two real tokens: start differs as (2, 0) from uniform, end agrees.
    teacher = torch.tensor([[[2.0, 1.0], [0.0, 1.0], [50.0, -50.0]]])
    student = torch.tensor([[[0.0, 1.0], [0.0, 1.0], [-9.0, 30.0]]], requires_grad=True)
    positions = torch.tensor([[True, True, False]])
    value = span_soft_labels(student, teacher, positions)
    assert value.item() == pytest.approx(0.327813325473 / 2, rel=1e-5)
    value.backward()
    assert student.grad[0, 2].abs().sum() == 0.0
    assert torch.isfinite(student.grad).all()


def test_wrong_shapes_are_refused():
    with pytest.raises(Exception, match=r"(?i)type|shape"):
        soft_labels(torch.zeros(3, 2), torch.zeros(3, 5))


def test_scales_of_other_papers():
    # Teacher (2, 0), student (0, 0): cross-entropy ln 2, divided by two classes 0.346573590.
    student, teacher = giving(logits=ZEROS), giving(logits=TWO_ZERO)
    rows = torch.arange(1)
    batch = Batch(Task("t", load_kind("classification")), {}, rows, rows >= 0, rows >= 0, rows)

    def value(**options):
        return SoftLabels(divergence="ce", **options)(student, teacher, batch).item()

    assert value() == pytest.approx(0.693147181)
    assert value(per_class=True) == pytest.approx(0.346573590)
    # A uniform student's cross-entropy is ln 2 at any temperature; times 16 with the factor T^2.
    assert value(temperature=4.0, scale="none") == pytest.approx(0.693147181)
    assert value(temperature=4.0) == pytest.approx(16 * 0.693147181)


def test_of_a_regression_the_squared_difference_whatever_the_temperature():
    # (1 - 3)^2 = 4 and (4 - 1)^2 = 9: their mean.
    student, teacher = giving(logits=torch.tensor([[1.0], [4.0]])), giving(logits=torch.tensor([[3.0], [1.0]]))
    rows = torch.arange(2)
    batch = Batch(Task("t", load_kind("regression")), {}, rows, rows >= 0, rows >= 0, rows)
    for options in ({}, {"temperature": 7.0}, {"scale": "none"}, {"per_class": True}):
        assert SoftLabels(**options)(student, teacher, batch).item() == pytest.approx(6.5)


FORMULAS = {
    "classification": ((2, 5), lambda student, teacher, _: soft_labels(student, teacher, 2.0, "ce")),
    "multilabel": ((2, 5), lambda student, teacher, _: binary_soft_labels(student, teacher, 2.0, "ce")),
    "regression": ((2, 1), lambda student, teacher, _: (student - teacher).square().mean()),
    "tagging": ((2, 3, 5), lambda student, teacher, words: tagging_soft_labels(student, teacher, words, 2.0, "ce")),
    "qa": ((2, 3, 2), lambda student, teacher, tokens: span_soft_labels(student, teacher, tokens, 2.0, "ce")),
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_every_kind_of_task_has_its_formula(kind):
    shape, formula = FORMULAS[kind]
    student, teacher = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    positions, rows = torch.tensor([[True, True, False], [True, False, False]]), torch.arange(2)
    objective = SoftLabels(temperature=2.0, divergence="ce")
    batch = Batch(Task("t", load_kind(kind)), {}, rows, rows >= 0, positions, rows)
    value = objective(giving(logits=student), giving(logits=teacher), batch)
    assert value.item() == pytest.approx(formula(student, teacher, positions).item())
    assert objective.unit == "targets"


def sides_of(kind):
    """Logits of a small batch for a kind of task, and the batch."""
    torch.manual_seed(3)
    shape = {"tagging": (2, 4, 3), "qa": (2, 4, 2), "regression": (2, 1)}.get(kind, (2, 3))
    positions = torch.tensor([[True, True, True, False], [True, False, False, False]])
    positions = positions if kind in ("tagging", "qa") else torch.ones(2, dtype=torch.bool)
    labels = torch.zeros(2, dtype=torch.long)
    batch = Batch(Task("t", load_kind(kind)), {}, labels, labels >= 0, positions, labels)
    return torch.randn(shape), batch


@pytest.mark.parametrize("kind", ["classification", "multilabel", "tagging", "qa", "regression"])
def test_identical_sides_are_zero_for_every_task(kind):
    logits, batch = sides_of(kind)
    one = giving(logits=logits)
    assert SoftLabels(temperature=2.0)(one, one, batch).item() == pytest.approx(0.0, abs=1e-6)
    other = giving(logits=logits + torch.randn_like(logits))
    assert SoftLabels(temperature=2.0)(other, one, batch).item() > 1e-3


@pytest.mark.parametrize("kind", ["classification", "tagging", "qa"])
def test_cross_entropy_of_identical_sides_is_the_entropy(kind):
    logits, batch = sides_of(kind)
    one = giving(logits=logits)
    if kind == "qa":  # start and end, each over the tokens
        masked = logits.masked_fill(~batch.positions[..., None], float("-inf"))
        probability = masked.softmax(dim=1)
        entropy = -(probability * probability.clamp(min=1e-30).log()).sum(dim=1).mean()
    else:
        probability = logits.softmax(dim=-1)
        entropy = -(probability * probability.log()).sum(dim=-1)[batch.positions].mean()
    found = SoftLabels(divergence="ce")(one, one, batch)
    assert found.item() == pytest.approx(entropy.item(), rel=1e-5)
