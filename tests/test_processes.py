"""Two processes on one machine, as `accelerate launch` starts them, train as one does."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from stillhouse import run
from stillhouse.console import Console
from stillhouse.errors import UserError
from stillhouse.methods import load_method
from stillhouse.run_config import parse_config
from tests import toy_data
from tests.tiny_models import make_tiny_checkpoint


def distil(folder, data, teacher, processes, *, method="logit"):
    out = folder / f"run{processes}"
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--standalone"]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "stillhouse", "distill", "--data", str(data)]
    command += ["--teacher", str(teacher), "--student", "2x24", "--batch-size", "7"]
    command += ["--out", str(out), "--allow-weak-teacher", "--precision", "fp32"]
    settings = ["teacher.finetune.epochs=1"]
    if method == "tinybert":
        settings.append("method.hidden=false")  # then no loss reads the last layer's values
    for stage in type(load_method(method).model_fields["stages"].default).model_fields:
        settings += [f"method.stages.{stage}.{one}" for one in ("max_grad_norm=0.5", "epochs=1", "learning_rate=0.001")]
    command += ["--method", method, *(part for setting in settings for part in ("--set", setting))]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    environment |= {"STILLHOUSE_CACHE": str(folder / f"cache{processes}")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return out, done.stdout


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
    ("task", "method"),
    [
        ("classification", "logit"),
        ("tagging", "logit"),
        ("classification", "pkd"),
        ("tagging", "tinybert"),
        ("classification", "minilmv2"),
        ("classification", "theseus"),
    ],
)
def test_two_processes_end_where_one_does(tmp_path, task, method):
    teacher = make_tiny_checkpoint(tmp_path / "bare", "bert", layers=4, hidden=24, heads=2)
    config = json.loads((teacher / "config.json").read_text())
    # Each process draws its own dropout: without it the sums are the same.
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (teacher / "config.json").write_text(json.dumps(config))
    data = getattr(toy_data, task)(tmp_path / ("data.csv" if task == "classification" else "data.txt"), rows=60)
    (one, _), (two, said) = (distil(tmp_path, data, teacher, processes, method=method) for processes in (1, 2))
    assert said.count("task: ") == 1
    alone, together = (load_file(folder / "student" / "model.safetensors") for folder in (one, two))
    for name, tensor in alone.items():
        assert torch.allclose(tensor, together[name], atol=1e-4), name
    stages = [json.loads((folder / "metrics.json").read_text())["stages"] for folder in (one, two)]
    assert [stage["steps"] for stage in stages[0]] == [stage["steps"] for stage in stages[1]]


def test_two_processes_compare_as_one_does(tmp_path):
    teacher = make_tiny_checkpoint(tmp_path / "bare", "bert", layers=2)
    data = toy_data.classification(tmp_path / "data.csv", rows=60)
    out = tmp_path / "comparison"
    options = f"compare --data {data} --teacher {teacher} --students 1x24 --methods logit,theseus --seeds 0 --batch-size 7"
    options += f" --grid 1e-3,1e-2 --epochs 3 --allow-weak-teacher --precision fp32 --out {out}"
    options += " --set methods.theseus.stages.replacing.epochs=1 --set teacher.finetune.epochs=1"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m", "stillhouse"]
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "STILLHOUSE_CACHE": str(tmp_path / "cache"),
    }
    for _ in range(2):  # and begun anew, over what is there
        command = [*launcher, *options.split(), "--overwrite"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("task: ") == 1
        assert done.stdout.count("[1/") == 1
    content = json.loads((out / "comparison.json").read_text())
    assert {row["status"] for row in content["rows"]} == {"done"}
    assert len(content["pairs"]) == 2
