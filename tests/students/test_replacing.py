"""Replacing modules: gates, schedules, and what is and is not trained."""

import copy

import numpy as np
import pytest
import torch
from tests.students.pairs import batch, pair

from stillhouse.data.text import Step
from stillhouse.features import LOGITS, ONLY_LOGITS
from stillhouse.method import Trained
from stillhouse.students.replacing import Replacing, replacing_rate
from stillhouse.training.optimizer import let_rest

FAMILIES = ("bert", "roberta", "distilbert", "electra", "xlm-roberta", "mobilebert")


def silent(side, predecessor):
    for model in (side, predecessor):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if hasattr(module, "attention_dropout") and isinstance(module.attention_dropout, float):
                module.attention_dropout = 0.0
    return side


def at(step):
    return Step(step, 20, np.arange(4), seed=0)


def logits(side, given):
    return side(given)[LOGITS]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("per_example", [False, True])
def test_the_ends_are_pure_successor_and_pure_predecessor(family, per_example):
    successor, predecessor = pair(family)
    alone = copy.deepcopy(successor).eval()
    given = batch()
    inputs = {"input_ids": given.learner.ids, "attention_mask": given.learner.mask}
    with torch.no_grad():
        expected = {1.0: alone(**inputs).logits, 0.0: predecessor.eval()(**inputs).logits}
    assert not torch.allclose(expected[0.0], expected[1.0], atol=1e-3)
    for rate, value in expected.items():
        student = copy.deepcopy(successor)
        spec = Replacing(schedule="constant", base=rate, per_example=per_example)
        side = silent(spec.build(student, predecessor, ONLY_LOGITS), predecessor).train()
        side.before_step(Step(0, 10, np.arange(4), seed=3))
        assert torch.equal(logits(side, given), value)
        # Evaluation runs the successor alone, in the middle of training as well.
        student.eval()
        assert torch.equal(logits(side, given), expected[1.0])
        side.release()
        student.train()
        assert torch.equal(logits(side, given), expected[1.0])


def test_equal_modules_make_the_rate_irrelevant():
    successor, predecessor = pair(layers=3, own=3)
    given, values = batch(), []
    for rate in (0.0, 0.4, 1.0):
        student = copy.deepcopy(successor)
        spec = Replacing(schedule="constant", base=rate)
        side = silent(spec.build(student, predecessor, ONLY_LOGITS), predecessor).train()
        side.before_step(Step(7, 10, np.arange(4), seed=1))
        values.append(logits(side, given))
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2])


def test_gates_have_their_rate_and_are_independent():
    successor, predecessor = pair(layers=6, own=6)
    side = Replacing(schedule="constant", base=0.3).build(successor, predecessor, ONLY_LOGITS)
    gates = np.empty((10_000, 6))
    for step in range(len(gates)):
        side.before_step(Step(step, len(gates), np.arange(1), seed=5))
        gates[step] = side._gates[0]
    assert np.abs(gates.mean(axis=0) - 0.3).max() < 0.015  # three standard errors of sqrt(0.3 * 0.7 / 10^4)
    correlation = np.corrcoef(gates.T) - np.eye(6)
    assert np.abs(correlation).max() < 0.04


def test_gates_depend_on_seed_and_step_alone():
    def drawn(seed, step):
        successor, predecessor = pair(layers=6, own=6)
        side = Replacing(schedule="constant", base=0.5, per_example=True).build(successor, predecessor, ONLY_LOGITS)
        torch.manual_seed(step)
        side.before_step(Step(step, 10, np.array([4, 1, 9]), seed))
        return side._gates.tolist()

    assert drawn(1, 3) == drawn(1, 3)
    assert drawn(1, 3) != drawn(1, 4)
    assert drawn(1, 3) != drawn(2, 3)


def test_a_row_keeps_its_gates_in_whatever_micro_batch_it_is():
    successor, predecessor = pair()
    spec = Replacing(schedule="constant", base=0.5, per_example=True)
    side = silent(spec.build(successor, predecessor, ONLY_LOGITS), predecessor).train()
    side.before_step(Step(1, 10, np.array([3, 0, 2, 1]), seed=2))
    whole = batch()
    together = logits(side, whole)
    for row in range(4):
        assert torch.allclose(logits(side, whole.select(np.array([row]))), together[row : row + 1], atol=1e-5)


def test_rates():
    def curriculum(step):
        return replacing_rate(step, schedule="curriculum", base=0.3, slope=6e-4)

    assert curriculum(0) == 0.3
    assert curriculum(1) == pytest.approx(0.3006)
    assert curriculum(1166) == pytest.approx(0.9996)
    assert curriculum(1167) == 1.0
    constant = [replacing_rate(step, schedule="constant", base=0.5, slope=0.0, constant_steps=3) for step in range(5)]
    assert constant == [0.5, 0.5, 0.5, 1.0, 1.0]
    assert replacing_rate(9999, schedule="constant", base=0.5, slope=0.0) == 0.5
    decreasing = [replacing_rate(step, schedule="decreasing", base=0.3, slope=0.25) for step in range(5)]
    assert decreasing == [1.0, 0.75, 0.5, 0.3, 0.3]


def test_the_rate_reaches_one_half_way_unless_a_slope_is_given():
    successor, predecessor = pair()
    side = Replacing(base=0.2).build(successor, predecessor, ONLY_LOGITS)
    rates = []
    for step in (0, 25, 50, 99):
        side.before_step(Step(step, 100, np.arange(1), seed=0))
        rates.append(side.values()["replacing_rate"])
    assert rates == pytest.approx([0.2, 0.6, 1.0, 1.0])


@pytest.mark.parametrize("official", [False, True])
def test_only_drawn_layers_of_the_successor_move(official):
    successor, predecessor = pair()
    before = {name: tensor.clone() for name, tensor in successor.state_dict().items()}
    theirs = {name: tensor.clone() for name, tensor in predecessor.state_dict().items()}
    spec = Replacing(schedule="constant", base=0.5, official=official)
    side = spec.build(successor, predecessor, ONLY_LOGITS).train()
    let_rest(successor, Trained(embeddings=0.0, head=0.0))
    trainable = [parameter for parameter in side.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-2, weight_decay=0.0)
    drawn, moved = set(), set()
    for step in range(20):
        state = {name: tensor.clone() for name, tensor in successor.state_dict().items()}
        side.before_step(at(step))
        gates = side._gates[0]
        if not gates.any():
            continue
        logits(side, batch()).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        now = successor.state_dict()
        for layer, gate in enumerate(gates):
            name = f"bert.encoder.layer.{layer}.output.dense.weight"
            has_moved = not torch.equal(now[name], state[name])
            if gate:
                drawn.add(layer)
                assert has_moved
            else:
                assert has_moved == (official and layer in drawn)
            moved |= {layer} if has_moved else set()
            # A momentum of zeros would count as steps, and damp the layer's first real one.
            weight = successor.bert.encoder.layer[layer].output.dense.weight
            assert (weight in optimizer.state) == (layer in drawn)
    assert moved == {0, 1}
    again = spec.build(*pair(), ONLY_LOGITS)
    again.load_state_dict(side.state_dict())
    assert again.get_extra_state().tolist() == ([True, True] if official else [False, False])
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in predecessor.state_dict().items())
    for name, tensor in successor.state_dict().items():
        assert ".encoder.layer." in name or torch.equal(tensor, before[name]), name


def test_the_predecessor_is_neither_saved_nor_counted():
    successor, predecessor = pair()
    names = [f"encoder.{name}" for name in successor.state_dict()]
    side = Replacing().build(successor, predecessor, ONLY_LOGITS)
    assert list(side.state_dict()) == ["_extra_state", *names]  # the former: which layers were drawn yet
    assert sum(parameter.numel() for parameter in side.parameters()) == sum(p.numel() for p in successor.parameters())
    assert not any(parameter.requires_grad for parameter in predecessor.parameters())


def test_official_clipping_counts_gradients_of_what_is_not_trained():
    """By hand: the norm over everything that a plain backward pass reaches, and the successor's step shrunk by it."""
    successor, predecessor = pair()
    spec = Replacing(schedule="constant", base=0.5, official=True)
    side = silent(spec.build(successor, predecessor, ONLY_LOGITS), predecessor).train()
    let_rest(successor, Trained(embeddings=0.0, head=0.0))
    trained = [parameter for parameter in side.parameters() if parameter.requires_grad]
    for parameter in side.measured:
        parameter.requires_grad_(True)
    step = next(step for step in range(20) if side.before_step(at(step)) is None and side._gates[0].sum() == 1)
    side.before_step(at(step))
    logits(side, batch()).square().sum().backward()

    def norm(parameters):
        return torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()

    everything = [*successor.parameters(), *predecessor.parameters()]
    assert norm(everything) == pytest.approx(norm([*trained, *side.measured]).item())
    assert norm(everything) > 1.5 * norm(trained)
    embeddings = successor.get_input_embeddings().weight
    assert embeddings.grad.norm() > 0
    side.before_step(at(step + 1))  # nothing is carried over to the next step
    assert embeddings.grad is None
    side.release()
    assert not any(parameter.requires_grad for parameter in predecessor.parameters())


@pytest.mark.parametrize("is_active", [False, True])
def test_the_predecessors_dropout_is_an_option(is_active):
    successor, predecessor = pair()
    spec = Replacing(schedule="constant", base=0.0, predecessor_dropout=is_active)
    side = spec.build(successor, predecessor, ONLY_LOGITS).train()
    for module in successor.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    side.before_step(Step(0, 10, np.arange(4), seed=3))
    assert torch.equal(logits(side, batch()), logits(side, batch())) is not is_active
