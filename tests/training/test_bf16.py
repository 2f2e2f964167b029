"""Training under bf16 autocast: what losses are made of, and where no gradient goes."""

import json
from typing import ClassVar

import pytest
import torch
from tests.features import attended, needing
from tests.training.toy_stage import SILENT, toy_encoder, toy_split, train_stages, training_context

from stillhouse.config import StageConfig
from stillhouse.method import Stage
from stillhouse.methods import load_method, method_names
from stillhouse.models.adapter import dimensions
from stillhouse.objective import Objective
from stillhouse.task import load_kind

TAUGHT = [name for name in method_names() if load_method(name).uses_teacher]


class Probe(Objective):
    """Writes down how numbers are multiplied where losses are computed, and that there is a gradient."""

    name: ClassVar[str] = "probe"
    seen: ClassVar[list] = []

    @property
    def student_needs(self):
        return needing(attentions=frozenset({2}))

    @property
    def teacher_needs(self):
        return self.student_needs

    def __call__(self, student, teacher, batch):
        ours, theirs = attended(student, 2), attended(teacher, 2)
        scores = ours.scores()
        assert not theirs.query.requires_grad
        self.seen.append((ours.query.dtype, scores.dtype, scores.requires_grad))
        return (scores - theirs.scores()).square().mean()


def test_features_are_bf16_and_losses_float32(tmp_path):
    Probe.seen.clear()
    stage = Stage("probe", (Probe(),), StageConfig(epochs=1, batch_size=32, select_on="none"))
    context = training_context(tmp_path, precision="bf16")
    student = toy_encoder(2, **SILENT)
    before = student.bert.encoder.layer[1].attention.self.query.weight.clone()
    train_stages((stage,), student, toy_split(), lambda: 0.0, context, teacher=toy_encoder(1, **SILENT), seed=0)
    assert len(Probe.seen) == 4
    assert set(Probe.seen) == {(torch.bfloat16, torch.float32, True)}
    assert not torch.equal(before, student.bert.encoder.layer[1].attention.self.query.weight)


@pytest.mark.parametrize("name", TAUGHT)
def test_a_method_learns_the_same_as_in_float32(name, tmp_path):
    losses = {}
    for precision in ("fp32", "bf16"):
        teacher, student = toy_encoder(1, layers=4, **SILENT), toy_encoder(2, **SILENT)
        method = load_method(name).model_validate({})
        stage = method.plan(load_kind("classification"), dimensions(student.config), dimensions(teacher.config))[0]
        config = StageConfig(epochs=1, batch_size=97, learning_rate=1e-4, select_on="none")
        log = tmp_path / precision
        stage = Stage(stage.name, stage.objectives, config, side=stage.side)
        train_stages(
            (stage,), student, toy_split(), lambda: 0.0, training_context(log, precision=precision), teacher=teacher, seed=0
        )
        losses[precision] = first_objectives(log / "log.jsonl")
    assert losses["bf16"].keys() == losses["fp32"].keys()
    for objective, value in losses["fp32"].items():
        # bf16 keeps 8 bits of a feature; a product made in bf16 again would be off by far more.
        assert losses["bf16"][objective] == pytest.approx(value, rel=0.05, abs=5e-3)


def first_objectives(log):
    return json.loads(log.read_text(encoding="utf-8").splitlines()[0])["objectives"]
