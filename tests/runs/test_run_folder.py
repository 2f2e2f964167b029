"""Whose folder `--out` is: a run works in its own alone, and `--overwrite` deletes a run and nothing else."""

import re
from pathlib import Path

import pytest
import yaml
from tests.commands import distil, leave, put, refused

from stillhouse.runs.reading import parse_config
from stillhouse.runs.run_folder import RunFolder


def test_the_folder_of_another_run(here, capsys):
    assert leave(*distil("--allow-weak-teacher", "--max-train", "40")) == 0
    capsys.readouterr()
    message = refused(here, capsys, *distil("--max-train", "40", "--seed", "1"))
    assert re.search(
        "run is the folder of another run: seed is 0 there, 1 here.*fix: choose another --out, or", message, re.DOTALL
    )
    message = refused(here, capsys, "distill", "--config", "run/run.yaml", "--seed", "1")
    assert "seed is 0 there, 1 here" in message
    # An option that is left out is a change as well.
    assert "data.max_train is 40 there, None here" in refused(here, capsys, *distil())
    assert "method.name is 'logit' there, 'finetune' here" in refused(here, capsys, *distil("--method", "finetune"))
    assert leave("distill", "--config", "run/run.yaml") == 0
    assert leave(*distil("--max-train", "40", "--data", str(here / "data.csv"), "--teacher", str(here / "bare"))) == 0
    assert "this run is finished" in capsys.readouterr().out
    put("run/run.yaml", "a: [")
    assert "is not YAML" in refused(here, capsys, *distil("--max-train", "40"))


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("bare", "bare is not a run folder and is not empty.*expected: a new folder"),
        ("data.csv", r"data\.csv is a file.*expected: a new folder"),
        ("data.csv/run", r"data\.csv/run is in the way: a file stands where a folder is needed"),
        ("x" * 300, "--out 'x.*File name too long"),
    ],
)
def test_a_folder_that_is_something_else(here, capsys, out, said):
    for more in ([], ["--overwrite"]):
        assert re.search(said, refused(here, capsys, *distil("--out", out, "--allow-weak-teacher", *more)), re.DOTALL)


def test_a_start_that_was_killed_does_not_stand_in_the_way(here, capsys):
    # Killed while run.yaml was written: the folder holds nothing but a temporary file.
    put("run/.run.yaml.4711.tmp", "data: {sou")
    assert leave(*distil("--allow-weak-teacher")) == 0
    assert not list(here.rglob(".*.tmp"))


def test_one_run_at_a_time(here, capsys):
    assert leave(*distil("--allow-weak-teacher")) == 0
    other = RunFolder(Path("run"))
    other.create(parse_config(yaml.safe_load(Path("run/run.yaml").read_text())), overwrite=True)
    message = refused(here, capsys, *distil("--allow-weak-teacher"))
    assert re.search(r"another process is working in run\n.*one run at a time", message)
    other.release()
    assert leave(*distil("--allow-weak-teacher")) == 0
    assert Path("run/report.html").exists()


def test_overwriting_never_deletes_what_is_not_the_runs(here, capsys):
    assert leave(*distil("--allow-weak-teacher")) == 0
    put("run/notes.md", "mine")
    assert "holds more than a run: notes.md" in refused(here, capsys, *distil("--allow-weak-teacher", "--overwrite"))


def test_overwriting_never_deletes_what_the_run_is_made_from(here, capsys):
    assert leave(*distil("--allow-weak-teacher")) == 0
    for role in ("teacher", "student"):
        message = refused(here, capsys, *distil(f"--{role}", f"run/{role}", "--allow-weak-teacher", "--overwrite"))
        assert f"--overwrite would delete run/{role}, which this run needs" in message


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="has no /proc, where nobody may make a folder")
def test_a_place_where_no_folder_can_be_made(here, capsys):
    assert "/proc/run cannot be written" in refused(here, capsys, *distil("--out", "/proc/run"))
