"""The loop with stages that look inside the teacher: micro-batches, the teacher's peace, what is left behind."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.killed import Killed
from tests.methods.stage_names import stage_names
from tests.training.toy_stage import SILENT, same, toy_encoder, toy_split, train_stages, training_context, unwatched, weights

from stillhouse.config import StageConfig
from stillhouse.methods import load_method, method_names
from stillhouse.models.adapter import dimensions
from stillhouse.models.forward import forward
from stillhouse.task import load_kind

CLASSES = load_kind("classification")
OUTSIDE = {"finetune", "logit"}  # look at labels and logits alone, as the stages of test_trainer do
METHODS = [name for name in method_names() if name not in OUTSIDE]


def train(name, folder, seed=0, width=24, dropout=SILENT, report=unwatched, stages=None, **settings):
    """Trains a student with all stages of a method; also gives the teacher and the results."""
    teacher, student = toy_encoder(1, layers=4, **dropout), toy_encoder(2, hidden=width, **dropout)
    method = load_method(name).model_validate({"projection": True} if name == "pkd" and width != 24 else {})
    config = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, **settings}
    configs = {stage: StageConfig(**config, select_on=getattr(method.stages, stage).select_on) for stage in stage_names(name)}
    method = method.model_copy(update={"stages": type(method.stages)(**configs)})
    plan = method.plan(CLASSES, dimensions(student.config), dimensions(teacher.config))
    before = weights(teacher)
    results = train_stages(
        plan[:stages], student, toy_split(), lambda: 0.0, training_context(folder, report=report), teacher=teacher, seed=seed
    )
    assert same(before, teacher.state_dict())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in student.parameters())
    return student, results


@pytest.mark.parametrize("name", METHODS)
def test_micro_batches_change_nothing(name, tmp_path):
    whole, _ = train(name, tmp_path / "whole")
    cut, _ = train(name, tmp_path / "cut", accumulate=3)
    for key, tensor in whole.state_dict().items():
        # Sums in another order, seven steps of AdamW later.
        assert torch.allclose(tensor, cut.state_dict()[key], atol=2e-4), key


@pytest.mark.parametrize("name", method_names())
def test_a_seed_repeats_its_numbers_and_another_does_not(name, tmp_path):
    one, other, third = (train(name, tmp_path / str(run), seed=seed)[0].state_dict() for run, seed in enumerate((0, 0, 1)))
    assert same(one, other)
    assert not same(one, third)


@pytest.mark.parametrize("name", ["tinybert", "minilm", "minilmv2"])
def test_a_stage_without_a_head_scores_nothing_and_leaves_the_head_alone(name, tmp_path):
    start = toy_encoder(2, **SILENT).state_dict()
    student, (result,) = train(name, tmp_path, stages=1)
    assert result.score is None
    assert result.step == result.steps
    assert '"selection"' not in (tmp_path / "log.jsonl").read_text()
    moved = {key for key, tensor in student.state_dict().items() if not torch.equal(tensor, start[key])}
    assert "bert.encoder.layer.0.output.dense.weight" in moved
    assert not any(key.startswith(("classifier", "bert.pooler")) for key in moved)
    if name != "tinybert":
        # Nothing behind the queries, keys and values of the last layer is trained: its output, feed-forward and norms.
        last = {key for key in moved if key.startswith("bert.encoder.layer.1.")}
        assert last
        assert all(".attention.self." in key for key in last)


@pytest.mark.parametrize("name", ["pkd", "tinybert", "minilmv2"])
def test_students_of_another_width_learn_and_keep_no_maps(name, tmp_path):
    student, _ = train(name, tmp_path, width=16)
    plain = toy_encoder(2, hidden=16, **SILENT)
    assert list(student.state_dict()) == list(plain.state_dict())
    assert student.config.hidden_size == 16


@pytest.mark.parametrize(("name", "fatal"), [(name, stage) for name in METHODS for stage in stage_names(name)])
def test_a_killed_stage_ends_with_the_same_weights(name, fatal, tmp_path):
    whole, _ = train(name, tmp_path / "whole", dropout={})

    def die(step, steps, stage):
        if (stage, step) == (fatal, 4):
            raise Killed

    with pytest.raises(Killed):
        train(name, tmp_path / "part", dropout={}, report=die)
    torch.manual_seed(77)
    rest, _ = train(name, tmp_path / "part", dropout={})
    assert same(whole.state_dict(), rest.state_dict())


@pytest.mark.parametrize(("name", "moves"), [("minilm", False), ("minilmv2", True)])
def test_biases_of_keys_move_where_relations_of_keys_are_learnt(name, moves):
    """A bias adds the same to all scores of a query, which softmax does not see, unless keys are compared with keys."""
    teacher, student = toy_encoder(1, layers=4, **SILENT), toy_encoder(2, layers=3, **SILENT)
    stage = load_method(name).model_validate({}).plan(CLASSES, dimensions(student.config), dimensions(teacher.config))[0]
    batch = toy_split().batch(np.arange(16))
    features = [
        forward(model, batch.learner, needs)
        for model, needs in ((student, stage.student_needs), (teacher, stage.teacher_needs))
    ]
    stage.objectives[0](*features, batch).backward()
    sizes = [layer.attention.self.key.bias.grad.abs().max().item() for layer in student.bert.encoder.layer]
    others = [layer.attention.self.query.bias.grad.abs().max().item() for layer in student.bert.encoder.layer]
    assert min(others) > 1e-5
    assert max(sizes[:2]) < 1e-4 * max(others)
    assert (sizes[2] > 1e-4) is moves
    assert moves or sizes[2] < 1e-4 * max(others)


@pytest.mark.parametrize("settings", [{}, {"per_example": True}, {"compat": "official"}])
@pytest.mark.parametrize("trains_head", [False, True])
def test_theseus_moves_its_successor_alone(settings, trains_head, tmp_path):
    """In both stages, unless the second is told to train embeddings and head, too."""
    teacher, student = toy_encoder(1, layers=4, **SILENT), toy_encoder(2, **SILENT)
    method = load_method("theseus").model_validate({**settings, "train_head": trains_head, "base": 0.5, "schedule": "constant"})
    plan = method.plan(CLASSES, dimensions(student.config), dimensions(teacher.config))
    states = [weights(student)]
    for number, stage in enumerate(plan):
        config = StageConfig(epochs=1, batch_size=16, learning_rate=1e-3, select_on="last")
        stages = (dataclasses.replace(stage, config=config),)
        train_stages(
            stages, student, toy_split(), lambda: 0.0, training_context(tmp_path / str(number)), teacher=teacher, seed=0
        )
        states.append(weights(student))
    for number, (before, after) in enumerate(pairwise(states)):
        moved = {key for key in before if not torch.equal(before[key], after[key])}
        others = {key for key in moved if ".encoder.layer." not in key}
        assert len(moved) - len(others) == sum(".encoder.layer." in key for key in before)
        assert bool(others) is (trains_head and number == 1)
