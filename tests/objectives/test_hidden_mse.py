"""Hidden states against the teacher's: constants, masks and padding."""

import pytest
import torch
from tests.features import giving, needing
from tests.objectives.matching import batch_of, states

from stillhouse.features import Feature
from stillhouse.objectives.hidden_mse import EmbeddingMSE, HiddenMSE, hidden_mse


def test_a_constant_difference():
    # States that differ by 0.3 everywhere: 0.09.
    teacher = states(2, 5, 7)
    mask = batch_of(5, 3).learner.mask
    assert hidden_mse(teacher + 0.3, teacher, mask).item() == pytest.approx(0.09, rel=1e-5)
    assert hidden_mse(teacher, teacher, mask).item() == 0


def test_padding_counts_only_where_it_is_asked_for():
    # Width 2, tokens 3 and 1 of 3: one real token differs by (1, 3) -> 5, padding by 10 -> 100 in two places.
    student, teacher = torch.zeros(2, 3, 2), torch.zeros(2, 3, 2)
    student[0, 1] = torch.tensor([1.0, 3.0])
    student[1, 1:] = 10.0
    mask = batch_of(3, 1).learner.mask
    assert hidden_mse(student, teacher, mask).item() == pytest.approx(5 / 4)
    assert hidden_mse(student, teacher, mask, "all").item() == pytest.approx((5 + 200) / 6)


def test_more_padding_changes_nothing():
    student, teacher = states(2, 5, 7, seed=1), states(2, 5, 7, seed=2)
    noise = states(2, 4, 7, seed=3)
    one = hidden_mse(student, teacher, batch_of(5, 3).learner.mask)
    more = batch_of(5, 3, tokens=9).learner.mask
    other = hidden_mse(torch.cat([student, noise], 1), torch.cat([teacher, 5 * noise], 1), more)
    assert torch.allclose(one, other, atol=1e-6)


def test_nothing_but_padding_is_an_exact_zero_with_a_gradient():
    student = states(1, 3, 5).requires_grad_()
    value = hidden_mse(student, states(1, 3, 5, seed=1), torch.zeros(1, 3, dtype=torch.long))
    value.backward()
    assert value.item() == 0
    assert (student.grad == 0).all()


def test_layers_are_summed_and_named():
    teacher = giving(hidden_states={0: states(2, 3, 5), 4: states(2, 3, 5, seed=1), 6: states(2, 3, 5, seed=2)})
    student = giving(
        hidden_states={
            0: teacher[Feature("hidden_state", 0)] + 2,
            1: teacher[Feature("hidden_state", 4)] + 1,
            2: teacher[Feature("hidden_state", 6)] + 3,
        }
    )
    batch = batch_of(3, 2)
    assert HiddenMSE(layers=((1, 4), (2, 6)))(student, teacher, batch).item() == pytest.approx(10.0, rel=1e-5)
    assert EmbeddingMSE()(student, teacher, batch).item() == pytest.approx(4.0, rel=1e-5)
    assert EmbeddingMSE().teacher_needs == needing(hidden_states=frozenset({0}))
    assert (EmbeddingMSE.name, HiddenMSE.name) == ("embedding_mse", "hidden_mse")
