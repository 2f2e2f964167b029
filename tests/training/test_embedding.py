"""Gradients of token embeddings row by row are those of torch."""

import copy

import pytest
import torch
from tests.training.toy_stage import SILENT, hard_stage, same, toy_encoder, toy_split, weights, workshop
from torch import nn

from stillhouse.training import embedding
from stillhouse.training.embedding import RowEmbedding, clip_gradients, row_gradients
from stillhouse.training.stages import run_stages


@pytest.fixture(autouse=True)
def small_tables(monkeypatch):
    monkeypatch.setattr(embedding, "LEAST_ROWS", 50)


def batches(count=3):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 60, (5, 7), generator=generator) for _ in range(count)]


def step(model, optimizer, inputs, layers, max_norm):
    for ids in inputs:  # several micro-batches
        model(input_ids=ids).logits.square().mean().backward()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    norm = clip_gradients(parameters, layers, max_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for layer in layers:
        layer.clear()
    return norm


@pytest.mark.parametrize("max_norm", [1e-3, 1e3])
def test_steps_are_those_of_an_ordinary_table(max_norm):
    models = [toy_encoder().eval() for _ in range(2)]
    norms = []
    for model, is_on in zip(models, (True, False), strict=True):
        # Not Adam, which makes a step of the rounding in gradients that are zero, as those of key biases are.
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        with row_gradients(model, is_on=is_on) as layers:
            assert len(layers) == is_on
            for number in range(3):  # rows of one step are gone in the next
                norms.append(step(model, optimizer, batches()[: number + 1], layers, max_norm))
    assert torch.allclose(torch.stack(norms[:3]), torch.stack(norms[3:]), rtol=1e-5)
    for (name, one), other in zip(models[0].state_dict().items(), models[1].state_dict().values(), strict=True):
        assert torch.allclose(one, other, atol=1e-5), name


def test_the_gradient_is_torchs():
    model = toy_encoder().eval()
    twin = copy.deepcopy(model)
    with row_gradients(model, is_on=True) as (layer,):
        assert layer is model.bert.embeddings.word_embeddings
        for ids in batches():
            for one in (model, twin):
                one(input_ids=ids).logits.square().mean().backward()
        own, theirs = model.bert.embeddings.word_embeddings.weight.grad, twin.bert.embeddings.word_embeddings.weight.grad
        assert torch.allclose(own, theirs, atol=1e-7)
        assert own.abs().max() > 0
        assert (own[model.config.pad_token_id] == 0).all()
        assert layer.rows().tolist() == sorted(set(torch.cat(batches()).flatten().tolist()) - {model.config.pad_token_id})
        layer.clear()
        assert (layer.table == 0).all()
        assert layer.weight.grad is None


def test_layers_are_ordinary_again_afterwards():
    model = toy_encoder()
    names, before = list(vars(model.bert.embeddings.word_embeddings)), copy.deepcopy(model.state_dict())
    with row_gradients(model, is_on=True):
        assert type(model.bert.embeddings.word_embeddings) is RowEmbedding
        assert model.state_dict().keys() == before.keys()
        model(input_ids=batches()[0]).logits.sum().backward()
    assert type(model.bert.embeddings.word_embeddings) is nn.Embedding
    assert list(vars(model.bert.embeddings.word_embeddings)) == names
    assert same(model.state_dict(), before)


class Tables(nn.Module):
    """No more than its token embeddings."""

    def __init__(self, layer, *others):
        super().__init__()
        self.layer, self.others = layer, nn.ModuleList(others)

    def get_input_embeddings(self):
        return self.layer


@pytest.mark.parametrize("change", [{"sparse": True}, {"max_norm": 1.0}, {"scale_grad_by_freq": True}])
def test_unusual_tables_are_left_alone(change):
    with row_gradients(Tables(nn.Embedding(60, 3)), is_on=True) as layers:
        assert len(layers) == 1
    with row_gradients(Tables(nn.Embedding(60, 3, **change)), is_on=True) as layers:
        assert not layers


def test_frozen_and_unread_tables_get_nothing():
    model = toy_encoder()
    model.bert.embeddings.requires_grad_(False)
    with row_gradients(model, is_on=True) as layers:
        assert not layers
    model.requires_grad_(True)
    with row_gradients(model, is_on=True) as (layer,), torch.no_grad():
        model(input_ids=batches()[0])
        assert layer.rows().tolist() == []
        assert clip_gradients(list(model.parameters()), [layer], 1.0) == 0


def test_tied_weights_are_left_alone():
    one, other = nn.Embedding(60, 3), nn.Linear(3, 60, bias=False)
    other.weight = one.weight
    with row_gradients(Tables(one, other), is_on=True) as layers:
        assert not layers


def test_tables_that_are_not_of_tokens_are_left_alone():
    model = toy_encoder()
    with row_gradients(model, is_on=True) as layers:
        assert layers == [model.bert.embeddings.word_embeddings]
        assert type(model.bert.embeddings.position_embeddings) is nn.Embedding
    assert model.bert.embeddings.position_embeddings.num_embeddings >= 60


def test_training_row_by_row_is_training(tmp_path, monkeypatch):
    """Through the loop, over several micro-batches and steps."""
    states = []
    for least in (50, 10**6):
        monkeypatch.setattr(embedding, "LEAST_ROWS", least)
        student, seen = toy_encoder(**SILENT), set()
        layer = student.bert.embeddings.word_embeddings
        layer.register_forward_hook(lambda layer, *_, seen=seen: seen.add(type(layer)))
        stage = hard_stage(batch_size=16, accumulate=2, max_grad_norm=0.1, weight_decay=0.0)
        shop = workshop(tmp_path / str(least))
        run_stages((stage,), student, toy_split(), lambda: 0.0, shop, seed=1)
        assert RowEmbedding in seen if least == 50 else seen == {nn.Embedding}
        states.append(weights(student))
    for name, tensor in states[0].items():
        if not name.endswith("key.bias"):  # their gradient is zero but for rounding, of which Adam makes steps
            assert torch.allclose(tensor, states[1][name], atol=1e-5), name
