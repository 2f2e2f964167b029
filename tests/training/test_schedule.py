"""Table tests of the learning rate, and the optimiser's groups."""

import pytest
import torch
from tests.tiny_models import make_tiny_checkpoint
from transformers import AutoModelForSequenceClassification

from stillhouse.config import StageConfig
from stillhouse.models.adapter import head_parameters
from stillhouse.training.optimizer import build_optimizer
from stillhouse.training.schedule import learning_rate_factor


@pytest.mark.parametrize(
    ("step", "factor"),
    # 20 steps, 10 % warm-up: two steps of a third each, then 1 at step 2 falling to 0 at step 20.
    [(0, 1 / 3), (1, 2 / 3), (2, 1.0), (11, 0.5), (19, 1 / 18), (20, 0.0)],
)
def test_linear_warm_up_and_decay(step, factor):
    assert learning_rate_factor(step, 20, StageConfig(warmup=0.1)) == pytest.approx(factor)


def test_constant_after_warm_up():
    config = StageConfig(warmup=0.5, decay="constant")
    assert [learning_rate_factor(step, 4, config) for step in range(4)] == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])


def test_no_warm_up_starts_at_the_peak():
    assert learning_rate_factor(0, 7, StageConfig(warmup=0.0)) == 1.0


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
