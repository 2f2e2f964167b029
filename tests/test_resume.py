"""A run that was killed goes on from its last checkpoint, and ends as one that was never interrupted: bit for bit."""

import json
import os
import shutil
from pathlib import Path

import pytest

from stillhouse.cli.main import main
from stillhouse.runs import session
from tests import toy_data
from tests.commands import leave
from tests.killed import Killed
from tests.processes import finish, kill_when
from tests.records import timeless
from tests.tiny_models import make_tiny_checkpoint


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Data and a teacher without a head: the run has all three stages."""
    folder = tmp_path_factory.mktemp("shelf")
    make_tiny_checkpoint(folder / "bare", "bert", layers=2)
    toy_data.classification(folder / "data.csv", rows=100, unlabelled=30)
    return folder


def command(shelf: Path, out: Path, *, epochs: int, log_every: int = 1) -> list[str]:
    options = f"--data {shelf}/data.csv --teacher {shelf}/bare --student 1x24 --baseline --max-length 32 --out {out}"
    options += f" --batch-size 8 --epochs {epochs} --learning-rate 1e-3 --allow-weak-teacher"
    options += f" --set teacher.finetune.epochs={epochs} --set teacher.finetune.batch_size=8"
    options += f" --set engine.log_every={log_every} --set engine.checkpoint_seconds=0"
    return ["distill", *options.split()]


def lines_of(out: Path, stage: str) -> int:
    log = out / "log.jsonl"
    return log.read_text().count(f'{{"stage": "{stage}"') if log.exists() else 0


def result(out: Path) -> dict:
    """All that a run ends with and that the clock has no part in."""
    files = {name: (out / name).read_bytes() for name in ("predictions.jsonl", "run.yaml")}
    files |= {
        f"{model}/model.safetensors": (out / model / "model.safetensors").read_bytes() for model in ("teacher", "student")
    }
    log = [timeless(json.loads(line)) for line in (out / "log.jsonl").read_text().splitlines()]
    return files | {"metrics.json": timeless(json.loads((out / "metrics.json").read_text())), "log.jsonl": log}


def assert_same(out: Path, expected: dict) -> None:
    found = result(out)
    for name in expected:
        assert found[name] == expected[name], f"{name} differs"
    names = {path.name for path in out.iterdir()}
    kept = {"run.yaml", "metrics.json", "predictions.jsonl", "log.jsonl", "report.html", "teacher", "student"}
    assert names == kept
    assert not list(out.rglob(".*.tmp"))


@pytest.fixture(scope="module")
def uninterrupted(shelf, start, tmp_path_factory):
    """What the run of the kill tests ends with where nobody kills it."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    out = folder / "run"
    finish(*start(command(shelf, out, epochs=5), folder / "cache"))
    expected = result(out)
    expected.pop("run.yaml")  # it names the folder
    assert [stage["name"] for stage in expected["metrics.json"]["stages"]] == ["teacher", "distil", "baseline"]
    assert [line["step"] for line in expected["log.jsonl"] if line["stage"] == "distil" and "loss" in line] == list(
        range(1, 71)
    )
    return expected


@pytest.mark.parametrize(
    "stage", [pytest.param("teacher", marks=pytest.mark.long), "distil", pytest.param("baseline", marks=pytest.mark.long)]
)
def test_kill_minus_nine(shelf, start, uninterrupted, tmp_path, stage):
    # Labelled rows: 100 - 10 (validation) - 9 (selection) = 81, so the teacher takes 5 x 11 = 55 steps of 8 rows. With the
    # unlabelled ones 111, so the student takes 5 x 14 = 70, and its baseline as many. The kill comes soon after the 10th.
    out, cache = tmp_path / "run", tmp_path / "cache"
    arguments = command(shelf, out, epochs=5)
    process, output = start(arguments, cache)
    kill_when(lambda: lines_of(out, stage) >= 11, (process, output))
    assert process.exitcode == -9
    assert (out / "checkpoints" / stage / "checkpoint.pt").exists()
    assert not (out / "checkpoints" / stage / "finished.json").exists()
    # What a kill in the middle of a write leaves behind.
    for leftover in (out / ".report.html.4711.tmp", out / "checkpoints" / stage / ".checkpoint.pt.4711.tmp"):
        leftover.write_text("half a")
    (out / ".student.4711.tmp").mkdir()
    (out / ".student.4711.tmp" / "model.safetensors").write_text("half a")
    with (out / "log.jsonl").open("a") as log:
        log.write('{"stage": "' + stage)

    finish(*start(arguments, cache))
    assert_same(out, uninterrupted)


@pytest.mark.long
def test_an_end_at_any_write(shelf, tmp_path, monkeypatch, empty_report):
    """The process ends just before or just after a file is moved into place: every ninth of those moments is tried."""
    real = os.replace
    moves: list[str] = []
    fatal = -1

    def replace(source, target):
        moves.append(Path(target).name)
        if len(moves) * 2 == fatal:
            raise Killed
        real(source, target)
        if len(moves) * 2 + 1 == fatal:
            raise Killed

    monkeypatch.setattr(os, "replace", replace)
    out = tmp_path / "run"

    def go(cache: str) -> None:
        monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / cache))
        assert leave(*command(shelf, out, epochs=2, log_every=12)) == 0

    go("whole")
    expected, whole = result(out), list(moves)
    assert {"run.yaml", "teacher", "checkpoint.pt", "final.safetensors", "finished.json"} < set(whole)
    assert any(name.startswith("best-") for name in whole)
    assert whole[-3:] == ["predictions.jsonl", "metrics.json", "report.html"]
    for moment in range(2, 2 * len(whole) + 2, 9):
        shutil.rmtree(out)
        moves.clear()
        fatal = moment
        monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / f"cache{moment}"))
        with pytest.raises(Killed):
            main(command(shelf, out, epochs=2, log_every=12))
        fatal = -1
        go(f"cache{moment}")
        assert_same(out, expected)


def test_ctrl_c_says_how_to_go_on(shelf, tmp_path, monkeypatch, capsys, empty_report):
    from stillhouse.training.trainer import Trainer

    real = Trainer._step

    def step(self, group):
        if self.stage.name == "distil" and self.progress.step == 5:
            raise KeyboardInterrupt
        real(self, group)

    arguments = command(shelf, tmp_path / "run", epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        assert leave(*arguments) == 1
    assert "stillhouse: interrupted; an unfinished run goes on when its command is given again" in capsys.readouterr().err
    # How often is logged decides nothing: the run goes on with another setting of it.
    for again in (command(shelf, tmp_path / "run", epochs=1, log_every=5), command(shelf, tmp_path / "whole", epochs=1)):
        assert leave(*again) == 0
    interrupted, whole = result(tmp_path / "run"), result(tmp_path / "whole")
    for name in ("student/model.safetensors", "teacher/model.safetensors", "predictions.jsonl"):
        assert interrupted[name] == whole[name]


def test_what_a_kill_leaves_of_a_finished_run_is_removed(shelf, tmp_path, capsys, empty_report):
    arguments = command(shelf, tmp_path / "run", epochs=1)
    assert leave(*arguments) == 0
    (tmp_path / "run" / "checkpoints" / "distil").mkdir(parents=True)
    assert leave(*arguments) == 0
    assert "this run is finished" in capsys.readouterr().out
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_an_overwriting_run_that_was_killed_can_overwrite_again(shelf, tmp_path, monkeypatch, empty_report):
    out = tmp_path / "run"
    arguments = command(shelf, out, epochs=1)
    assert leave(*arguments) == 0
    real = Path.unlink
    removed = []

    def unlink(self, missing_ok=False):
        if self.parent == out:
            if len(removed) == 2:
                raise Killed
            removed.append(self.name)
        real(self, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(Killed):
            main([*arguments, "--overwrite"])
    assert len(removed) == 2
    assert (out / "run.yaml").exists()
    assert leave(*arguments, "--overwrite") == 0


def test_a_report_that_is_gone_is_written_again(shelf, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    arguments = command(shelf, tmp_path / "run", epochs=1)
    assert leave(*arguments) == 0
    (tmp_path / "run" / "report.html").unlink()
    before = result(tmp_path / "run")
    monkeypatch.setattr(session, "prepare", lambda config: pytest.fail("the run was made again"))
    assert leave(*arguments) == 0
    assert (tmp_path / "run" / "report.html").exists()
    assert result(tmp_path / "run") == before
    assert "this run is finished" in capsys.readouterr().out
