"""Dropout from whole random words is dropout."""

import copy

import pytest
import torch
from tests.training.toy_stage import hard_stage, toy_encoder, toy_split, train_stages, training_context
from torch import nn

from stillhouse.models.capture import IMPLEMENTATION
from stillhouse.speed.dropout import FastDropout, fast_dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_drops_so_many_and_keeps_the_mean(p, dtype):
    torch.manual_seed(0)
    ones = torch.ones(999, 1001, dtype=dtype).requires_grad_()
    result = FastDropout(p)(ones)
    assert result.dtype == dtype
    dropped = (result == 0).double().mean().item()
    assert dropped == pytest.approx(p, abs=4 * (p * (1 - p) / ones.numel()) ** 0.5 + 2**-17)
    kept = result[result != 0]
    assert torch.allclose(kept.float(), torch.tensor(1 / (1 - p)), rtol=1e-2 if dtype == torch.bfloat16 else 1e-4)
    (3 * result).sum().backward()
    assert torch.equal(ones.grad == 0, result == 0)  # the same mask on the way back
    assert torch.allclose(ones.grad, 3 * result, rtol=1e-2)


def test_neighbours_are_drawn_on_their_own():
    torch.manual_seed(0)
    dropped = (FastDropout(0.5)(torch.ones(100_000)) == 0).double() - 0.5
    for distance in (1, 2, 3, 4, 5, 8):
        together = (dropped[distance:] * dropped[:-distance]).mean().item()
        assert abs(together) < 4 * 0.25 / 100_000**0.5


def test_a_seed_gives_its_mask():
    layer, ones = FastDropout(0.3), torch.ones(7, 11)
    torch.manual_seed(1)
    first, second = layer(ones), layer(ones)
    torch.manual_seed(1)
    assert torch.equal(layer(ones), first)
    assert not torch.equal(first, second)


def test_what_is_nothing_to_drop_stays_as_it_is():
    ones = torch.ones(5)
    assert torch.equal(FastDropout(0.5).eval()(ones), ones)
    assert torch.equal(FastDropout(0.0)(ones), ones)
    assert torch.equal(FastDropout(1.0)(ones), 0 * ones)


def test_layers_are_ordinary_again_afterwards():
    model = toy_encoder()
    before = copy.deepcopy(model.state_dict())
    kinds = [type(layer) for layer in model.modules()]
    assert kinds.count(nn.Dropout) > 3
    with fast_dropout([model]):
        assert [type(layer) for layer in model.modules()].count(FastDropout) == kinds.count(nn.Dropout)
    assert [type(layer) for layer in model.modules()] == kinds
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_students_are_trained_with_it(tmp_path):
    """And attend in blocks; afterwards only the way of attending is left."""
    student, seen = toy_encoder(), set()
    for layer in student.modules():
        if type(layer) is nn.Dropout:
            layer.register_forward_hook(lambda layer, *_: seen.add((type(layer), student.config._attn_implementation)))
    train_stages(
        (hard_stage(epochs=1, select_on="none"),), student, toy_split(), lambda: 0.0, training_context(tmp_path), seed=1
    )
    assert seen == {(FastDropout, IMPLEMENTATION)}
    assert FastDropout not in {type(layer) for layer in student.modules()}
