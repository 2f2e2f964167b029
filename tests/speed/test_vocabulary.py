"""Losses of scores over a vocabulary, chunk by chunk: value, gradients, types, and how much is there at once."""

import pytest
import torch
from tests.objectives.matching import Sizes, assert_alike, states
from tests.objectives.vocabularies import CHUNKS, parts, scores, set_chunk_entries, whole

from stillhouse.machine.memory import forget_peak_memory, peak_memory_mib
from stillhouse.objectives.masked_lm import masked_lm
from stillhouse.objectives.soft_tokens import soft_tokens
from stillhouse.speed.vocabulary import chunked_loss, scores_of


def cubes(chunk, _rows):
    """A loss whose gradient differs from score to score: the sum of the cubes."""
    return chunk.pow(3).sum(), 3 * chunk.square()


def chunked(*given):
    return chunked_loss(*given, cubes)


def whole_cubes(rows, table, bias):
    return (rows.float() @ table.t() + bias).pow(3).sum()


@pytest.mark.parametrize("entries", CHUNKS)
def test_chunks_are_what_the_whole_is(monkeypatch, entries):
    set_chunk_entries(monkeypatch, entries)
    given = parts(scores())
    assert_alike(chunked, whole_cubes, given, given, atol=1e-4)


def test_float64_stays_float64(monkeypatch):
    set_chunk_entries(monkeypatch, 3 * 11)
    given = [part.detach().double().requires_grad_() for part in parts(scores())]
    rows, table, bias = given
    slopes = [torch.autograd.grad(loss, given) for loss in (chunked(*given), (rows @ table.t() + bias).pow(3).sum())]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("entries", CHUNKS)
def test_every_position_comes_once_and_says_which_it_is(monkeypatch, entries):
    set_chunk_entries(monkeypatch, entries)
    one, seen = scores(), []

    def keep(chunk, rows):
        assert torch.allclose(chunk, whole(one)[rows], atol=1e-5)
        seen.extend(range(7)[rows])
        return chunk.sum(), torch.ones_like(chunk)

    chunked_loss(*parts(one), keep)
    assert seen == list(range(7))


def test_what_is_frozen_gets_no_gradient():
    given = [part.detach() for part in parts(scores())]
    given[0].requires_grad_()
    chunked(*given).backward()
    assert given[0].grad.abs().max() > 0.1
    assert given[1].grad is None
    assert given[2].grad is None
    with torch.no_grad():
        assert not chunked(*parts(scores())).requires_grad


def test_a_gradient_that_is_asked_for_again_is_refused():
    """It was made in the first pass, in memory that the backward pass uses for what it gives."""
    loss = chunked(*parts(scores()))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_no_position_is_an_exact_zero_with_a_gradient():
    given = parts(scores(positions=0))
    value = chunked(*given)
    value.backward()
    assert value.item() == 0
    assert [part.grad.abs().sum().item() for part in given] == [0, 0, 0]


@pytest.mark.parametrize("entries", CHUNKS)
def test_bf16_is_right_within_its_precision(monkeypatch, entries):
    """States in bf16 give gradients in bf16, a table in float32 one in float32, which adds up what chunks give."""
    set_chunk_entries(monkeypatch, entries)
    half, full = scores(positions=64, dtype=torch.bfloat16), scores(positions=64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = chunked(*parts(half))
    exact = whole_cubes(*parts(full))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact.item(), rel=0.02, abs=0.002 * whole(full).abs().pow(3).sum().item())
    slopes, exact_slopes = (torch.autograd.grad(one, parts(two)) for one, two in ((value, half), (exact, full)))
    assert [slope.dtype for slope in slopes] == [torch.bfloat16, torch.float32, torch.float32]
    for one, other in zip(slopes, exact_slopes, strict=True):
        assert (one.float() - other).norm() < 0.02 * other.norm()


def test_in_bf16_many_small_chunks_lose_nothing(monkeypatch):
    """4,096 positions that all add 1 to a row's gradient: in bf16, which cannot count beyond 256, most would be lost."""
    set_chunk_entries(monkeypatch, 1)
    given = [torch.ones(4096, 1, dtype=torch.bfloat16), torch.ones(2, 1).requires_grad_(), torch.zeros(2).requires_grad_()]
    chunked_loss(*given, lambda chunk, rows: (chunk.sum(), torch.ones_like(chunk))).backward()
    assert [part.grad.flatten().tolist() for part in given[1:]] == [[4096, 4096], [4096, 4096]]


def test_a_table_that_is_also_read_elsewhere_gets_both_gradients():
    """Tied: what a text looks up in it, and what the scores are products with."""
    table = states(11, 5).requires_grad_()
    ids, bias = torch.tensor([[1, 4, 4, 7]]), torch.zeros(11)
    for one in (chunked, whole_cubes):
        looked_up = torch.nn.functional.embedding(ids, table)[0]
        one(looked_up, table.view_as(table), bias).backward()
        if one is chunked:
            first, table.grad = table.grad, None
    assert torch.allclose(first, table.grad, rtol=1e-5, atol=1e-4)
    assert (first[0] - first[4]).abs().max() > 0.1


def test_no_more_scores_are_made_than_a_chunk_has(monkeypatch):
    set_chunk_entries(monkeypatch, 2**12)
    given = parts(scores(positions=500, hidden=3, vocab=401))
    with Sizes() as sizes:
        chunked(*given).backward()
    assert 2**11 < sizes.largest <= 2**12


def test_scores_are_multiplied_in_the_type_of_the_states():
    one = scores(positions=5, dtype=torch.bfloat16)
    in_bf16 = (one.states @ one.table.bfloat16().t()).float() + one.bias
    assert torch.equal(scores_of(one.states, one.table, one.bias), in_bf16)
    assert torch.allclose(scores_of(one.states.float(), one.table, one.bias), whole(one), atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peak_memory_of_the_losses(dtype):
    """8 texts of 512 tokens, BERT's width and vocabulary: a student's scores alone would take 477 MiB, of two models 954."""
    sizes = {"positions": 8 * 512, "hidden": 768, "vocab": 30522, "scale": 0.2, "dtype": dtype}
    student, teacher = (scores(seed=seed, **sizes) for seed in (0, 1))
    masked = torch.arange(8 * 512) % 7 == 0
    labels = torch.arange(int(masked.sum()))
    forget_peak_memory()
    before = peak_memory_mib()
    inputs = [part.view_as(part) for part in parts(student)]  # a model's: their gradients go on
    given = type(student)(*inputs)
    some = type(student)(given.states[masked], *inputs[1:])
    (5 * soft_tokens(given, teacher, 2.0) + 2 * masked_lm(some, labels)).backward()
    assert 100 < peak_memory_mib() - before < 400
    assert student.table.grad.abs().max() > 0
