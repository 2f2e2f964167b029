"""The loop on a tiny encoder: resume, selection, accumulation, divergence."""

import json
from typing import ClassVar

import numpy as np
import pytest
import torch
from tests.killed import Killed
from tests.tiny_models import tiny_config
from tests.training.toy_stage import (
    TASK,
    VOCABULARY,
    hard_stage,
    same,
    toy_encoder,
    toy_split,
    train_stages,
    training_context,
    weights,
)

from stillhouse.config import StageConfig, TeacherConfig
from stillhouse.errors import TrainingDiverged, UserError
from stillhouse.method import Stage, Trained
from stillhouse.models.adapter import layer_stack
from stillhouse.models.loading import build_encoder
from stillhouse.objectives.hard_labels import HardLabels
from stillhouse.objectives.soft_labels import SoftLabels
from stillhouse.speed import embedding
from stillhouse.students.replacing import Replacing
from stillhouse.teachers.source import Source
from stillhouse.training import trainer as trainer_module
from stillhouse.training.trainer import Trainer, stage_steps


def test_steps_come_from_epochs_or_are_given():
    assert stage_steps(hard_stage(epochs=2.5), 97) == (18, 7)
    stage = Stage("x", (), StageConfig(epochs=3, steps=11), evaluate_every=4)
    assert stage_steps(stage, 97) == (11, 4)
    # Few rows: 7 steps an epoch, 14 in two epochs; 30 are taken, scored twice as two epochs would be.
    assert stage_steps(hard_stage(epochs=2, least_steps=30), 97) == (30, 15)
    assert stage_steps(hard_stage(epochs=5, least_steps=30), 97) == (35, 7)


def test_the_loss_falls_and_the_same_seed_gives_the_same_weights(tmp_path):
    states = []
    for run in ("one", "two"):
        encoder = toy_encoder()
        (result,) = train_stages(
            (hard_stage(epochs=8, learning_rate=5e-3),),
            encoder,
            toy_split(),
            lambda: 0.0,
            training_context(tmp_path / run),
            seed=3,
        )
        states.append(weights(encoder))
        lines = [json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        losses = [line["loss"] for line in lines if "loss" in line]
        assert np.median(losses[-9:]) < np.median(losses[:9]) - 0.1
        assert result.steps == 56
        assert result.examples == 97 * 8
    assert same(*states)


@pytest.mark.parametrize("killed_at", [1, 5, 9])
def test_a_killed_run_ends_with_the_same_weights_and_the_same_log(tmp_path, killed_at):
    stage = hard_stage(epochs=2)
    scores = iter([0.3, 0.7])
    whole = toy_encoder()
    train_stages((stage,), whole, toy_split(), lambda: next(scores), training_context(tmp_path / "whole"), seed=1)

    def die(step, steps, name):
        if step == killed_at:
            raise Killed

    scores = iter([0.3, 0.7] if killed_at < 7 else [0.3])
    with pytest.raises(Killed):
        train_stages(
            (stage,), toy_encoder(), toy_split(), lambda: next(scores), training_context(tmp_path / "part", report=die), seed=1
        )
    torch.manual_seed(99)
    rest = toy_encoder()
    later = iter([0.3, 0.7] if killed_at < 7 else [0.7])
    train_stages((stage,), rest, toy_split(), lambda: next(later), training_context(tmp_path / "part"), seed=1)
    assert same(weights(whole), weights(rest))

    def steps(folder):
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        return [{name: value for name, value in line.items() if name != "examples_per_second"} for line in lines]

    assert steps(tmp_path / "whole") == steps(tmp_path / "part")


def test_a_finished_stage_is_not_run_again(tmp_path):
    encoder = toy_encoder()
    train_stages((hard_stage(),), encoder, toy_split(), lambda: 0.0, training_context(tmp_path), seed=1)
    trained = weights(encoder)

    def never(step, steps, name):
        raise Killed

    again = toy_encoder()
    (result,) = train_stages((hard_stage(),), again, toy_split(), lambda: 0.0, training_context(tmp_path, report=never), seed=1)
    assert same(trained, weights(again))
    assert result.steps == 14


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    train_stages((hard_stage(),), toy_encoder(), toy_split(), lambda: 0.0, training_context(tmp_path), seed=1)
    with pytest.raises(UserError, match="belongs to other data"):
        train_stages((hard_stage(),), toy_encoder(), toy_split(seed=5), lambda: 0.0, training_context(tmp_path), seed=1)


def test_a_checkpoint_of_another_kind_of_machine_is_refused(tmp_path, monkeypatch):
    """Where all embeddings are trained, as by several processes and on a GPU, it has other things in it."""

    def die(step, steps, name):
        raise Killed

    with pytest.raises(Killed):
        train_stages((hard_stage(),), toy_encoder(), toy_split(), lambda: 0.0, training_context(tmp_path, report=die), seed=1)
    monkeypatch.setattr(embedding, "LEAST_ROWS", 10**6)
    with pytest.raises(UserError, match="another kind of device"):
        train_stages((hard_stage(),), toy_encoder(), toy_split(), lambda: 0.0, training_context(tmp_path), seed=1)


@pytest.mark.parametrize(("select_on", "kept"), [("selection", 0), ("last", 2)])
def test_the_best_state_on_the_selection_rows_is_kept_or_the_last(tmp_path, select_on, kept):
    scores = [0.9, 0.4, 0.2]
    states = []
    encoder = toy_encoder()

    def score():
        with torch.no_grad():
            embeddings = encoder.get_input_embeddings()(torch.arange(VOCABULARY))
        states.append(weights(encoder) | {"bert.embeddings.word_embeddings.weight": embeddings})
        return scores[len(states) - 1]

    stage = hard_stage(epochs=3, select_on=select_on)
    (result,) = train_stages((stage,), encoder, toy_split(), score, training_context(tmp_path), seed=1)
    assert (result.score, result.step) == (scores[kept], 7 * (kept + 1))
    assert same(weights(encoder), states[kept])
    assert not same(states[0], states[2])


def test_a_tie_goes_to_the_later_state(tmp_path):
    (result,) = train_stages((hard_stage(),), toy_encoder(), toy_split(), lambda: 0.5, training_context(tmp_path), seed=1)
    assert result.step == 14


def test_accumulation_does_not_change_the_result(tmp_path):
    results = {}
    for parts in (1, 3):
        torch.manual_seed(0)
        config = tiny_config("bert", layers=2, hidden=24, heads=2, vocab_size=VOCABULARY)
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
        encoder = build_encoder(config, TASK.head)
        train_stages(
            (hard_stage(epochs=1, accumulate=parts, max_grad_norm=0.1),),
            encoder,
            toy_split(),
            lambda: 0.0,
            training_context(tmp_path / str(parts)),
            seed=1,
        )
        results[parts] = weights(encoder)
    for name, tensor in results[1].items():
        assert torch.allclose(tensor, results[3][name], atol=2e-5), name


class Exploding(HardLabels):
    """Finite for five calls, then NaN."""

    name: ClassVar[str] = "exploding"
    _calls: ClassVar[list[int]] = []

    def __call__(self, student, teacher, batch):
        self._calls.append(1)
        return super().__call__(student, teacher, batch) * (float("nan") if len(self._calls) > 5 else 1.0)


def test_a_nan_loss_names_stage_step_and_objective_and_keeps_the_last_good_state(tmp_path):
    objectives = (HardLabels(), Exploding())
    stage = Stage("distil", objectives, StageConfig(epochs=2, batch_size=16))
    with pytest.raises(TrainingDiverged, match=r"stage 'distil', step 6: objective 'exploding' is nan") as caught:
        train_stages(
            (stage,), toy_encoder(), toy_split(), lambda: 0.0, training_context(tmp_path, checkpoint_seconds=0.0), seed=1
        )
    assert caught.value.exit_status == 1
    checkpoint = torch.load(tmp_path / "checkpoints" / "distil" / "checkpoint.pt", weights_only=True)
    assert checkpoint["progress"]["step"] == 4
    assert all(torch.isfinite(tensor).all() for tensor in checkpoint["module"].values())


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    encoder = toy_encoder()

    def poison(step, steps, name):
        if step == 3:
            with torch.no_grad():
                encoder.classifier.weight[0, 0] = float("inf")

    stage = hard_stage(max_grad_norm=0.0)
    with pytest.raises(TrainingDiverged, match=r"(objective|weights)"):
        train_stages((stage,), encoder, toy_split(), lambda: 0.0, training_context(tmp_path, report=poison), seed=1)
    checkpoint = torch.load(tmp_path / "checkpoints" / "distil" / "checkpoint.pt", weights_only=True)
    assert checkpoint["progress"]["step"] == 2


def test_the_teacher_is_never_changed(tmp_path):
    teacher = toy_encoder(seed=7)
    before = weights(teacher)
    objectives = (HardLabels(weight=0.5), SoftLabels(weight=0.5))
    stage = Stage("distil", objectives, StageConfig(epochs=1, batch_size=16))
    for features in ("auto", "online"):
        student = toy_encoder()
        teacher.train()
        train_stages(
            (stage,),
            student,
            toy_split(),
            lambda: 0.0,
            training_context(tmp_path / features),
            teacher=teacher,
            source=Source(TeacherConfig(features=features)),
            seed=1,
        )
        assert same(before, weights(teacher))
        assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize("features", ["auto", "online"])
def test_the_teacher_answers_without_dropout_whatever_mode_it_was_in(tmp_path, features):
    stage = Stage("distil", (SoftLabels(),), StageConfig(epochs=1, batch_size=16))
    states = []
    for mode in (True, False):
        student, teacher = toy_encoder(), toy_encoder(seed=7).train(mode)
        context = training_context(tmp_path / str(mode))
        train_stages(
            (stage,),
            student,
            toy_split(),
            lambda: 0.0,
            context,
            teacher=teacher,
            source=Source(TeacherConfig(features=features)),
            seed=1,
        )
        states.append(weights(student))
    assert same(*states)


def test_kept_and_online_teachers_train_alike(tmp_path):
    stage = Stage("distil", (SoftLabels(temperature=2.0),), StageConfig(epochs=1, batch_size=16))
    states = []
    for features in ("auto", "online"):
        student = toy_encoder()
        train_stages(
            (stage,),
            student,
            toy_split(),
            lambda: 0.0,
            training_context(tmp_path / features),
            teacher=toy_encoder(seed=7),
            source=Source(TeacherConfig(features=features)),
            seed=1,
        )
        states.append(weights(student))
    for name, tensor in states[0].items():
        # Other batches round differently in the last bits of fp32; a whole epoch of AdamW lets that grow a little.
        assert torch.allclose(tensor, states[1][name], atol=1e-4), name


def test_clipping_is_over_trainable_parameters_only(tmp_path, monkeypatch):
    encoder = toy_encoder()
    frozen = next(encoder.parameters())
    frozen.requires_grad_(False)
    before = frozen.clone()
    context = training_context(tmp_path)
    from stillhouse.students.side import StudentSide
    from stillhouse.teachers.source import NoTeacher

    stage = hard_stage(max_grad_norm=0.05)
    trainer = Trainer(
        stage,
        StudentSide(encoder, stage.student_needs),
        toy_split(),
        NoTeacher(),
        lambda: 0.0,
        accelerator=context.accelerator,
        folder=tmp_path / "c",
        engine=context.engine,
        seed=0,
        identity="x",
        log=context.log,
        report=context.console.progress,
    )
    norms = []
    clip = trainer_module.clip_gradients

    def clipped(parameters, layers, limit):
        parameters = list(parameters)
        assert all(parameter is not frozen for parameter in parameters)
        frozen.grad = torch.full_like(frozen, 1e6)  # what no gradient of the step's own should see
        total = clip(parameters, layers, limit)
        frozen.grad = None
        norms.append((float(total), float(torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm())))
        return total

    monkeypatch.setattr(trainer_module, "clip_gradients", clipped)
    trainer.run()
    assert torch.equal(frozen, before)
    assert any(raw > 0.05 for raw, _ in norms)
    assert all(left <= 0.05 * 1.001 and raw < 1e5 for raw, left in norms)


def test_official_theseus_clips_by_the_norm_over_everything(tmp_path, monkeypatch):
    """The first step's norm: the trained layers' alone, or with embeddings, head and predecessor."""
    clip, norms = trainer_module.clip_gradients, {}

    def noted(parameters, layers, largest):
        parameters = list(parameters)
        norm = clip(parameters, layers, largest)
        norms.setdefault(is_official, (len(parameters), norm.item()))
        return norm

    monkeypatch.setattr(trainer_module, "clip_gradients", noted)
    for is_official in (False, True):
        predecessor, successor = toy_encoder(), toy_encoder()
        side = Replacing(schedule="constant", base=0.5, official=is_official)
        config, trained = StageConfig(epochs=1, batch_size=16), Trained(embeddings=0.0, head=0.0)
        stage = Stage("replacing", (HardLabels(),), config, trained=trained, side=side)
        context = training_context(tmp_path / str(is_official))
        train_stages((stage,), successor, toy_split(), lambda: 0.0, context, teacher=predecessor, seed=1)
        assert not any(parameter.requires_grad or parameter.grad is not None for parameter in predecessor.parameters())
    layers = sum(1 for _ in layer_stack(successor).parameters())
    everything = sum(1 for _ in successor.parameters()) + layers
    assert (norms[False][0], norms[True][0]) == (layers, everything)
    assert norms[True][1] > 1.1 * norms[False][1] > 0
