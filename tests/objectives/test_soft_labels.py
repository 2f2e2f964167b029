"""Closed forms of the soft-label objectives (Hinton et al., 2015)."""

import math
from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
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
    assert soft_labels(student, teacher, temperature).item() == pytest.approx(value, abs=1e-6)
    assert abs(value - 0.7734375) < 0.6 / temperature


def exact_kl(student, teacher, temperature):
    """`T^2 KL` of one row and its gradient `T (q - p)`, in fifty digits."""
    with localcontext() as context:
        context.prec = 50
        t = Decimal(temperature)
        sides = [[(Decimal(logit) / t).exp() for logit in side] for side in (student, teacher)]
        q, p = ([term / sum(terms) for term in terms] for terms in sides)
        value = t * t * sum(one * (one / other).ln() for one, other in zip(p, q, strict=True))
        return float(value), [float(t * (other - one)) for one, other in zip(p, q, strict=True)]


# By how far the student is from its teacher: as when it starts, half-way, and when it has learnt everything.
@pytest.mark.parametrize("distance", [3.0, 0.1, 1e-3])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 10.0, 20.0, 21.0, 100.0, 1000.0, 1e4])
def test_no_digits_are_lost_at_high_temperature(temperature, distance):
    logits, moved = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    teacher, student = 3 * logits, (3 * logits + distance * moved).requires_grad_()
    expected, slopes = zip(
        *(exact_kl(*rows, temperature) for rows in zip(student.tolist(), teacher.tolist(), strict=True)), strict=True
    )
    found = temperature**2 * softened_divergence(student, teacher, temperature)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    found.sum().backward()
    # Up to T = 20 the gradient is that of the plain sum, which loses 1e-7 T.
    slopes = torch.tensor(slopes)
    tolerance = 3e-7 * (temperature if temperature <= 20 else slopes.abs().max().item())
    assert torch.allclose(student.grad, slopes, rtol=1e-6, atol=tolerance)


@pytest.mark.parametrize("distance", [3.0, 0.1, 1e-3])
@pytest.mark.parametrize("temperature", [1.0, 10.0, 100.0, 1000.0, 1e4])
def test_no_digits_are_lost_of_labels_by_themselves(temperature, distance):
    """A label that applies or not is two classes with the logits z and 0."""
    logits, moved = torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(1))
    teacher, student = 3 * logits, (3 * logits + distance * moved).requires_grad_()
    pairs = zip(student[0].tolist(), teacher[0].tolist(), strict=True)
    expected, slopes = zip(*(exact_kl((ours, 0.0), (theirs, 0.0), temperature) for ours, theirs in pairs), strict=True)
    found = binary_soft_labels(student, teacher, temperature)
    found.backward()
    assert found.item() == pytest.approx(sum(expected) / 5, rel=2e-4)
    slopes = torch.tensor([own for own, _ in slopes]) / 5
    tolerance = 1e-6 * (temperature if temperature <= 20 else slopes.abs().max().item())
    assert torch.allclose(student.grad[0], slopes, rtol=1e-6, atol=tolerance)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 10.0])
def test_the_gradient_is_that_of_the_plain_sum_to_the_bit_at_temperatures_of_the_papers(temperature):
    teacher, student = 3 * torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(2))
    ours, plain = (student.clone().requires_grad_() for _ in range(2))
    soft_labels(ours, teacher, temperature).backward()
    p, log_q = (teacher / temperature).log_softmax(-1), (plain / temperature).log_softmax(-1)
    (temperature**2 * (p.exp() * (p - log_q)).sum(-1).mean()).backward()
    assert torch.equal(ours.grad, plain.grad)


@pytest.mark.parametrize("temperature", [1.0, 100.0])
def test_distributions_that_are_far_apart_have_the_plain_value_and_a_finite_gradient(temperature):
    teacher, student = torch.tensor([[2e4, 0.0, -2e4]]), torch.tensor([[-2e4, 0.0, 2e4]], requires_grad=True)
    found = softened_divergence(student, teacher, temperature).sum()
    assert found.item() == pytest.approx(4e4 / temperature, rel=1e-5)  # -log q of the class that has p = 1
    found.backward()
    assert student.grad.tolist()[0] == pytest.approx([-1 / temperature, 0.0, 1 / temperature])


@pytest.mark.parametrize("temperature", [0.0, -1.0, 1e-4, 1e-300, 1e5, 1e300, math.inf, math.nan])
def test_temperatures_at_which_float32_would_lose_everything_are_refused(temperature):
    with pytest.raises(ValidationError, match="temperature"):
        SoftLabels(temperature=temperature)


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
