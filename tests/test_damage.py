"""A flipped bit, anywhere in what Stillhouse wrote, is said or changes nothing: no other student, no traceback.

Seeded: the same bits every time. A flip is followed by the commands that read the file, in this process.
"""

import contextlib
import io
import json
import random
import shutil
import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from stillhouse.cli.main import main
from stillhouse.files import cache_folder
from stillhouse.teachers.kept_models import fits_kept, keep, load_kept
from stillhouse.training.trainer import Trainer
from tests import toy_data
from tests.killed import Killed
from tests.records import timeless
from tests.teachers.toy_store import EVERYTHING, build, make_shards_small
from tests.tiny_models import make_tiny_checkpoint
from tests.training.toy_stage import toy_encoder, toy_split

pytestmark = pytest.mark.long

FLIPS = {"finished": 160, "interrupted": 80, "comparison": 60, "store": 120, "kept teacher": 100}


@dataclass
class Said:
    """What a command left with and printed."""

    status: int
    text: str

    @property
    def is_damage(self) -> bool:
        return "damaged" in self.text


def command(*arguments: str) -> Said:
    """Runs a command; fails where it ends in a traceback."""
    said = io.StringIO()
    status = 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(list(arguments))
        except SystemExit as left:
            status = int(left.code or 0)
        except Exception:
            pytest.fail(f"{arguments} ends in a traceback:\n{traceback.format_exc()}")
    return Said(status, said.getvalue())


@dataclass(frozen=True)
class Flip:
    """One bit of one file."""

    file: str
    byte: int
    bit: int

    def apply(self, root: Path) -> None:
        content = bytearray((root / self.file).read_bytes())
        content[self.byte] ^= 1 << self.bit
        (root / self.file).write_bytes(content)


def flips(root: Path, kind: str) -> list[Flip]:
    """Files by turns, so that small ones get their share, and of each a byte and a bit by chance."""
    draw = random.Random(f"damage {kind}")
    paths = [path for path in root.rglob("*") if path.is_file() and path.stat().st_size]
    paths.sort(key=Path.read_bytes)  # names of shards are drawn anew each time
    files = [path.relative_to(root).as_posix() for path in paths]
    files = [file for file in files if not file.endswith("report.html")]  # written again, and read by nobody
    chosen = [files[number % len(files)] for number in range(FLIPS[kind])]
    return [Flip(file, draw.randrange((root / file).stat().st_size), draw.randrange(8)) for file in chosen]


def restore(root: Path, kept: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(kept, root)


def distil(shelf: Path, out: Path) -> list[str]:
    options = f"--data {shelf}/data.csv --teacher {shelf}/bare --student 1x12 --baseline --max-length 16 --out {out}"
    options += " --batch-size 16 --epochs 1 --learning-rate 1e-3 --allow-weak-teacher --precision fp32"
    options += " --set teacher.finetune.epochs=1 --set teacher.finetune.batch_size=16"
    options += " --set engine.log_every=1 --set engine.checkpoint_seconds=0"
    return ["distill", *options.split()]


def result(out: Path) -> dict:
    files = ("predictions.jsonl", "student/model.safetensors", "student/config.json", "student/tokenizer.json")
    metrics = json.loads((out / "metrics.json").read_text())
    return {file: (out / file).read_bytes() for file in files} | {"metrics": timeless(metrics)}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shelf")
    make_tiny_checkpoint(folder / "bare", "bert", layers=2, hidden=12)
    toy_data.classification(folder / "data.csv", rows=60)
    return folder


@pytest.fixture(scope="module")
def quick():
    """Pages without drawings, and next to nothing measured: what is drawn is not what is read."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("stage_curves", "score_intervals", "class_bars", "confusion_matrix", "cost_bars"):
            patch.setattr(f"stillhouse.report.plots.{name}", lambda *_, **__: "", raising=False)
        for name in ("difference_intervals", "score_against_cost"):
            patch.setattr(f"stillhouse.report.comparison_plots.{name}", lambda *_, **__: "", raising=False)
        yield


@pytest.fixture(scope="module")
def finished(shelf, quick, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STILLHOUSE_CACHE", str(folder / "cache"))
        assert command(*distil(shelf, folder / "run")).status == 0
    return folder / "run"


def assert_said(said: Said, flip: Flip) -> None:
    """A refusal in words, which is no other reproach; of a YAML file that may be any that its new content deserves."""
    assert said.status == 2, (flip, said.text)
    assert said.text.count("stillhouse: ") == 1, (flip, said.text)
    assert said.is_damage or flip.file.endswith(".yaml"), (flip, said.text)


def test_a_finished_run(shelf, finished, tmp_path):
    expected = result(finished)
    evaluated = command("evaluate", str(finished), "--data", f"{shelf}/data.csv")
    assert evaluated.status == 0
    run = tmp_path / "run"
    again = distil(shelf, run)
    restore(run, finished)
    shown = command(*again)
    assert shown.status == 0
    assert "this run is finished" in shown.text
    refused = set()
    for flip in flips(finished, "finished"):
        restore(run, finished)
        flip.apply(run)
        for arguments in (again, ["evaluate", str(run), "--data", f"{shelf}/data.csv"], ["report", str(run)]):
            said = command(*arguments)
            if said.status:
                assert_said(said, flip)
                refused.add((arguments[0], flip.file))
            elif arguments[0] == "evaluate":
                assert said.text == evaluated.text, flip
            elif arguments[0] == "distill":
                assert said.text == shown.text, flip
            else:
                assert said.is_damage == flip.file.endswith(".jsonl"), flip
                assert flip.file.endswith(".jsonl") or result(run)["metrics"] == expected["metrics"], flip
    for name in ("distill", "evaluate", "report"):
        assert (name, "metrics.json") in refused
    for name in ("distill", "evaluate"):
        assert {file for command, file in refused if command == name and "student/" in file} >= {
            f"student/{part}" for part in ("model.safetensors", "config.json", "tokenizer.json")
        }


@pytest.fixture(scope="module")
def interrupted(shelf, quick, tmp_path_factory):
    """A run that was killed in its second stage, after its first best state and a checkpoint were written."""
    folder = tmp_path_factory.mktemp("interrupted")
    real = Trainer._step

    def step(self, coming):
        if self.stage.name == "distil" and self.progress.step == 3:
            raise Killed
        real(self, coming)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        patch.setenv("STILLHOUSE_CACHE", str(folder / "cache"))
        patch.setattr("stillhouse.training.trainer.stage_steps", lambda stage, rows: (4, 2))
        with pytest.raises(Killed):
            command(*distil(shelf, folder / "run"))
    names = {path.relative_to(folder / "run").as_posix() for path in (folder / "run").rglob("*")}
    assert {"checkpoints/teacher/final.safetensors", "checkpoints/distil/checkpoint.pt", "log.jsonl"} < names
    assert any("checkpoints/distil/best-" in name for name in names)
    return folder / "run"


def test_an_interrupted_run(shelf, interrupted, tmp_path, monkeypatch, empty_report):
    run = tmp_path / "run"
    again = distil(shelf, run)
    monkeypatch.setattr("stillhouse.training.trainer.stage_steps", lambda stage, rows: (4, 2))
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    restore(run, interrupted)
    assert command(*again).status == 0
    expected = result(run)
    stages = {"checkpoints/teacher": 0, "checkpoints/distil": 0}
    for flip in flips(interrupted, "interrupted"):
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        restore(run, interrupted)
        flip.apply(run)
        said = command(*again)
        if said.status:
            assert_said(said, flip)
            assert "belongs to other data" not in said.text, flip
            continue
        assert result(run) == expected, (flip, said.text)
        for stage in stages:
            stages[stage] += f"{stage}/" in said.text and "starts anew" in said.text
    assert min(stages.values()) > 5


@pytest.fixture(scope="module")
def compared(shelf, quick, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STILLHOUSE_CACHE", str(folder / "cache"))
        assert command(*compare(shelf, folder / "comparison")).status == 0
    return folder / "comparison"


def compare(shelf: Path, out: Path) -> list[str]:
    options = f"--data {shelf}/data.csv --teacher {shelf}/bare --students 1x12 --methods logit --seeds 0 --no-grid"
    options += f" --max-length 16 --epochs 1 --batch-size 16 --allow-weak-teacher --precision fp32 --out {out}"
    return ["compare", *options.split(), "--set", "teacher.finetune.epochs=1"]


def test_a_comparison(shelf, compared, tmp_path, monkeypatch):
    """One whose record is there, and one whose record is made again from its runs."""
    out = tmp_path / "comparison"
    again = compare(shelf, out)
    expected = timeless(json.loads((compared / "comparison.json").read_text()))
    restore(out, compared)
    shown = command(*again)
    assert shown.status == 0
    for flip in flips(compared, "comparison"):
        restore(out, compared)
        if flip.file.startswith("rows/") or flip.file == "inputs.json":
            (out / "comparison.json").unlink()
        flip.apply(out)
        said = command(*again)
        if said.status:
            assert_said(said, flip)
        else:
            assert timeless(json.loads((out / "comparison.json").read_text())) == expected, (flip, said.text)
        if (out / "comparison.json").exists() and (said := command("report", str(out))).status:
            assert_said(said, flip)


def description(about: Path) -> dict:
    """What a store says of itself; in which words its checksum is named is no matter."""
    content = json.loads(about.read_bytes())
    return {name: content.get(name) for name in ("stillhouse", "teacher", "precision", "format")}


def test_a_store(tmp_path, monkeypatch):
    make_shards_small(monkeypatch)
    split = toy_split()
    build(tmp_path / "whole", EVERYTHING, features="store")
    whole = tmp_path / "whole" / "store"
    rows = torch.arange(len(split.lengths)).numpy()
    batch = split.batch(rows)
    expected = build(tmp_path / "whole", EVERYTHING).features(batch)
    root = tmp_path / "store"
    for flip in flips(whole, "store"):
        restore(root, whole)
        flip.apply(root)
        for arguments in (["store", "ls", "--store", str(root)], ["store", "verify", "--store", str(root)]):
            listed = command(*arguments)
            assert listed.status < 2, (flip, listed.text)
        said = []
        found = build(tmp_path, EVERYTHING, said).features(batch)
        is_same = flip.file.endswith("store.json") and description(root / flip.file) == description(whole / flip.file)
        assert listed.status == 1 or is_same, (flip, said)
        for name, tensor in found.tensors.items():
            assert torch.equal(tensor, expected.tensors[name]), (flip, name, said)


def test_a_kept_teacher(tmp_path):
    original = toy_encoder(3)
    original.save_pretrained(tmp_path / "fitted")
    place = cache_folder("teachers") / ("0123456789abcdef" * 2)
    assert keep(place, tmp_path / "fitted")
    whole = tmp_path / "whole"
    shutil.copytree(place, whole)
    weights = original.state_dict()
    for flip in flips(whole, "kept teacher"):
        restore(place, whole)
        flip.apply(place)
        for arguments in (["store", "ls"], ["store", "verify"]):
            listed = command(*arguments)
            assert listed.status < 2, (flip, listed.text)
        encoder, said = toy_encoder(5), []
        is_loaded = fits_kept(place, encoder, said.append)
        assert is_loaded or "damaged" in said[0], flip
        assert is_loaded == (flip.file not in ("model.safetensors", "model.safetensors.sha256")), flip
        if is_loaded:
            load_kept(place, encoder)
            assert all(torch.equal(tensor, weights[name]) for name, tensor in encoder.state_dict().items()), flip


def test_there_are_enough():
    assert sum(FLIPS.values()) >= 500
