"""Gradients of token embeddings row by row are those of torch."""

import copy

import pytest
import torch
from tests.training.toy_stage import same, toy_encoder
from torch import nn

from stillhouse.training import embedding
from stillhouse.training.embedding import RowEmbedding, clip_gradients, row_gradients


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
            assert len(layers) == 2 * is_on  # words and positions
            for number in range(3):  # rows of one step are gone in the next
                norms.append(step(model, optimizer, batches()[: number + 1], layers, max_norm))
    assert torch.allclose(torch.stack(norms[:3]), torch.stack(norms[3:]), rtol=1e-5)
    for (name, one), other in zip(models[0].state_dict().items(), models[1].state_dict().values(), strict=True):
        assert torch.allclose(one, other, atol=1e-5), name


def test_the_gradient_is_torchs():
    model = toy_encoder().eval()
    twin = copy.deepcopy(model)
    with row_gradients(model, is_on=True) as (layer, _):
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


@pytest.mark.parametrize("change", [{"sparse": True}, {"max_norm": 1.0}, {"scale_grad_by_freq": True}])
def test_unusual_tables_are_left_alone(change):
    with row_gradients(nn.Sequential(nn.Embedding(60, 3, **change)), is_on=True) as layers:
        assert not layers


def test_frozen_and_unread_tables_get_nothing():
    model = toy_encoder()
    model.bert.embeddings.requires_grad_(False)
    with row_gradients(model, is_on=True) as layers:
        assert not layers
    model.requires_grad_(True)
    with row_gradients(model, is_on=True) as (layer, _), torch.no_grad():
        model(input_ids=batches()[0])
        assert layer.rows().tolist() == []


def test_tied_weights_are_left_alone():
    one, other = nn.Embedding(60, 3), nn.Linear(3, 60, bias=False)
    other.weight = one.weight
    with row_gradients(nn.Sequential(one, other), is_on=True) as layers:
        assert not layers
