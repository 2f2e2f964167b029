"""Two processes on one machine, as `accelerate launch` starts them, train as one does."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from stillhouse.console import Console
from stillhouse.errors import UserError
from stillhouse.runs import run
from stillhouse.runs.reading import parse_config
from tests import toy_data
from tests.methods.stage_names import stage_names
from tests.records import timeless
from tests.tiny_models import make_tiny_checkpoint


def launch(processes, folder, *arguments):
    """Runs a command in one process or several, each number with a cache of its own; gives what it printed."""
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--standalone"]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "stillhouse", *arguments]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    environment |= {"STILLHOUSE_CACHE": str(folder / f"cache{processes}")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


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


class Reached(Exception):
    """The process has come past its checks."""


@pytest.mark.parametrize("is_main", [True, False])
def test_a_folder_that_the_first_process_makes_meanwhile_is_no_foreign_one(tmp_path, monkeypatch, is_main):
    """The first process may be making the folder when another one, held up by loading, gets there."""
    out = tmp_path / "run"

    def prepare(config):
        out.mkdir()
        (out / "half").write_text("what a folder holds before its run.yaml is there")
        return SimpleNamespace(config=config, notes=())

    def stop(*_):
        raise Reached

    monkeypatch.setattr(run, "prepare", prepare)
    monkeypatch.setattr(run, "build_accelerator", lambda *_: SimpleNamespace(is_main_process=is_main, log_with=[]))
    monkeypatch.setattr(run, "_Run", stop)
    config = parse_config({"out": str(out)})
    # The process that makes the folder still refuses one that is not its own.
    with pytest.raises(UserError if is_main else Reached):
        run.execute(config, Console(quiet=True))


@pytest.mark.parametrize(
    ("task", "method", "changes"),
    [
        ("classification", "logit", ()),
        ("tagging", "logit", ()),
        ("classification", "pkd", ()),
        ("tagging", "tinybert", ("hidden=false",)),  # then no loss reads the last layer's values
        ("classification", "tinybert", ()),
        ("classification", "minilm", ()),
        ("classification", "minilmv2", ()),
        ("classification", "theseus", ()),
        ("classification", "theseus", ("per_example=true", "compat=official")),
    ],
)
def test_two_processes_end_where_one_does(tmp_path, task, method, changes):
    teacher = make_teacher(tmp_path / "bare", layers=4)
    data = getattr(toy_data, task)(tmp_path / ("data.csv" if task == "classification" else "data.txt"), rows=60)
    options = f"distill --data {data} --teacher {teacher} --method {method} --student 2x24 --batch-size 7"
    options += " --allow-weak-teacher --precision fp32 --set teacher.finetune.epochs=1"
    for change in changes:
        options += f" --set method.{change}"
    for stage in stage_names(method):
        for setting in ("max_grad_norm=0.5", "epochs=1", "learning_rate=0.001"):
            options += f" --set method.stages.{stage}.{setting}"
    one, two = tmp_path / "one", tmp_path / "two"
    launch(1, tmp_path, *options.split(), "--out", str(one))
    assert launch(2, tmp_path, *options.split(), "--out", str(two)).count("task: ") == 1
    assert_close(one, two)
    stages = [json.loads((folder / "metrics.json").read_text())["stages"] for folder in (one, two)]
    assert [stage["steps"] for stage in stages[0]] == [stage["steps"] for stage in stages[1]]


def test_two_processes_compare_as_one_does(tmp_path):
    teacher = make_teacher(tmp_path / "bare", layers=2)
    data = toy_data.classification(tmp_path / "data.csv", rows=60)
    options = f"compare --data {data} --teacher {teacher} --students 1x24 --methods logit,theseus --seeds 0 --batch-size 7"
    options += " --grid 1e-4,1e-3 --epochs 3 --allow-weak-teacher --precision fp32"
    options += " --set methods.theseus.stages.replacing.epochs=1 --set teacher.finetune.epochs=1"
    one, two = tmp_path / "one", tmp_path / "two"
    launch(1, tmp_path, *options.split(), "--out", str(one))
    for _ in range(2):  # and begun anew, over what is there
        said = launch(2, tmp_path, *options.split(), "--out", str(two), "--overwrite")
        assert said.count("task: ") == 1
        assert said.count("[1/") == 1
    alone, together = (json.loads((folder / "comparison.json").read_text()) for folder in (one, two))
    assert {row["status"] for row in together["rows"]} == {"done"}
    assert len(together["pairs"]) == 2
    assert [row["run"] for row in together["rows"]] == [row["run"] for row in alone["rows"]]  # the rate is part of it
    for row in together["rows"]:
        assert_close(one / row["run"], two / row["run"])
    for name in ("rows", "tries"):
        for ours, theirs in zip(alone[name], together[name], strict=True):
            assert timeless(theirs) == pytest.approx(timeless(ours), abs=1e-3)
