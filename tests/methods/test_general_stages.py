"""What the methods learn from masked text: where there is nothing left to learn, what is trained, what is not."""

import copy
import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from tests.masked_text import MaskedText, masked_encoder
from tests.tiny_models import FAMILIES, make_tokenizer
from tests.toy_splits import toy_rows
from tests.training.toy_stage import SILENT, train_stages, training_context, weights
from torch import nn

from stillhouse.features import NOTHING
from stillhouse.methods import load_method, method_names
from stillhouse.models.adapter import dimensions
from stillhouse.models.forward import forward
from stillhouse.students.build import build_student
from stillhouse.students.copy_layers import copy_layers
from stillhouse.task import MASKED_LM

GENERAL = [name for name in method_names() if load_method(name).general_stages]
TAUGHT = [name for name in GENERAL if load_method(name).uses_teacher]
REFUSED = {("tinybert", "modernbert")}  # see `test_families`


def text(family="bert"):
    return MaskedText(toy_rows("classification", family), mask=make_tokenizer(family).mask_token_id)


def general(name, student, teacher, **settings):
    (stage,) = load_method(name).model_validate(settings).general(dimensions(student.config), dimensions(teacher.config))
    return stage


def losses(stage, student, teacher):
    """Every term on a batch, with a gradient."""
    batch = text().batch(np.arange(5))
    side = stage.side.build(student, teacher, stage.student_needs)
    ours, theirs = side(batch), forward(teacher, batch.learner, stage.teacher_needs or NOTHING)
    return {objective.name: objective(ours, theirs, batch) for objective in stage.objectives}


def cut(teacher, layers):
    """The teacher of some of its layers alone, 1-based."""
    short = copy.deepcopy(teacher)
    short.bert.encoder.layer = nn.ModuleList(short.bert.encoder.layer[layer - 1] for layer in layers)
    short.config.num_hidden_layers = len(layers)
    for number, layer in enumerate(short.bert.encoder.layer):
        layer.attention.self.layer_idx = number
    return short


@pytest.mark.parametrize("name", TAUGHT)
def test_a_copy_has_nothing_to_learn_from_its_teacher_cut_to_the_same_layers(name):
    """The maps of tinybert start as the identity."""
    teacher, student = masked_encoder(layers=4, **SILENT), masked_encoder(seed=1, layers=2, **SILENT)
    copied = load_method(name).model_validate({}).copied_layers(2, 4)
    copy_layers(student, teacher, copied, with_head=True)
    short = cut(teacher, copied)
    equal, other = (losses(general(name, student, one), student, one) for one in (short, teacher))
    found = {term: loss.item() for term, loss in equal.items()}
    if name == "distilbert":
        assert found.pop("masked_lm") > 0.1  # what stood there it does not know
    assert found == dict.fromkeys(found, pytest.approx(0, abs=1e-6))
    assert max(other[term].item() for term in found) > 1e-3


@pytest.mark.parametrize("name", ["minilm", "minilmv2"])
def test_behind_the_last_queries_keys_and_values_there_is_no_gradient(name):
    teacher, student = masked_encoder(layers=4, **SILENT), masked_encoder(seed=1, layers=2, **SILENT)
    sum(losses(general(name, student, teacher), student, teacher).values()).backward()
    reached = {key for key, parameter in student.named_parameters() if parameter.grad is not None}
    last, below = (f"bert.encoder.layer.{number}." for number in (1, 0))
    assert {key for key in reached if key.startswith(last)} == {
        f"{last}attention.self.{part}.{kind}" for part in ("query", "key", "value") for kind in ("weight", "bias")
    }
    assert {key for key, _ in student.named_parameters() if key.startswith(below)} <= reached
    assert not any(key.startswith("cls.predictions.transform") for key in reached)


def test_every_term_of_distilbert_reaches_the_student():
    teacher, student = masked_encoder(layers=4, **SILENT), masked_encoder(seed=1, layers=2, hidden=16, **SILENT)
    stage = general("distilbert", student, teacher, projection=True)
    for term, loss in losses(stage, student, teacher).items():
        student.zero_grad()
        loss.backward(retain_graph=True)
        assert student.bert.encoder.layer[1].output.dense.weight.grad.abs().max() > 1e-6, term
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize("family", [*FAMILIES, "mobilebert"])
@pytest.mark.parametrize("name", GENERAL)
def test_a_student_of_every_family_learns(name, family, tmp_path):
    if (name, family) in REFUSED:
        pytest.skip("refused, as on a task")
    teacher, rule = masked_encoder(family, layers=4), load_method(name).model_validate({}).copied_layers
    student, _ = build_student("half", teacher=teacher, teacher_checkpoint_name=family, head=MASKED_LM, layers_rule=rule)
    before = weights(student)
    stage = general(name, student, teacher)
    config = stage.config.model_copy(update={"steps": 2, "batch_size": 4, "learning_rate": 1e-3})
    stage = dataclasses.replace(stage, config=config, evaluate_every=2)
    context = training_context(tmp_path, log_every=1)
    (result,) = train_stages([stage], student, text(family), lambda: 0.0, context, teacher=teacher, seed=0)
    assert result.steps == 2
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    found = [line["objectives"] for line in logged if "objectives" in line]
    assert found
    assert all(terms.keys() == {objective.name for objective in stage.objectives} for terms in found)
    assert all(math.isfinite(loss) for terms in found for loss in terms.values())
    assert all(sum(terms.values()) > 0 for terms in found)
    assert student.state_dict().keys() == before.keys()
    assert any(not torch.equal(tensor, before[key]) for key, tensor in student.state_dict().items())
