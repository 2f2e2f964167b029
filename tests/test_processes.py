"""Two processes on one machine, as `accelerate launch` starts them, train as one does."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from stillhouse.runs import session
from tests import toy_data
from tests.commands import distil, leave
from tests.methods.stage_names import stage_names
from tests.processes import finish, kill_when
from tests.records import timeless
from tests.tiny_models import make_tiny_checkpoint

METHODS = [
    ("classification", "logit", ()),
    ("tagging", "logit", ()),
    ("classification", "pkd", ()),
    ("tagging", "tinybert", ("hidden=false",)),  # then no loss reads the last layer's values
    ("classification", "tinybert", ()),
    ("classification", "minilm", ()),
    ("classification", "minilmv2", ()),
    ("classification", "theseus", ()),
    ("classification", "theseus", ("per_example=true", "compat=official")),
]


def launch(folder, *arguments):
    """Runs a command in two processes as a user starts them; gives what it printed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m", "stillhouse"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    environment |= {"STILLHOUSE_CACHE": str(folder / "launched")}
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def fork(start_ranks, processes, folder, *arguments):
    """The same in forked processes, which have imported everything already."""
    started = start_ranks(processes, list(arguments), folder / f"cache{processes}")
    return "".join([finish(*one) for one in started])


def make_teacher(folder, layers):
    """A teacher without dropout: each process draws its own, and without it the sums are the same."""
    teacher = make_tiny_checkpoint(folder, "bert", layers=layers)
    config = json.loads((teacher / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (teacher / "config.json").write_text(json.dumps(config))
    return teacher


def assert_close(one, other):
    """Weights of the same student, trained in one process and in another number."""
    ours, theirs = (load_file(folder / "student" / "model.safetensors") for folder in (one, other))
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], atol=1e-4), name


def command(folder, task, method, changes=()):
    """A short run of a method on a kind of task, with a clipped norm, for any number of processes."""
    teacher = make_teacher(folder / "bare", layers=4)
    data = getattr(toy_data, task)(folder / ("data.csv" if task == "classification" else "data.txt"), rows=60)
    options = f"distill --data {data} --teacher {teacher} --method {method} --student 2x24 --batch-size 7"
    options += " --allow-weak-teacher --precision fp32 --set teacher.finetune.epochs=1"
    for change in changes:
        options += f" --set method.{change}"
    for stage in stage_names(method):
        for setting in ("max_grad_norm=0.5", "epochs=1", "learning_rate=0.001"):
            options += f" --set method.stages.{stage}.{setting}"
    return options.split()


def assert_same_runs(one, two):
    assert_close(one, two)
    stages = [json.loads((folder / "metrics.json").read_text())["stages"] for folder in (one, two)]
    assert [stage["steps"] for stage in stages[0]] == [stage["steps"] for stage in stages[1]]


# Of each way to train one: all methods are launched below.
@pytest.mark.parametrize(("task", "method", "changes"), [METHODS[0], METHODS[3], METHODS[7]])
def test_two_processes_end_where_one_does(tmp_path, start_ranks, task, method, changes):
    arguments = command(tmp_path, task, method, changes)
    one, two = tmp_path / "one", tmp_path / "two"
    fork(start_ranks, 1, tmp_path, *arguments, "--out", str(one))
    assert fork(start_ranks, 2, tmp_path, *arguments, "--out", str(two)).count("task: ") == 1
    assert_same_runs(one, two)


def kill_at(step, started, log):
    """Ends processes in the stage `distil`, once the log holds a step of it."""
    line = f'{{"stage": "distil", "step": {step}'
    kill_when(lambda: log.exists() and line in log.read_text(), *started)


@pytest.mark.long
def test_two_processes_start_a_damaged_stage_anew(tmp_path, start_ranks):
    """A flipped bit in the checkpoint from which both would go on."""
    arguments = [one.replace("distil.epochs=1", "distil.epochs=20") for one in command(tmp_path, "classification", "logit")]
    arguments += ["--set", "engine.checkpoint_seconds=0", "--set", "engine.log_every=1"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    fork(start_ranks, 2, tmp_path, *arguments, "--out", str(whole))
    kill_at(12, start_ranks(2, [*arguments, "--out", str(run)], tmp_path / "cache2"), run / "log.jsonl")
    checkpoint = run / "checkpoints" / "distil" / "checkpoint.pt"
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    said = fork(start_ranks, 2, tmp_path, *arguments, "--out", str(run))
    assert said.count(f"{checkpoint} is damaged, or of another version: stage distil starts anew") == 1
    ours, expected = ((folder / "student" / "model.safetensors").read_bytes() for folder in (run, whole))
    assert ours == expected
    stages = [timeless(json.loads((folder / "metrics.json").read_text()))["stages"][-1] for folder in (run, whole)]
    assert stages[0] == stages[1]
    steps = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in steps if line["stage"] == "distil" and "loss" in line]
    assert steps == list(range(1, len(steps) + 1))


def launched(tmp_path, start_ranks, task, method, changes):
    arguments = command(tmp_path, task, method, changes)
    one, two = tmp_path / "one", tmp_path / "two"
    fork(start_ranks, 1, tmp_path, *arguments, "--out", str(one))
    assert launch(tmp_path, *arguments, "--out", str(two)).count("task: ") == 1
    assert_same_runs(one, two)


@pytest.mark.long
@pytest.mark.parametrize(("task", "method", "changes"), METHODS)
def test_two_processes_that_a_user_launches(tmp_path, start_ranks, task, method, changes):
    launched(tmp_path, start_ranks, task, method, changes)


def test_a_foreign_folder_that_is_made_meanwhile_is_refused(here, capsys, monkeypatch):
    """By the process that makes the folder: somebody else was there while it loaded its models."""
    prepare = session.prepare

    def overtaken(config):
        (here / "run").mkdir()
        (here / "run" / "mine").write_text("precious")
        return prepare(config)

    monkeypatch.setattr(session, "prepare", overtaken)
    assert leave(*distil()) == 2
    assert "is not a run folder and is not empty" in capsys.readouterr().err
    assert [path.name for path in (here / "run").iterdir()] == ["mine"]


@pytest.mark.long
def test_two_processes_compare_as_one_does(tmp_path, start_ranks):
    """And begin anew over what is there: a comparison whose rows, copied, name another folder as their own."""
    teacher = make_teacher(tmp_path / "bare", layers=2)
    data = toy_data.classification(tmp_path / "data.csv", rows=60)
    options = f"compare --data {data} --teacher {teacher} --students 1x24 --methods logit,theseus --seeds 0 --batch-size 7"
    options += " --grid 1e-4,1e-3 --epochs 3 --allow-weak-teacher --precision fp32"
    options += " --set methods.theseus.stages.replacing.epochs=1 --set teacher.finetune.epochs=1"
    one, two = tmp_path / "one", tmp_path / "two"
    fork(start_ranks, 1, tmp_path, *options.split(), "--out", str(one))
    shutil.copytree(one, two)
    said = fork(start_ranks, 2, tmp_path, *options.split(), "--out", str(two), "--overwrite")
    assert said.count("task: ") == 1
    assert said.count("[1/") == 1
    alone, together = (json.loads((folder / "comparison.json").read_text()) for folder in (one, two))
    assert {row["status"] for row in together["rows"]} == {"done"}
    assert len(together["pairs"]) == 2
    assert [row["run"] for row in together["rows"]] == [row["run"] for row in alone["rows"]]  # the rate is part of it
    for row in together["rows"]:
        assert str(two) in (two / row["run"] / "run.yaml").read_text()
        assert_close(one / row["run"], two / row["run"])
    for name in ("rows", "tries"):
        for ours, theirs in zip(alone[name], together[name], strict=True):
            assert timeless(theirs) == pytest.approx(timeless(ours), abs=1e-3)
