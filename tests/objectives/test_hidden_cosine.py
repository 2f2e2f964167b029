"""Directions of hidden states: parallel, orthogonal, opposite, masks and padding."""

import pytest
import torch
from tests.features import giving, needing
from tests.objectives.matching import batch_of, states

from stillhouse.features import Feature
from stillhouse.objectives.hidden_cosine import HiddenCosine, hidden_cosine

MASK = batch_of(5, 3).learner.mask


def test_a_copy_is_at_an_exact_zero_and_length_does_not_count():
    teacher = states(2, 5, 7)
    assert hidden_cosine(teacher, teacher, MASK).item() == 0
    assert hidden_cosine(3 * teacher, teacher, MASK).item() == pytest.approx(0, abs=1e-6)


def test_opposite_is_two_and_orthogonal_one():
    teacher = states(2, 5, 7)
    assert hidden_cosine(-0.5 * teacher, teacher, MASK).item() == pytest.approx(2, rel=1e-6)
    across = torch.cat([teacher[..., 1:2], -teacher[..., :1], torch.zeros(2, 5, 5)], dim=-1)
    assert hidden_cosine(across, teacher, MASK).item() == pytest.approx(1, rel=1e-6)


def test_it_is_what_torch_says_of_real_tokens():
    student, teacher = states(2, 5, 7, seed=1), states(2, 5, 7, seed=2)
    real = MASK.bool()
    labels = torch.ones(int(real.sum()))
    expected = torch.nn.functional.cosine_embedding_loss(student[real], teacher[real], labels)
    assert hidden_cosine(student, teacher, MASK).item() == pytest.approx(expected.item(), rel=1e-5)


def test_more_padding_changes_nothing():
    student, teacher = states(2, 5, 7, seed=1), states(2, 5, 7, seed=2)
    noise = states(2, 4, 7, seed=3)
    more = batch_of(5, 3, tokens=9).learner.mask
    other = hidden_cosine(torch.cat([student, noise], 1), torch.cat([teacher, -noise], 1), more)
    assert torch.allclose(hidden_cosine(student, teacher, MASK), other, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_vectors_of_length_zero_give_finite_numbers(dtype):
    student = torch.zeros(2, 5, 7, dtype=dtype, requires_grad=True)
    value = hidden_cosine(student, states(2, 5, 7), MASK)
    value.backward()
    assert value.item() == pytest.approx(0.5)  # one of the two directions has no length
    assert torch.isfinite(student.grad).all()


def test_nothing_but_padding_is_an_exact_zero_with_a_gradient():
    student = states(1, 3, 5).requires_grad_()
    value = hidden_cosine(student, states(1, 3, 5, seed=1), torch.zeros(1, 3, dtype=torch.long))
    value.backward()
    assert value.item() == 0
    assert (student.grad == 0).all()


def test_the_teacher_gets_no_gradient():
    student, teacher = states(2, 5, 7, seed=1).requires_grad_(), states(2, 5, 7, seed=2).requires_grad_()
    hidden_cosine(student, teacher, MASK).backward()
    assert student.grad.abs().max() > 1e-3
    assert teacher.grad is None


def test_layers_are_summed():
    teacher = giving(hidden_states={4: states(2, 5, 7, seed=1), 6: states(2, 5, 7, seed=2)})
    student = giving(hidden_states={1: 2 * teacher[Feature("hidden_state", 4)], 2: -teacher[Feature("hidden_state", 6)]})
    batch = batch_of(5, 3)
    assert HiddenCosine(layers=((1, 4), (2, 6)))(student, teacher, batch).item() == pytest.approx(2.0, rel=1e-5)
    assert HiddenCosine(layers=((2, 6),)).teacher_needs == needing(hidden_states=frozenset({6}))
    assert HiddenCosine(layers=((2, 6),)).unit == "tokens"
