"""The optimiser's groups: what is decayed, and what has a learning rate of its own."""

import torch
from tests.tiny_models import make_tiny_checkpoint
from transformers import AutoModelForSequenceClassification

from stillhouse.config import StageConfig
from stillhouse.models.adapter import head_parameters
from stillhouse.training.optimizer import build_optimizer


def test_only_matrices_are_decayed():
    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.LayerNorm(5))
    module[0].weight.requires_grad_(True)
    frozen = torch.nn.Linear(2, 2).requires_grad_(False)
    optimizer = build_optimizer(torch.nn.ModuleList([module, frozen]), StageConfig(weight_decay=0.3))
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
    groups = build_optimizer(model, StageConfig(learning_rate=1e-4, head_learning_rate=1e-3), head).param_groups
    assert [(group["peak"], group["weight_decay"]) for group in groups] == [(1e-4, 0.01), (1e-4, 0), (1e-3, 0.01), (1e-3, 0)]
    assert [group["params"] for group in groups[2:]] == [[head[0]], [head[1]]]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
