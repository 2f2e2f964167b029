"""Runs on plain text, alone and before a task: what they leave is a student that plain transformers loads."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from stillhouse.cli.main import main
from stillhouse.runs import general_run
from stillhouse.training import trainer
from tests import toy_data
from tests.commands import leave
from tests.general_runs import command, make_silent, metrics_of, write_text
from tests.killed import Killed
from tests.processes import LIMIT, finish, kill_when
from tests.records import timeless

WITH_HEAD, WITHOUT = ("distilbert", "finetune"), ("tinybert", "minilm", "minilmv2")


def long(*values):
    return [pytest.param(value, marks=pytest.mark.long) for value in values]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shelf")
    make_silent(folder / "teacher", layers=4)
    write_text(folder / "text.txt")
    toy_data.classification(folder / "data.csv", rows=60)
    return folder


@pytest.fixture
def out(tmp_path, empty_report):
    return tmp_path / "run"


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("method", WITH_HEAD)
def test_a_student_with_a_masked_lm_head(shelf, out, method):
    assert leave(*command(shelf, method, "--out", str(out))) == 0
    model, info = AutoModelForMaskedLM.from_pretrained(out / "student", output_loading_info=True)
    assert not info["missing_keys"]
    assert model.config.architectures == ["BertForMaskedLM"]
    metrics = metrics_of(out)
    assert (metrics["task"], metrics["metric"], metrics["data"], metrics["split"]) == (
        "pretraining",
        "masked_accuracy",
        "text",
        "held_out",
    )
    student = metrics["general"]["student"]
    measure = "kl" if method == "distilbert" else "perplexity"
    assert student[measure] < student["before"][measure]
    assert metrics["student"]["score"] == student["score"]
    assert len(metrics["general"]["examples"]) > 0
    is_taught = method == "distilbert"
    assert (metrics["teacher"] is not None) == is_taught
    assert (metrics["kl"] is not None) == is_taught
    assert [stage["name"] for stage in metrics["stages"]] == (["masked_lm_teacher", "general"] if is_taught else ["masked_lm"])


@pytest.mark.parametrize("method", WITHOUT)
def test_a_student_without_a_head(shelf, out, method):
    assert leave(*command(shelf, method, "--out", str(out))) == 0
    model, info = AutoModel.from_pretrained(out / "student", output_loading_info=True)
    assert not info["missing_keys"]
    assert model.config.architectures == ["BertModel"]
    metrics = metrics_of(out)
    assert metrics["metric"] is None
    assert metrics["teacher"]["score"] is metrics["student"]["score"] is metrics["kl"] is metrics["agreement"] is None
    layers = metrics["general"]["layers"]
    assert [(layer["own"], layer["its"]) for layer in layers] == [(0, 0), (1, 2), (2, 4)]
    measure = "hidden" if method == "tinybert" else "relations"
    assert layers[-1]["after"][measure] < layers[-1]["before"][measure]


@pytest.mark.parametrize("method", ["distilbert", "minilm"])
def test_a_general_student_goes_straight_into_a_task(shelf, out, tmp_path, method):
    assert leave(*command(shelf, method, "--out", str(out))) == 0
    options = f"distill --data {shelf}/data.csv --teacher {shelf}/teacher --student {out}/student --method logit --epochs 1"
    task = tmp_path / "task"
    assert leave(*options.split(), "--allow-weak-teacher", "--precision", "fp32", "--out", str(task)) == 0
    assert "weights of student, with a fresh head" in metrics_of(task)["student"]["start"]


@pytest.mark.parametrize("method", ["distilbert", "minilm", *long("finetune", "tinybert", "minilmv2")])
def test_a_task_after_the_corpus_in_one_run(shelf, out, method, capsys):
    arguments = command(shelf, method, "--data", f"{shelf}/data.csv")
    assert leave(*arguments, "--out", str(out)) == 0
    AutoModelForSequenceClassification.from_pretrained(out / "student")
    metrics = metrics_of(out)
    assert metrics["task"] == "classification"
    assert metrics["general"]["method"] == method
    assert "which started from layers" in metrics["student"]["start"]
    names = [stage["name"] for stage in metrics["stages"]]
    assert "relations" not in names  # learnt on the corpus
    on_corpus, on_task = seconds_of(metrics)
    assert metrics["cost"]["parts"]["general"] >= on_corpus
    assert metrics["cost"]["train_seconds"] == metrics["cost"]["parts"]["student"] == pytest.approx(on_task, abs=0.05)
    assert not same(weights(out / "general"), weights(out / "student"))
    capsys.readouterr()

    again = out.with_name("again")
    assert leave(*arguments, "--seed", "1", "--out", str(again)) == 0
    assert "has learnt from the same corpus before" in capsys.readouterr().out
    later = metrics_of(again)
    assert set(names) - {stage["name"] for stage in later["stages"]} >= {load_stage(method)}
    assert later["general"] == metrics["general"]


def seconds_of(metrics):
    """What the general phase's stages took, and the student's on the task."""
    general = {stage["name"] for stage in metrics["general"]["stages"]}
    on_task = [stage for stage in metrics["stages"] if stage["name"] not in {*general, "teacher"}]
    return [sum(stage["seconds"] for stage in stages) for stages in (metrics["general"]["stages"], on_task)]


def load_stage(method):
    return "masked_lm" if method == "finetune" else "general"


def test_the_task_goes_on_from_what_was_learnt(shelf, out):
    """With a rate of nothing in the task phase the encoder is the general one, under another head."""
    arguments = command(shelf, "distilbert", "--data", f"{shelf}/data.csv", "--out", str(out))
    assert leave(*arguments, "--set", "method.stages.distil.learning_rate=1e-30") == 0
    general, student = weights(out / "general"), weights(out / "student")
    encoder = [name for name in general if name.startswith("bert.")]
    assert encoder
    for name in encoder:
        assert torch.equal(general[name], student[name]), name


@pytest.mark.parametrize("method", ["minilm", *long("distilbert")])
def test_an_assistant_stands_between(shelf, out, method):
    arguments = command(shelf, method, "--data", f"{shelf}/data.csv", "--assistant", "3x24", "--out", str(out))
    assert leave(*arguments) == 0
    metrics = metrics_of(out)
    names = [stage["name"] for stage in metrics["stages"]]
    assert names.index("assistant-general") < names.index("general") < names.index("assistant-distil") < names.index("distil")
    assert metrics["assistant"]["score"] is not None
    assert metrics["general"]["assistant"]["parameters"] > metrics["general"]["student"]["parameters"]
    model = AutoModelForSequenceClassification.from_pretrained(out / "assistant")
    assert model.config.num_hidden_layers == 3


def test_an_assistant_on_a_task_alone(shelf, out):
    options = f"distill --data {shelf}/data.csv --teacher {shelf}/teacher --student 2x24 --method tinybert --assistant 3x24"
    options += " --set method.stages.intermediate.epochs=1 --epochs 1 --allow-weak-teacher --precision fp32"
    assert leave(*options.split(), "--out", str(out)) == 0
    names = [stage["name"] for stage in metrics_of(out)["stages"]]
    assert names == ["teacher", "assistant-intermediate", "assistant-prediction", "intermediate", "prediction"]


def test_options_go_to_the_last_stage_of_the_run(shelf, out, tmp_path):
    assert leave(*command(shelf, "minilm", "--epochs", "2", "--out", str(out))[: -2 or None], "--out", str(out)) == 2
    plain = [one for one in command(shelf, "minilm", "--epochs", "2", "--batch-size", "16") if one != "--set"]
    plain = [one for one in plain if not one.startswith("method.")]
    assert leave(*_with_sets(plain), "--out", str(out)) == 0
    (stage,) = metrics_of(out)["stages"]
    blocks = metrics_of(out)["splits"]["train"]
    assert stage["steps"] == 2 * -(-blocks // 16)


def _with_sets(arguments):
    """`key=value` words as changes again."""
    return [part for one in arguments for part in (("--set", one) if "=" in one else (one,))]


def test_a_run_on_plain_text_is_repeated_by_its_own_file(shelf, out, tmp_path):
    assert leave(*command(shelf, "minilm", "--out", str(out))) == 0
    again = tmp_path / "again"
    assert leave("distill", "--config", str(out / "run.yaml"), "--out", str(again)) == 0
    assert same(weights(out / "student"), weights(again / "student"))


def test_a_new_teacher_learns_language_and_then_the_task(shelf, out):
    arguments = [one.replace(f"{shelf}/teacher", "2x32") for one in command(shelf, "minilm")]
    arguments = [one.replace("2x24", "1x32") for one in arguments]
    assert leave(*arguments, "--data", f"{shelf}/data.csv", "--vocab", f"{shelf}/teacher", "--out", str(out)) == 0
    names = [stage["name"] for stage in metrics_of(out)["stages"]]
    assert names == ["masked_lm_teacher", "general", "teacher", "distil"]
    fitted, taught = weights(out / "masked_lm_teacher"), weights(out / "teacher")
    moved = (fitted["bert.embeddings.word_embeddings.weight"] - taught["bert.embeddings.word_embeddings.weight"]).abs().max()
    assert moved < 0.1  # it went on from there: anew it would be somewhere else
    assert {"masked_lm_teacher"} <= {path.name for path in out.iterdir()}


def result(out):
    found = {path.name: weights(path) for path in out.iterdir() if (path / "model.safetensors").exists()}
    return found, timeless(metrics_of(out))


@pytest.mark.parametrize("moment", ["general", "between", *long("masked_lm_teacher", "distil")])
def test_an_end_at_any_phase(shelf, tmp_path, monkeypatch, empty_report, moment):
    """The process ends in a stage, or between the phases; the same command then ends as if nothing had been."""
    arguments = command(shelf, "distilbert", "--data", f"{shelf}/data.csv")
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert leave(*arguments, "--out", str(whole)) == 0
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "other"))
    with monkeypatch.context() as patch:
        _end_in(patch, moment)
        with pytest.raises(Killed):
            main([*arguments, "--out", str(out)])
    assert not (out / "metrics.json").exists()
    assert leave(*arguments, "--out", str(out)) == 0
    (ours, ours_said), (theirs, theirs_said) = result(out), result(whole)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert same(ours[name], theirs[name]), name
    assert ours_said["general"]["student"] == theirs_said["general"]["student"]
    assert ours_said["student"] == theirs_said["student"]


def _end_in(patch, moment):
    if moment == "between":

        def save(_run):
            raise Killed

        patch.setattr(general_run.GeneralRun, "_save", save)
        return
    real = trainer.Trainer._step

    def step(self, step):
        if self.stage.name == moment and self.progress.step == 1:
            raise Killed
        real(self, step)

    patch.setattr(trainer.Trainer, "_step", step)


def fork(start_ranks, processes, folder, *arguments):
    started = start_ranks(processes, list(arguments), folder / f"cache{processes}")
    return "".join([finish(*one) for one in started])


@pytest.mark.parametrize("method", ["distilbert", *long("finetune", *WITHOUT)])
def test_two_processes_end_where_one_does(shelf, tmp_path, start_ranks, method):
    arguments = command(shelf, method, "--data", f"{shelf}/data.csv")
    one, two = tmp_path / "one", tmp_path / "two"
    fork(start_ranks, 1, tmp_path, *arguments, "--out", str(one))
    said = fork(start_ranks, 2, tmp_path, *arguments, "--out", str(two))
    assert said.count("documents;") == 1
    for name in ("general", "student"):
        ours, theirs = weights(one / name), weights(two / name)
        for tensor in theirs:
            # Adding to all scores of a query changes nothing: the gradient of a key's bias is rounding, which Adam blows up.
            close = 1e-4 if tensor.endswith("key.bias") else 1e-5
            assert torch.allclose(ours[tensor], theirs[tensor], atol=close), (name, tensor)
    scores = [json.loads((folder / "metrics.json").read_text())["general"]["student"] for folder in (one, two)]
    for name, value in scores[0].items():
        if isinstance(value, float):
            assert scores[1][name] == pytest.approx(value, abs=1e-4), name


def test_two_processes_leave_at_a_mistake(shelf, tmp_path, start_ranks):
    """That is found while the first prepares and the other waits."""
    (tmp_path / "text.txt").write_text("")
    arguments = [one.replace(f"{shelf}/text.txt", f"{tmp_path}/text.txt") for one in command(shelf, "minilm")]
    for process, output in start_ranks(2, [*arguments, "--out", str(tmp_path / "run")], tmp_path / "cache"):
        process.join(LIMIT)
        assert process.exitcode == 2, output.read_text()
        assert "holds no text" in output.read_text()


def kept_models():
    root = Path(os.environ["STILLHOUSE_CACHE"]) / "students"
    return {path.name: path for path in root.iterdir()}


def test_what_is_kept_of_an_assistant_alone_is_not_trained_on(shelf, out):
    """The student's folder is gone, its assistant's is there: both learn anew, from their starts."""
    arguments = command(shelf, "minilm", "--data", f"{shelf}/data.csv", "--assistant", "3x24")
    assert leave(*arguments, "--out", str(out)) == 0
    (student,) = (path for name, path in kept_models().items() if name.endswith("s"))
    shutil.rmtree(student)
    again = out.with_name("again")
    assert leave(*arguments, "--out", str(again)) == 0
    for name in ("general_assistant", "general", "assistant", "student"):
        assert same(weights(out / name), weights(again / name)), name


def test_what_was_kept_is_written_into_the_run_too(shelf, out, capsys):
    arguments = command(shelf, "distilbert", "--data", f"{shelf}/data.csv")
    assert leave(*arguments, "--out", str(out)) == 0
    capsys.readouterr()
    other = [one.replace("3x24", "2x24") for one in arguments]
    again = out.with_name("again")
    # What fits no head of a teacher, or starts elsewhere, decides nothing here.
    assert leave(*other, "--seed", "2", "--out", str(again)) == 0
    assert "is used again" in capsys.readouterr().out
    assert same(weights(out / "general"), weights(again / "general"))


@pytest.mark.parametrize("damage", ["cut", "gone", "other"])
def test_a_damaged_record_of_a_kept_student(shelf, out, capsys, damage):
    arguments = command(shelf, "minilm", "--data", f"{shelf}/data.csv")
    assert leave(*arguments, "--out", str(out)) == 0
    (kept,) = kept_models().values()
    record = kept / "general.json"
    if damage == "gone":
        record.unlink()
    else:
        text = record.read_text()
        record.write_text(text[:50] if damage == "cut" else text.replace("minilm", "minilk"))
    capsys.readouterr()
    again = out.with_name("again")
    assert leave(*arguments, "--out", str(again)) == 0
    assert "is damaged: it is deleted, and made again" in capsys.readouterr().out
    assert same(weights(out / "student"), weights(again / "student"))


def test_an_assistant_of_theseus_starts_from_the_fitted_teacher(shelf, out):
    options = f"distill --data {shelf}/data.csv --teacher {shelf}/teacher --student 1x24 --method theseus --assistant 2x24"
    options += " --set method.stages.replacing.epochs=1 --epochs 1 --allow-weak-teacher --precision fp32"
    assert leave(*options.split(), "--out", str(out)) == 0
    teacher, assistant = weights(out / "teacher"), weights(out / "assistant")
    assert torch.equal(teacher["classifier.weight"], assistant["classifier.weight"])  # which rests in the first stage


@pytest.mark.long
@pytest.mark.parametrize("moment", ["masked_lm_teacher", "assistant-general", "general", "assistant-distil"])
def test_kill_minus_nine(shelf, start, tmp_path, moment):
    """With an assistant; the same command then ends as if nothing had been."""
    arguments = command(shelf, "distilbert", "--data", f"{shelf}/data.csv", "--assistant", "3x24", epochs=4)
    whole, out = tmp_path / "whole", tmp_path / "run"
    finish(*start([*arguments, "--out", str(whole)], tmp_path / "other"))
    line, log = f'{{"stage": "{moment}", "step": 2', out / "log.jsonl"
    process, output = start([*arguments, "--out", str(out)], tmp_path / "cache")
    kill_when(lambda: log.exists() and line in log.read_text(), (process, output))
    assert process.exitcode == -9
    assert not (out / "metrics.json").exists()
    finish(*start([*arguments, "--out", str(out)], tmp_path / "cache"))
    (ours, ours_said), (theirs, theirs_said) = result(out), result(whole)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert same(ours[name], theirs[name]), name
    assert ours_said["general"]["student"] == theirs_said["general"]["student"]
