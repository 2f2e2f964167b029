"""Relations of MiniLM: values by hand, a loop as reference, rotations, padding."""

import math

import pytest
import torch
from tests.features import Attended, giving
from tests.objectives.matching import (
    DEVICES,
    ENTRIES,
    assert_alike,
    attention,
    batch_of,
    cut,
    largest_tensor,
    near,
    padded,
    set_block_entries,
    states,
)

from stillhouse.objectives.relation_kl import RelationKL, relation_heads, relation_kl

V1 = (("query", "key"), ("value", "value"))
V2 = (("query", "query"), ("key", "key"), ("value", "value"))
FULL = torch.ones(1, 4, dtype=torch.long)


def of(one):
    return giving(attentions={2: one})


def objective(relations=V2, heads=None):
    return RelationKL(relations=relations, student_layer=2, teacher_layer=2, heads=heads)


def loop(ours, theirs, lengths, relations):
    """The definition, example by example, head by head, query by query, without any mask."""
    total = 0.0
    for row, length in enumerate(lengths):
        rows = []
        for first, second in relations:
            x, y = ((getattr(one, first)[row, :, :length], getattr(one, second)[row, :, :length]) for one in (ours, theirs))
            p, q = (torch.softmax(a @ b.transpose(-1, -2) / math.sqrt(a.shape[-1]), dim=-1) for a, b in (y, x))
            rows.append((p * (p / q).log()).sum(-1).mean())
        total += sum(rows).item()
    return total / len(lengths)


@pytest.mark.parametrize("tokens", [15, 16, 17])
def test_short_texts_and_longer_ones(tokens):
    """Around the width of a vector register."""
    ours, theirs = attention(2, 3, tokens, 4), attention(2, 3, tokens, 4, seed=1)
    lengths = (tokens, tokens - 3)
    found = objective()(of(ours), of(theirs), batch_of(*lengths)).item()
    assert found == pytest.approx(loop(ours, theirs, lengths, V2), rel=1e-5)


def test_value_relation_of_a_one_hot_table():
    # V = I_4, d = 4: scores 1/2 on the diagonal, 0 elsewhere: e^0.5 / (e^0.5 + 3) = 0.354661, 1 / (e^0.5 + 3) = 0.215113.
    identity, constant = torch.eye(4)[None, None], torch.ones(1, 1, 4, 4)
    row = torch.softmax(identity @ identity.transpose(-1, -2) / 2, -1)[0, 0, 0]
    assert torch.allclose(row, torch.tensor([0.354661244392, 0.215112918536, 0.215112918536, 0.215112918536]))
    # Against uniform rows: ln 4 - H(row) = 0.027032797083; the other direction is another number.
    value = relation_kl((constant, constant), (identity, identity), FULL)
    assert value.item() == pytest.approx(0.027032797083, abs=1e-7)
    swapped = relation_kl((identity, identity), (constant, constant), FULL)
    assert swapped.item() == pytest.approx(0.025297825113, abs=1e-7)


def test_a_sharp_teacher_and_a_uniform_student():
    # One-hot rows against uniform ones over 4 keys: ln 4.
    sharp, flat = 100 * torch.eye(4)[None, None], torch.zeros(1, 1, 4, 4)
    assert relation_kl((flat, flat), (sharp, sharp), FULL).item() == pytest.approx(1.386294361120, abs=1e-6)


def test_identical_sides_are_zero():
    one = attention(2, 3, 5, 4)
    for relations in (V1, V2):
        assert objective(relations)(of(one), of(one), batch_of(5, 3)).item() == pytest.approx(0.0, abs=1e-6)


def whole_maps(student, teacher, mask, window=None):
    """The formula with every map at once, differentiated by autograd."""
    keys = mask.bool()[:, None, None, :]
    keys = keys if window is None else keys & near(keys.shape[-1], window).to(mask.device)
    ours, theirs = (
        ((x * x.shape[-1] ** -0.5) @ y.transpose(-1, -2)).masked_fill(~keys, -1e9).log_softmax(dim=-1)
        for x, y in (student, teacher)
    )
    rows = torch.nn.functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=-1).mean(dim=1)
    return (rows.where(mask.bool(), 0.0).sum(dim=-1) / mask.sum(dim=-1)).mean()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("entries", ENTRIES)
@pytest.mark.parametrize("is_one_part", [False, True])
@pytest.mark.parametrize("window", [None, 2])
def test_blocks_give_the_value_and_gradient_of_whole_maps(monkeypatch, entries, is_one_part, window, device):
    set_block_entries(monkeypatch, entries)
    ours = [states(3, 5, 7, 4, seed=seed).to(device).requires_grad_() for seed in (1, 2)]
    theirs = [states(3, 5, 7, 6, seed=seed).to(device).requires_grad_() for seed in (3, 4)]
    student = (ours[0], ours[0]) if is_one_part else tuple(ours)
    mask = batch_of(7, 3, 1).learner.mask.to(device)
    inputs = [ours[0]] if is_one_part else ours
    assert_alike(relation_kl, whole_maps, (student, tuple(theirs), mask, window), inputs, atol=1e-7)
    value = relation_kl(student, tuple(theirs), mask, window)
    value.backward()
    assert all(tensor.grad is None for tensor in theirs)


@pytest.mark.parametrize("relations", [V1, V2])
def test_it_is_the_loop_over_examples(relations):
    ours, theirs = attention(3, 2, 7, 4, seed=1), attention(3, 2, 7, 6, seed=2)  # each side has its own head width
    value = objective(relations)(of(ours), of(theirs), batch_of(7, 3, 1))
    assert value.item() == pytest.approx(loop(ours, theirs, (7, 3, 1), relations), rel=1e-5)


def test_a_batch_is_the_mean_of_its_examples_and_padding_is_nothing():
    ours, theirs = attention(2, 3, 5, 4, seed=1), attention(2, 3, 5, 4, seed=2)
    both = objective()(of(ours), of(theirs), batch_of(5, 3))
    single = [
        objective()(of(cut(ours, [row], length)), of(cut(theirs, [row], length)), batch_of(length))
        for row, length in enumerate((5, 3))
    ]
    assert both.item() == pytest.approx((single[0] + single[1]).item() / 2, rel=1e-5)
    wider = objective()(of(padded(ours, 6)), of(padded(theirs, 6)), batch_of(5, 3, tokens=11))
    assert both.item() == pytest.approx(wider.item(), rel=1e-6)


def test_rotating_a_relation_head_changes_nothing():
    ours, theirs = attention(1, 2, 5, 6, seed=1), attention(1, 2, 5, 6, seed=2)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3)))[0]
    turned = Attended(ours.query @ rotation, ours.key @ rotation, ours.value @ rotation, ours.scaling)
    for relations in (V1, V2):
        before = objective(relations)(of(ours), of(theirs), batch_of(5))
        assert torch.allclose(before, objective(relations)(of(turned), of(theirs), batch_of(5)), atol=1e-5)


def test_relation_heads_mix_native_heads():
    # 2 heads of 3 side by side are 6 numbers; 3 relation heads of 2.
    vectors = torch.arange(6.0).reshape(1, 2, 1, 3)
    assert relation_heads(vectors, 3).tolist() == [[[[0.0, 1.0]], [[2.0, 3.0]], [[4.0, 5.0]]]]
    assert relation_heads(vectors, None) is vectors


def test_as_many_relation_heads_as_native_ones_is_the_first_version():
    ours, theirs = attention(2, 3, 5, 4, seed=1), attention(2, 3, 5, 4, seed=2)
    pair = (("query", "key"),)
    found = objective(pair, heads=3)(of(ours), of(theirs), batch_of(5, 3))
    assert found.item() == pytest.approx(loop(ours, theirs, (5, 3), pair), rel=1e-5)


def test_head_counts_and_widths_may_differ_with_relation_heads():
    ours, theirs = attention(2, 2, 5, 6, seed=1), attention(2, 3, 5, 8, seed=2)  # widths 12 and 24
    found = objective(heads=4)(of(ours), of(theirs), batch_of(5, 3))

    def into_four(one):
        """Cut by hand: all heads' numbers of a token side by side, a quarter for each relation head."""
        parts = []
        for part in (one.query, one.key, one.value):
            rows = torch.cat([part[:, head] for head in range(part.shape[1])], dim=-1)
            parts.append(torch.stack(rows.chunk(4, dim=-1), dim=1))
        return Attended(*parts, 1.0, None)

    assert found.item() == pytest.approx(loop(into_four(ours), into_four(theirs), (5, 3), V2), rel=1e-5)


def test_weights_are_those_of_their_relations():
    pairs = (("query", "query"), ("value", "value"))
    ours, theirs = attention(2, 3, 5, 4, seed=1), attention(2, 3, 5, 4, seed=2)
    values = [objective((pair,))(of(ours), of(theirs), batch_of(5, 3)).item() for pair in pairs]
    weighed = RelationKL(relations=pairs, weights=(3.0, 0.5), student_layer=2, teacher_layer=2)
    assert weighed(of(ours), of(theirs), batch_of(5, 3)).item() == pytest.approx(3 * values[0] + 0.5 * values[1], rel=1e-5)


def test_key_biases_move_relations_of_keys_alone():
    # q . (k + b) adds the same to all scores of a query, which softmax does not see; of (k + b) . (k + b) it sees some.
    for relations, moves in ((V1, False), (V2, True)):
        ours, theirs = attention(2, 2, 5, 4, seed=1), attention(2, 2, 5, 4, seed=2)
        bias = torch.zeros(2, 1, 4, requires_grad=True)
        biased = Attended(ours.query, ours.key + bias, ours.value, ours.scaling)
        objective(relations)(of(biased), of(theirs), batch_of(5, 3)).backward()
        assert (bias.grad.abs().max() > 1e-3) == moves
        assert moves or bias.grad.abs().max() < 1e-6


def test_an_example_without_tokens_is_no_nan():
    ours = attention(2, 2, 3, 4, seed=1)
    ours.query.requires_grad_()
    value = objective()(of(ours), of(attention(2, 2, 3, 4, seed=2)), batch_of(3, 0, tokens=3))
    value.backward()
    assert value.isfinite()
    assert ours.query.grad.isfinite().all()
    assert (ours.query.grad[1] == 0).all()


@pytest.mark.parametrize("window", [None, 9])
def test_memory_grows_with_the_tokens_not_with_their_square(monkeypatch, window):
    set_block_entries(monkeypatch, 2048)
    assert [largest_tensor(relation_kl, tokens, window=window) for tokens in (256, 512)] == [2 * 4 * 256, 2 * 4 * 512]


@pytest.mark.parametrize("entries", [16, 10**6])  # a query, or everything at once
def test_bf16_vectors_are_compared_in_float32(monkeypatch, entries):
    """Their gradients come back in bf16, near those of the same numbers in float32."""
    set_block_entries(monkeypatch, entries)
    ours, theirs = attention(2, 3, 5, 4, seed=1), attention(2, 3, 5, 4, seed=2)
    values, gradients = [], []
    for dtype in (torch.bfloat16, torch.float32):
        parts = [getattr(ours, part).detach().bfloat16().to(dtype).requires_grad_() for part in ("query", "key")]
        other = [getattr(theirs, part).detach().bfloat16().to(dtype) for part in ("query", "key")]
        value = relation_kl(tuple(parts), tuple(other), torch.ones(2, 5, dtype=torch.long))
        values.append(value)
        gradients.append(torch.autograd.grad(value, parts))
    assert values[0].dtype == torch.float32
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-6)
    for own, exact in zip(*gradients, strict=True):
        assert own.dtype == torch.bfloat16
        assert 0 < (own - exact).norm() < 0.01 * exact.norm()
