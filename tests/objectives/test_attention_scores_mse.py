"""Attention scores against the teacher's: the three ways to count padding, by hand."""

import pytest
import torch
from tests.features import Attended, giving
from tests.objectives.matching import (
    DEVICES,
    ENTRIES,
    assert_alike,
    attention,
    batch_of,
    largest_tensor,
    near,
    padded,
    set_block_entries,
    states,
)

from stillhouse.objectives.attention_scores_mse import AttentionScoresMSE, attention_scores_mse
from stillhouse.objectives.relation_kl import RelationKL

# Third key masked, third query padding; 50 stands where nobody may look.
STUDENT = torch.tensor([[1.0, 2.0, 50.0], [0.0, 1.0, 50.0], [3.0, 0.0, 50.0]])[None, None]
TEACHER = torch.tensor([[0.0, 2.0, -50.0], [0.0, 0.0, -50.0], [1.0, 0.0, -50.0]])[None, None]
MASK = torch.tensor([[1, 1, 0]])


def factors(scores):
    """Queries and keys whose products are these scores."""
    return scores, torch.eye(scores.shape[-1]).expand(scores.shape)


@pytest.mark.parametrize(
    ("pairs", "value"),
    [
        ("official", 6 / 9),  # squares 1, 1 and 4 over all nine places
        ("valid", 2 / 4),  # 1 and 1 over two queries and two keys
        ("keys_only", 6 / 6),  # the padded query's 4 is there, over three queries and two keys
    ],
)
def test_three_ways_to_count(pairs, value):
    assert attention_scores_mse(factors(STUDENT), factors(TEACHER), MASK, pairs).item() == pytest.approx(value)
    # Two heads with the same scores: a mean over heads.
    both = attention_scores_mse(factors(STUDENT.expand(1, 2, 3, 3)), factors(TEACHER.expand(1, 2, 3, 3)), MASK, pairs)
    assert both.item() == pytest.approx(value)


def test_a_constant_on_a_query_is_seen():
    # Softmax would not see it: 3 added to every key of one query of two, 9 / 2 over real pairs.
    shifted = TEACHER.clone()
    shifted[0, 0, 0] += 3
    assert attention_scores_mse(factors(shifted), factors(TEACHER), MASK).item() == pytest.approx(9 * 2 / 4)


def test_what_softmax_does_not_see_relations_do_not_see():
    # Keys moved by one vector add a constant to all scores of a query: to the scores, not to the maps that they become.
    ours, theirs = attention(1, 2, 5, 4), attention(1, 2, 5, 4, seed=1)
    moved = Attended(ours.query, ours.key + 3.0, ours.value, ours.scaling)
    scores = AttentionScoresMSE(layers=((1, 1),))
    maps = RelationKL(relations=(("query", "key"),), student_layer=1, teacher_layer=1)
    first, second, teacher = (giving(attentions={1: one}) for one in (ours, moved, theirs))
    assert abs(scores(first, teacher, batch_of(5)) - scores(second, teacher, batch_of(5))) > 0.1
    assert torch.allclose(maps(first, teacher, batch_of(5)), maps(second, teacher, batch_of(5)), rtol=1e-5)


@pytest.mark.parametrize("pairs", ["valid", "official"])
def test_identical_sides_are_zero(pairs):
    one = giving(attentions={1: attention(2, 3, 5, 4)})
    assert AttentionScoresMSE(layers=((1, 1),), pairs=pairs)(one, one, batch_of(5, 3)).item() == 0.0


@pytest.mark.parametrize("pairs", ["valid", "keys_only"])
def test_nothing_to_compare_is_an_exact_zero(pairs):
    student = STUDENT.clone().requires_grad_()
    value = attention_scores_mse(factors(student), factors(TEACHER), torch.zeros(1, 3, dtype=torch.long), pairs)
    value.backward()
    assert value.item() == 0
    assert (student.grad == 0).all()


def whole_maps(student, teacher, mask, pairs, window):
    """The formula with every map at once, differentiated by autograd."""
    ours, theirs = (queries @ keys.transpose(-1, -2) for queries, keys in (student, teacher))
    real = mask.bool()
    chosen = real[:, None, None, :].expand(-1, 1, real.shape[1], -1)
    chosen = chosen & real[:, None, :, None] if pairs == "valid" else chosen
    chosen_near = chosen if window is None else chosen & near(real.shape[1], window).to(mask.device)
    count = real.numel() * real.shape[1] if pairs == "official" else int(chosen.sum())
    return (ours - theirs).square().where(chosen_near, 0.0).sum() / (count * ours.shape[1])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("entries", ENTRIES)
@pytest.mark.parametrize("pairs", ["valid", "keys_only", "official"])
@pytest.mark.parametrize("window", [None, 2])
def test_blocks_give_the_value_and_gradient_of_whole_maps(monkeypatch, entries, pairs, window, device):
    set_block_entries(monkeypatch, entries)
    ours = [states(3, 5, 7, 4, seed=seed).to(device).requires_grad_() for seed in (1, 2)]
    theirs = [states(3, 5, 7, 6, seed=seed).to(device).requires_grad_() for seed in (3, 4)]
    mask = batch_of(7, 3, 1).learner.mask.to(device)
    arguments = (tuple(ours), tuple(theirs), mask, pairs, window)
    assert_alike(attention_scores_mse, whole_maps, arguments, ours, atol=1e-6)
    attention_scores_mse(*arguments).backward()
    assert all(tensor.grad is None for tensor in theirs)


@pytest.mark.parametrize("window", [None, 9])
def test_memory_grows_with_the_tokens_not_with_their_square(monkeypatch, window):
    set_block_entries(monkeypatch, 2048)
    assert [largest_tensor(attention_scores_mse, tokens, window=window) for tokens in (256, 512)] == [2 * 4 * 256, 2 * 4 * 512]


def test_scores_are_scaled_and_layers_summed():
    # Q = K = one token of length 2 in 4 dimensions: score 4 / 2 = 2 for the student, 0 for the teacher.
    one = torch.tensor([2.0, 0.0, 0.0, 0.0])[None, None, None]
    ours, theirs = Attended(one, one, one, 0.5), Attended(0 * one, one, one, 0.5)
    student, teacher = giving(attentions={1: ours, 2: ours}), giving(attentions={3: theirs, 6: theirs})
    value = AttentionScoresMSE(layers=((1, 3), (2, 6)))(student, teacher, batch_of(1))
    assert value.item() == pytest.approx(4.0 + 4.0)


def test_more_padding_changes_nothing():
    ours, theirs = attention(2, 3, 5, 7), attention(2, 3, 5, 7, seed=1)
    objective = AttentionScoresMSE(layers=((1, 1),))
    one = objective(giving(attentions={1: ours}), giving(attentions={1: theirs}), batch_of(5, 3))
    wider = giving(attentions={1: padded(ours, 4)}), giving(attentions={1: padded(theirs, 4)})
    assert torch.allclose(one, objective(*wider, batch_of(5, 3, tokens=9)), atol=1e-6)


def test_local_attention_is_compared_where_it_looks():
    ours, theirs = attention(1, 2, 5, 3, window=1), attention(1, 2, 5, 3, seed=1, window=1)
    pairs = near(5, 1)
    assert pairs.sum() == 13  # 5 on the diagonal, 4 on either side
    value = AttentionScoresMSE(layers=((1, 1),))(giving(attentions={1: ours}), giving(attentions={1: theirs}), batch_of(5))
    difference = (ours.scores() - theirs.scores()).square()
    assert value.item() == pytest.approx(difference[:, :, pairs].sum().item() / (2 * 25), rel=1e-5)
