"""The benchmark of general distillation: its runs can be run, and its record says what they found and which are missing."""

import gzip
import json
import sys
from importlib import import_module
from pathlib import Path

import pytest

from stillhouse import api
from stillhouse.files import METRICS, PREDICTIONS
from stillhouse.runs.option_table import DISTILL
from stillhouse.runs.options import config_from_options, given_options
from stillhouse.sealed import write_sealed

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def general():
    """The module that runs it."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield import_module("general")
    for name in {"general", "general_page", "general_record", "records", "sets"} - before:
        sys.modules.pop(name, None)


@pytest.fixture
def plan(general, tmp_path):
    return general.Plan(tmp_path, Path("corpus.txt"), Path("data"), general.Settings())


def config_of(part):
    given = {name: value for name, value in part.options.items() if value is not None}
    return config_from_options(given_options(api.distill, DISTILL, given), changes=part.settings())


def test_every_run_is_one_that_distill_understands(general, plan):
    parts = [part for block in general.BLOCKS for part in plan.block(block)]
    assert len({part.folder for part in parts}) == len(parts) == 60
    starts = {part.folder: config_of(part).student for part in parts}
    assert {one.start for one in starts.values() if one.shape in ("3x312", "2x312")} == {"fresh"}
    assert {one.start for one in starts.values() if one.shape not in ("3x312", "2x312")} == {None}
    made = {f"{plan.out}/{folder}/student" for folder in starts if folder.startswith("general/")}
    assert {one.shape for one in starts.values() if "/" in one.shape} == made


def test_both_sides_of_a_gain_are_trained_alike(plan):
    """But for what they start from."""
    for block in ("3x312", "sst2", "task"):
        of = {part.folder: config_of(part) for part in plan.block(block) if not part.folder.startswith("general/")}
        for name in (name for name in of if "/none-" in name):
            seed = name.rpartition("/")[2]
            student = name.rpartition("-")[2]
            others = [one for other, one in of.items() if other.endswith(student) and other.startswith(name.partition("/")[0])]
            assert len({one.model_copy(update={"student": of[name].student}).to_yaml() for one in others}) == 1, seed


@pytest.mark.parametrize("is_folder", [True, False])
def test_the_first_words_are_whole_documents(general, tmp_path, is_folder):
    text = tmp_path / "b.txt.gz"
    text.write_bytes(gzip.compress(b"one two\n\nthree four\nfive\n\nsix seven\n"))
    if is_folder:
        (tmp_path / "a.txt").write_text("zero")
        (tmp_path / "a.md").write_text("no text of it")
    found = general.first_words(tmp_path if is_folder else text, 4)
    assert found == ("zero\n\none two\n\nthree four\nfive\n" if is_folder else "one two\n\nthree four\nfive\n")
    with pytest.raises(SystemExit, match=f"has {8 if is_folder else 7} words, not 9"):
        general.first_words(tmp_path if is_folder else text, 9)


def test_what_is_finished_is_not_run_again_and_a_failure_takes_no_other_along(general, tmp_path, monkeypatch):
    text, out, ran, fails = tmp_path / "text.txt", tmp_path / "runs", [], ["general/tinybert-3x312"]
    text.write_text("one two three")

    def distill(*, out, **_):
        ran.append(name := "/".join(out.parts[-2:]))
        if name in fails:
            raise general.stillhouse.UserError("it fails")
        out.mkdir(parents=True)
        (out / METRICS).write_text("{}")

    monkeypatch.setattr(general.stillhouse, "distill", distill)
    given = ["--corpus", str(text), "--data", "data", "--out", str(out), "--words", "3", "--blocks", "3x312", "--seeds", "0"]
    monkeypatch.setattr(sys, "argv", ["general.py", *given])
    assert general.main() == 1
    assert len(ran) == 3 + 4
    ran.clear()
    fails.clear()
    assert general.main() == 0
    assert ran == ["general/tinybert-3x312"]


def write_run(folder, values):
    """A finished fine-tuning whose student said these of rows whose gold values are 0, 1, 2, ..."""
    folder.mkdir(parents=True)
    lines = [{"gold": float(row), "student": {"value": float(value)}} for row, value in enumerate(values)]
    (folder / PREDICTIONS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    machine = {"precision": "fp32", "threads": 1, "cores": 2, "processor": "a processor"}
    environment = machine | {"torch": "2", "transformers": "5", "python": "3"}
    metrics = {"task": "regression", "labels": [], "environment": environment}
    write_sealed(folder / METRICS, metrics, [folder / PREDICTIONS])


def test_a_record_has_gains_of_pairs_and_what_is_missing(general, plan, capsys, monkeypatch):
    general._keep(plan.settings, plan.out)
    rows = range(9)
    for seed in (0, 1):
        write_run(plan.out / f"stsb/none-3x312/seed{seed}", [-row for row in rows])
    write_run(plan.out / "stsb/tinybert-3x312/seed1", [2 * row + 1 for row in rows])
    write_run(plan.out / "stsb/minilmv2-3x312/seed2", rows)
    monkeypatch.setattr(sys, "argv", ["general.py", "--out", str(plan.out), "--write", str(plan.out / "docs")])
    assert general.main() == 0
    record = json.loads((plan.out / "docs/general.json").read_text())
    (one,) = record["tuned"]
    assert (one["set"], one["start"], one["against"], one["student"], one["seeds"]) == (
        "stsb",
        "tinybert",
        "none",
        "3x312",
        [1],
    )
    assert one["scores"] == pytest.approx([1.0])
    assert one["without"] == pytest.approx([-1.0])
    assert one["difference"] == pytest.approx(2.0)
    missing = record["missing"]["3x312"]
    assert len(missing) == 15 - 4
    assert "stsb/minilmv2-3x312/seed0" in missing
    page = (plan.out / "docs/general.md").read_text()
    assert "| STS-B | tinybert, 3x312 | no corpus | Pearson correlation | 1 | 100.0 | -100.0 | **+200.0**" in page
    assert "- probe: `probe/none-3x312`" in page


def test_a_folder_keeps_its_settings(general, tmp_path):
    general._keep(general.Settings(), tmp_path)
    general._keep(general.Settings(), tmp_path)
    with pytest.raises(SystemExit, match="have other settings"):
        general._keep(general.Settings(words=7), tmp_path)
