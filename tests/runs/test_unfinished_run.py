"""A run that did not come to its end: a loss that is not finite, and files that are not as the run left them."""

import re
from pathlib import Path

import pytest
import torch
from tests import toy_data
from tests.commands import distil, leave, refused

DIVERGING = ["--learning-rate", "1e30", "--set", "method.stages.distil.max_grad_norm=0", "--allow-weak-teacher"]


@pytest.mark.parametrize("batch_size", ["16", "64"])
def test_a_loss_that_is_nan_stops_the_run(here, capsys, batch_size):
    # With 64 rows a step there is one step: its loss is finite, and only what the student says afterwards is not.
    assert leave(*distil(*DIVERGING, "--batch-size", batch_size)) == 1
    message = capsys.readouterr().err
    what = "objective 'hard_labels' is (nan|inf)" if batch_size == "16" else "the model's outputs are NaN or infinite"
    assert re.search(rf"^stillhouse: stage 'distil', step \d: {what}", message)
    assert "kept in run/checkpoints/distil/checkpoint.pt\n" in message
    assert "\n  fix: with --overwrite, a lower learning rate (now 1e+30)\n" in message
    assert "Traceback" not in message
    content = torch.load("run/checkpoints/distil/checkpoint.pt", weights_only=True)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in content["module"].values())
    assert not Path("run/metrics.json").exists()
    assert not Path("run/student").exists()


# Files of an interrupted run that a disk has lost.


@pytest.fixture
def interrupted(here, capsys):
    """A run that stopped in the student's stage: its teacher is finished, its first checkpoint is there."""
    assert leave(*distil(*DIVERGING)) == 1
    capsys.readouterr()
    return here / "run" / "checkpoints"


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("distil/checkpoint.pt", half),
        ("distil/checkpoint.pt", lambda path: path.write_bytes(b"")),
        ("distil/checkpoint.pt", lambda path: path.write_bytes(b"garbage")),
        ("distil/checkpoint.pt", lambda path: torch.save({"identity": 1}, path)),
        ("teacher/finished.json", half),
        ("teacher/finished.json", lambda path: path.write_text("{}")),
        ("teacher/final.safetensors", half),
        ("teacher/final.safetensors", Path.unlink),
    ],
)
def test_a_damaged_checkpoint(here, interrupted, capsys, file, damage):
    weights = (interrupted / "teacher" / "final.safetensors").read_bytes()
    damage(interrupted / file)
    assert leave(*distil(*DIVERGING)) == 1  # as at first: it diverges
    said = capsys.readouterr()
    stage = file.partition("/")[0]
    named = "teacher/finished.json" if damage == Path.unlink else file
    assert f"  run/checkpoints/{named} is damaged, or of another version: stage {stage} starts anew\n" in said.out
    assert "Traceback" not in said.err
    assert (interrupted / "teacher" / "final.safetensors").read_bytes() == weights


def test_changed_data_are_no_continuation(here, interrupted, capsys):
    toy_data.classification(here / "data.csv", rows=60, seed=1)
    assert leave(*distil(*DIVERGING)) == 2
    assert re.search(
        "belongs to other data.*fix: restore them, or start anew with --overwrite", capsys.readouterr().err, re.DOTALL
    )


def test_a_default_that_differs_from_what_was_given_is_no_continuation(here, interrupted, capsys):
    command = distil(*DIVERGING)
    at = command.index("--max-length")
    message = refused(here, capsys, *command[:at], *command[at + 2 :])
    assert "run is the folder of another run: data.max_length is 32 there, 128 here" in message
