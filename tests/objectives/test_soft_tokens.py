"""Soft labels over the vocabulary: closed forms, temperatures, and what whole scores give."""

from dataclasses import replace

import pytest
import torch
from tests.objectives.matching import assert_alike, batch_of
from tests.objectives.vocabularies import CHUNKS, known, parts, scores, set_chunk_entries, whole

from stillhouse.data.batch import IGNORED
from stillhouse.errors import UserError
from stillhouse.features import Features, VocabularyScores
from stillhouse.objectives.soft_tokens import SoftTokens, soft_tokens

TEACHER = scores(hidden=3, seed=1)


# Teacher (2, 0) -> p = sigmoid(2 / T), student uniform: KL = log 2 - H(p), times T^2.
@pytest.mark.parametrize(("temperature", "scaled"), [(1.0, 0.327813325), (2.0, 0.443776287), (4.0, 0.484797792)])
def test_two_tokens_against_uniform(temperature, scaled):
    value = soft_tokens(known([[0.0, 0.0]]), known([[2.0, 0.0]]), temperature)
    assert value.item() == pytest.approx(scaled, rel=1e-5)


# d(T^2 KL) / d z_student = T (p_student - p_teacher).
@pytest.mark.parametrize(("temperature", "gradient"), [(1.0, 0.380797), (2.0, 0.462117), (4.0, 0.489837)])
def test_gradient(temperature, gradient):
    student = known([[0.0, 0.0]])
    student.bias.requires_grad_()
    soft_tokens(student, known([[2.0, 0.0]]), temperature).backward()
    assert student.bias.grad.tolist() == pytest.approx([-gradient, gradient], rel=1e-4)


def test_a_copy_is_at_an_exact_zero():
    one = scores(positions=20, hidden=7, vocab=997, scale=3.0)
    value = soft_tokens(one, one, 2.0)
    assert value.item() == 0
    assert all((slope == 0).all() for slope in torch.autograd.grad(value, parts(one)))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 20.0, 30.0, 1000.0, 10000.0])
def test_values_and_gradients_are_those_of_float64(temperature):
    """As T grows the terms of the sum shrink with 1 / T, the sum with 1 / T^2."""
    student, teacher = scores(positions=5, hidden=7, vocab=997), scores(positions=5, hidden=3, vocab=997, seed=1)
    value = soft_tokens(student, teacher, temperature)
    ours, theirs = (
        ((one.states.double() @ one.table.double().t() + one.bias.double()) / temperature).log_softmax(-1)
        for one in (student, teacher)
    )
    exact = temperature**2 * (theirs.detach().exp() * (theirs.detach() - ours)).sum(-1).mean()
    assert value.item() == pytest.approx(exact.item(), rel=1e-5 if temperature <= 2 else 1e-4)
    for one, other in zip(*(torch.autograd.grad(loss, parts(student)) for loss in (value, exact)), strict=True):
        assert (one - other).norm() < (1e-5 if temperature <= 2 else 1e-3) * other.norm()


def test_a_teacher_that_is_sure_gives_finite_numbers():
    """Of what it takes for impossible the probability is an exact zero."""
    student = known([[50.0, -50.0, 0.0]])
    student.bias.requires_grad_()
    value = soft_tokens(student, known([[-1000.0, 1000.0, 0.0]]), 0.5)
    value.backward()
    assert value.item() == pytest.approx(0.25 * 200, rel=1e-5)  # log p = -(50 + 50) / 0.5, times 0.5^2
    assert student.bias.grad.tolist() == pytest.approx([0.5, -0.5, 0.0], abs=1e-6)


@pytest.mark.parametrize("entries", CHUNKS)
def test_chunks_are_what_the_whole_is(monkeypatch, entries):
    set_chunk_entries(monkeypatch, entries)
    given = parts(scores())

    def by_torch(*own):
        ours, theirs = ((whole(one) / 2).log_softmax(-1) for one in (VocabularyScores(*own), TEACHER))
        return 4 * torch.nn.functional.kl_div(ours, theirs.detach(), reduction="batchmean", log_target=True)

    assert_alike(lambda *own: soft_tokens(VocabularyScores(*own), TEACHER, 2.0), by_torch, given, given, atol=1e-6)
    assert all(part.grad is None for part in parts(TEACHER))


@pytest.mark.parametrize("entries", CHUNKS)
def test_bf16_is_right_within_its_precision(monkeypatch, entries):
    set_chunk_entries(monkeypatch, entries)
    values, slopes = [], []
    for dtype in (torch.bfloat16, torch.float32):
        student = scores(dtype=dtype)
        values.append(soft_tokens(student, scores(hidden=3, seed=1, dtype=dtype), 2.0))
        slopes.append(torch.autograd.grad(values[-1], parts(student)))
    assert values[0].item() == pytest.approx(values[1].item(), rel=0.02)
    for one, other in zip(*slopes, strict=True):
        assert (one.float() - other).norm() < 0.02 * other.norm()


def features(one):
    """Of two rows of three tokens."""
    return Features(scores=replace(one, states=one.states.unflatten(0, (2, 3))))


def test_which_positions_count():
    # Tokens 3 and 2 of 3: all but the last; masked are the second of the first row and the first of the second.
    student, teacher = scores(positions=6), scores(positions=6, seed=1)
    labels = torch.full((2, 3), IGNORED)
    labels[0, 1] = labels[1, 0] = 4
    batch = replace(batch_of(3, 2), labels=labels)
    each = [
        soft_tokens(replace(student, states=ours[None]), replace(teacher, states=theirs[None]), 2.0).item()
        for ours, theirs in zip(student.states, teacher.states, strict=True)
    ]
    given = features(student), features(teacher), batch
    assert SoftTokens()(*given).item() == pytest.approx(sum(each[:5]) / 5, rel=1e-5)
    assert SoftTokens(positions="masked")(*given).item() == pytest.approx((each[1] + each[3]) / 2, rel=1e-5)
    assert [SoftTokens(positions=positions).unit for positions in ("all", "masked")] == ["tokens", "targets"]


def test_nothing_but_padding_is_an_exact_zero_with_a_gradient():
    student = scores(positions=6)
    value = SoftTokens()(features(student), features(scores(positions=6, seed=1)), batch_of(0, 0, tokens=3))
    value.backward()
    assert value.item() == 0
    assert (student.states.grad == 0).all()


def test_vocabularies_that_differ_are_refused():
    given = features(scores(positions=6)), features(scores(positions=6, vocab=12)), batch_of(3, 2)
    with pytest.raises(UserError, match=r"soft_tokens .* student has 11 tokens and the teacher 12"):
        SoftTokens()(*given)
