"""The optimiser's groups: what is decayed, and what has a learning rate of its own."""

import torch
from tests.tiny_models import make_tiny_checkpoint
from transformers import AutoModelForSequenceClassification

from stillhouse.config import StageConfig
from stillhouse.method import Trained
from stillhouse.models.adapter import head_parameters, layer_stack
from stillhouse.training.optimizer import build_optimizer, let_rest


def test_only_matrices_are_decayed():
    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.LayerNorm(5))
    module[0].weight.requires_grad_(True)
    frozen = torch.nn.Linear(2, 2).requires_grad_(False)
    both = torch.nn.ModuleList([module, frozen])
    optimizer = build_optimizer(both, StageConfig(weight_decay=0.3), both, Trained())
    decayed, plain = optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert [tuple(parameter.shape) for parameter in decayed["params"]] == [(5, 3)]
    assert sorted(tuple(parameter.shape) for parameter in plain["params"]) == [(5,), (5,), (5,)]
    assert decayed["peak"] == plain["peak"] == StageConfig().learning_rate


def test_the_head_may_have_a_learning_rate_of_its_own(tmp_path):
    checkpoint = make_tiny_checkpoint(tmp_path / "bare", "bert")
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3)
    head = head_parameters(model)
    assert [tuple(parameter.shape) for parameter in head] == [(3, model.config.hidden_size), (3,)]
    config = StageConfig(learning_rate=1e-4, head_learning_rate=1e-3)
    groups = build_optimizer(model, config, model, Trained()).param_groups
    assert [(group["peak"], group["weight_decay"]) for group in groups] == [(1e-4, 0.01), (1e-4, 0), (1e-3, 0.01), (1e-3, 0)]
    assert [group["params"] for group in groups[2:]] == [[head[0]], [head[1]]]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_every_part_has_its_factor_and_what_has_none_rests(tmp_path):
    checkpoint = make_tiny_checkpoint(tmp_path / "bare", "bert", layers=3)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3)
    trained = Trained(embeddings=0.0, layers=(0.5, 1.0, 0.0), head=2.0)
    let_rest(model, trained)
    groups = build_optimizer(model, StageConfig(learning_rate=1e-3), model, trained).param_groups
    peaks = {id(parameter): group["peak"] for group in groups for parameter in group["params"]}
    layers = layer_stack(model)
    for parts, factor in ((layers[0], 0.5), (layers[1], 1.0), (model.classifier, 2.0)):
        assert {peaks[id(parameter)] for parameter in parts.parameters()} == {1e-3 * factor}
    resting = [*layers[2].parameters(), *model.bert.embeddings.parameters(), *model.bert.pooler.parameters()]
    assert not any(parameter.requires_grad or id(parameter) in peaks for parameter in resting)
    assert len(peaks) + len(resting) == len(list(model.parameters()))
