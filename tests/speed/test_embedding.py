"""Token embeddings of which only the rows of the text are trained are those that torch would have trained."""

import copy

import pytest
import torch
from tests.training.toy_stage import SILENT, hard_stage, same, toy_encoder, toy_split, train_stages, training_context, weights
from torch import nn

from stillhouse.speed import embedding
from stillhouse.speed.embedding import RowEmbedding, clip_gradients, trained_rows

TEXT = torch.arange(0, 60, 2)  # of the toy's tokens
RATE, DECAY = 0.1, 0.2


def batches(count=3):
    generator = torch.Generator().manual_seed(0)
    return [2 * torch.randint(0, 30, (5, 7), generator=generator) for _ in range(count)]


def step(model, optimizer, inputs, layers, max_norm):
    for ids in inputs:  # several micro-batches
        model(input_ids=ids).logits.square().mean().backward()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    norm = clip_gradients(parameters, layers, max_norm)
    optimizer.step()
    for layer in layers:
        layer.finish_step(1 - RATE * DECAY)
    optimizer.zero_grad(set_to_none=True)
    return norm


@pytest.mark.parametrize("max_norm", [1e-3, 1e3])
def test_steps_are_those_of_an_ordinary_table(max_norm):
    models = [toy_encoder().eval() for _ in range(2)]
    norms = []
    for model, is_on in zip(models, (True, False), strict=True):
        with trained_rows(model, TEXT.numpy, is_on=is_on) as layers:
            assert len(layers) == is_on
            parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
            # A large epsilon: Adam makes a step of the rounding in gradients that are zero, as those of key biases are.
            optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY, eps=1.0)
            for number in range(3):  # rows of one step are gone in the next
                norms.append(step(model, optimizer, batches()[: number + 1], layers, max_norm))
    assert torch.allclose(torch.stack(norms[:3]), torch.stack(norms[3:]), rtol=1e-5)
    for (name, one), other in zip(models[0].state_dict().items(), models[1].state_dict().values(), strict=True):
        assert torch.allclose(one, other, atol=1e-5), name


def test_the_gradient_is_torchs():
    model = toy_encoder().eval()
    twin = copy.deepcopy(model)
    with trained_rows(model, TEXT.numpy, is_on=True) as (layer,):
        assert layer is model.bert.embeddings.word_embeddings
        for ids in batches():
            for one in (model, twin):
                one(input_ids=ids).logits.square().mean().backward()
        theirs = twin.bert.embeddings.word_embeddings.weight.grad
        assert torch.allclose(layer.trained.grad, theirs[TEXT], atol=1e-7)
        assert layer.trained.grad.abs().max() > 0
        assert (layer.trained.grad[layer.place[model.config.pad_token_id]] == 0).all()
        seen = set(torch.cat(batches()).flatten().tolist()) - {model.config.pad_token_id}
        assert TEXT[layer.looked_up()].tolist() == sorted(seen)
        layer.finish_step(1.0)
        assert (layer.table == 0).all()
        assert layer.trained.grad is None


def test_while_it_is_trained_every_row_can_be_read():
    """As scoring does, on text with tokens that are not trained."""
    model = toy_encoder().eval()
    layer = model.bert.embeddings.word_embeddings
    start, other = layer.weight.detach().clone(), torch.arange(1, 60, 2)
    with trained_rows(model, TEXT.numpy, is_on=True), torch.no_grad():
        layer.trained += 1.0
        layer.trained.grad = layer.table
        layer.finish_step(0.5)
        layer.finish_step(0.5)  # without a gradient, as of a step that rests: no decay
        assert torch.equal(layer(TEXT), start[TEXT] + 1.0)
        assert torch.allclose(layer(other), start[other] / 2)
        everything = layer(torch.arange(60)[None])
        state = copy.deepcopy(model.state_dict())
    assert torch.equal(layer.weight[None, :60], everything)
    again = toy_encoder()
    with trained_rows(again, TEXT.numpy, is_on=True), torch.no_grad():  # goes on from a checkpoint
        again.load_state_dict(state)
        assert torch.equal(again.bert.embeddings.word_embeddings(torch.arange(60)[None]), everything)


def test_an_error_leaves_an_ordinary_layer():
    model = toy_encoder()
    before = copy.deepcopy(model.state_dict())
    for tokens, wrong in ((TEXT, "in the block"), (torch.tensor([1, 60]), "before it")):
        with pytest.raises((KeyError, IndexError)), trained_rows(model, tokens.numpy, is_on=True):
            raise KeyError(wrong)
        assert type(model.bert.embeddings.word_embeddings) is nn.Embedding
        assert same(model.state_dict(), before)
        assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_is_not_trained_is_in_no_checkpoint():
    model = toy_encoder()
    names = set(model.state_dict())
    with trained_rows(model, TEXT.numpy, is_on=True) as (layer,):
        inside = model.state_dict()
        assert "bert.embeddings.word_embeddings.weight" not in inside
        assert set(inside) - names == {f"bert.embeddings.word_embeddings.{name}" for name in ("trained", "decay")}
        assert any(parameter is layer.trained for parameter in model.parameters())
        assert not any(parameter is layer.weight for parameter in model.parameters())


def test_text_that_was_not_announced_is_not_trained_on():
    model = toy_encoder()
    with trained_rows(model, TEXT.numpy, is_on=True), pytest.raises(IndexError):
        model(input_ids=torch.tensor([[1, 2]]))


def test_layers_are_ordinary_again_afterwards():
    model = toy_encoder()
    layer = model.bert.embeddings.word_embeddings
    names, before = list(vars(layer)), copy.deepcopy(model.state_dict())
    with trained_rows(model, TEXT.numpy, is_on=True):
        assert type(layer) is RowEmbedding
        model(input_ids=batches()[0]).logits.sum().backward()
    assert type(layer) is nn.Embedding
    assert list(vars(layer)) == names
    assert layer.weight.requires_grad
    assert list(model.state_dict()) == list(before)
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
    with trained_rows(Tables(nn.Embedding(60, 3)), TEXT.numpy, is_on=True) as layers:
        assert len(layers) == 1
    with trained_rows(Tables(nn.Embedding(60, 3, **change)), TEXT.numpy, is_on=True) as layers:
        assert not layers


def test_frozen_and_unread_tables_get_nothing():
    model = toy_encoder()
    model.bert.embeddings.requires_grad_(False)
    with trained_rows(model, TEXT.numpy, is_on=True) as layers:
        assert not layers
    model.requires_grad_(True)
    with trained_rows(model, TEXT.numpy, is_on=True) as (layer,), torch.no_grad():
        model(input_ids=batches()[0])
        assert layer.looked_up().tolist() == []
        assert clip_gradients(list(model.parameters()), [layer], 1.0) == 0


def test_tied_weights_are_left_alone():
    one, other = nn.Embedding(60, 3), nn.Linear(3, 60, bias=False)
    other.weight = one.weight
    with trained_rows(Tables(one, other), TEXT.numpy, is_on=True) as layers:
        assert not layers


def test_tables_that_are_not_of_tokens_are_left_alone():
    model = toy_encoder()
    with trained_rows(model, TEXT.numpy, is_on=True) as layers:
        assert layers == [model.bert.embeddings.word_embeddings]
        assert type(model.bert.embeddings.position_embeddings) is nn.Embedding
    assert model.bert.embeddings.position_embeddings.num_embeddings >= 60


def test_training_row_by_row_is_training(tmp_path, monkeypatch):
    """Through the loop, over several micro-batches and steps."""
    states = []
    for least in (60, 61):
        monkeypatch.setattr(embedding, "LEAST_ROWS", least)
        student, seen = toy_encoder(**SILENT), set()
        layer = student.bert.embeddings.word_embeddings
        layer.register_forward_hook(lambda layer, *_, seen=seen: seen.add(type(layer)))
        stage = hard_stage(batch_size=16, accumulate=2, max_grad_norm=0.1, weight_decay=1.0)
        context = training_context(tmp_path / str(least))
        train_stages((stage,), student, toy_split(), lambda: 0.0, context, seed=1)
        assert RowEmbedding in seen if least == 60 else seen == {nn.Embedding}
        states.append(weights(student))
    for name, tensor in states[0].items():
        if not name.endswith("key.bias"):  # their gradient is zero but for rounding, of which Adam makes steps
            assert torch.allclose(tensor, states[1][name], atol=1e-5), name
