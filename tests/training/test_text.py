"""Stages on text that is no split of a task, and that is never twice the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.killed import Killed
from tests.training.toy_stage import (
    SILENT,
    TASK,
    hard_stage,
    same,
    toy_encoder,
    toy_split,
    train_stages,
    training_context,
    weights,
)

from stillhouse.config import TeacherConfig
from stillhouse.features import Feature
from stillhouse.objectives.hidden_mse import HiddenMSE
from stillhouse.objectives.soft_labels import SoftLabels
from stillhouse.teachers.source import OnlineTeacher, Source, build_teacher

MASK, NEVER = 50, 51  # ids that the toy rows do not have
MASKS = 7  # a stream


class Masked:
    """Toy rows of which some tokens are hidden, others in every step. It is a `Text` by what it has alone."""

    task = TASK
    repeats = False

    def __init__(self):
        self.rows = toy_split()
        self.steps = []

    @property
    def lengths(self):
        return self.rows.lengths

    def batch(self, rows, step=None):
        batch = self.rows.batch(rows)
        self.steps.append(step.number)
        assert set(rows) <= set(step.rows)
        tokens = batch.learner.ids.shape[1]
        hidden = step.random(MASKS).random((len(self.lengths), self.lengths.max()))[rows, :tokens] < 0.3
        ids = batch.learner.ids.masked_fill(torch.from_numpy(hidden) & batch.learner.mask.bool(), MASK)
        return replace(batch, views={0: replace(batch.learner, ids=ids)})

    def counts(self, rows, step=None):
        return self.rows.counts(rows)

    def tokens(self):
        return np.union1d(self.rows.tokens(), MASK)

    def encoded(self, view):
        raise AssertionError("there is nothing that could be found again")

    def fingerprint(self):
        return f"masked {self.rows.fingerprint()}"


def plan(**config):
    options = {"epochs": 1, "select_on": "none", "weight_decay": 0.0, **config}
    hidden = replace(hard_stage(**options), name="hidden", objectives=(HiddenMSE(layers=((0, 0), (2, 2))),))
    return hidden, replace(hard_stage(**options), name="soft", objectives=(SoftLabels(),))


def train(folder, text, stages, report=None):
    student = toy_encoder(2, **SILENT)
    source = Source(TeacherConfig(features="store", store=str(folder / "store")), "toy")
    context = training_context(folder) if report is None else training_context(folder, report=report)
    train_stages(stages, student, text, lambda: 0.0, context, teacher=toy_encoder(1, **SILENT), source=source, seed=3)
    return student


def test_two_stages_train_on_it_and_nothing_is_kept(tmp_path):
    text, before = Masked(), toy_encoder(2, **SILENT).get_input_embeddings().weight
    after = train(tmp_path, text, plan()).get_input_embeddings().weight
    assert text.steps == [*range(7), *range(7)]  # 97 rows, 16 a step, once in each stage
    assert not torch.equal(after[MASK], before[MASK])
    assert torch.equal(after[NEVER], before[NEVER])
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("text", [Masked(), replace(toy_split(), width=16)], ids=["never the same", "filled up"])
def test_its_teacher_runs_beside_the_student(tmp_path, text):
    """Of rows that are filled up, since a store keeps real tokens alone."""
    config = TeacherConfig(features="store", store=str(tmp_path / "store"))
    needs, accelerator = frozenset({Feature("hidden_state", 2)}), training_context(tmp_path).accelerator
    built = build_teacher(toy_encoder(1), text, needs, Source(config, "toy"), epochs=3.0, accelerator=accelerator)
    assert isinstance(built, OnlineTeacher)


def test_what_is_hidden_is_the_same_after_a_resume(tmp_path):
    def die(step, steps, name):
        if (name, step) == ("soft", 4):
            raise Killed

    whole = train(tmp_path / "whole", Masked(), plan())
    with pytest.raises(Killed):
        train(tmp_path / "part", Masked(), plan(), report=die)
    rest = Masked()
    again = train(tmp_path / "part", rest, plan())
    assert same(weights(whole), weights(again))
    assert rest.steps == [2, 3, 4, 5, 6]  # its last checkpoint was written after two steps


def test_what_is_hidden_is_the_same_however_a_step_is_cut(tmp_path):
    one, other = (weights(train(tmp_path / str(parts), Masked(), plan(accumulate=parts))) for parts in (1, 4))
    for name, tensor in one.items():
        assert torch.allclose(tensor, other[name], atol=1e-5), name


def test_its_tokens_are_asked_for_only_where_rows_of_the_embedding_are_trained_apart(tmp_path, monkeypatch):
    asked = []
    tokens = Masked.tokens
    monkeypatch.setattr(Masked, "tokens", lambda text: asked.append(text) or tokens(text))
    train(tmp_path / "apart", Masked(), plan())
    assert len(asked) == 2  # once in each stage
    monkeypatch.setattr("stillhouse.speed.embedding.LEAST_ROWS", 1000)
    train(tmp_path / "whole", Masked(), plan())
    assert len(asked) == 2
