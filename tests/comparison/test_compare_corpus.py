"""A comparison whose students learn from plain text first: once for each method and student, whatever the seed and the rate."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tests.comparison.toy_comparison import GIVEN, rows_of
from tests.general_runs import make_silent, write_text
from tests.killed import Killed
from tests.processes import finish
from tests.toy_data import classification

from stillhouse import UserError, compare, distill
from stillhouse.api import Comparison
from stillhouse.training import trainer

pytestmark = pytest.mark.usefixtures("empty_reports")

CHANGES = ["corpus.block_length=16", "corpus.heldout_share=0.1", "teacher.finetune.epochs=1"]
CHANGES += ["teacher.masked_lm.epochs=0.3", "engine.checkpoint_seconds=0"]
GENERAL = {method: f"{method} on text, from layers 1, 4 of teacher" for method in ("distilbert", "minilm")}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    make_silent(folder / "teacher", layers=4)
    write_text(folder / "text.txt", 100)
    classification(folder / "data.csv", rows=60)
    return folder


def run(shelf, out, methods="distilbert,minilm", **options):
    values = GIVEN | {"data": str(shelf / "data.csv"), "teacher": str(shelf / "teacher"), "corpus": [str(shelf / "text.txt")]}
    values |= {"methods": methods, "seeds": "0,1", "grid": "2e-3,5e-3", "precision": "fp32"} | options
    stage = "general" if values["corpus"] else "relations"
    stages = [f"methods.{method}.stages.{stage}.epochs=1" for method in methods.split(",") if method != "logit"]
    return compare(out=out, changes=[*CHANGES, *stages], **values)


@pytest.fixture(scope="module")
def finished(shelf, empty_reports, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STILLHOUSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return run(shelf, shelf / "finished")


def metrics_of(comparison):
    return [json.loads(path.read_text()) for path in sorted(comparison.folder.glob("rows/*/*/metrics.json"))]


def trained(metrics):
    """Names of the stages on the corpus that a run went through itself."""
    return [stage["name"] for stage in metrics["stages"] if stage["name"] in ("general", "masked_lm", "masked_lm_teacher")]


def test_the_corpus_is_learnt_once_for_each_method(finished):
    """Neither other seeds, nor other rates, nor the baselines learn from it again."""
    runs = metrics_of(finished)
    assert len(runs) == 4 * (2 + 1)
    stages = [(metrics["method"], name) for metrics in runs for name in trained(metrics)]
    assert sorted(stages) == [("distilbert", "general"), ("distilbert", "masked_lm_teacher"), ("minilm", "general")]
    for method in GENERAL:
        records = [metrics["general"] for metrics in runs if metrics["general"]["method"] == method]
        assert len(records) == 2 * 3
        assert all(record == records[0] for record in records)


def test_each_method_has_a_baseline_that_goes_on_from_its_student(finished):
    rows = finished.results["rows"]
    assert {row["status"] for row in rows} == {"done"}
    for method, start in GENERAL.items():
        (pair,) = [pair for pair in finished.results["pairs"] if pair["method"] == method]
        assert pair["baseline"] == f"finetune-like-{method}-2x24"
        assert {row["start"] for row in rows if row["line"] in (pair["line"], pair["baseline"])} == {start}
        for row in rows_of(finished, line=pair["baseline"]):
            metrics = json.loads((finished.folder / row["run"] / "metrics.json").read_text())
            assert (metrics["method"], metrics["general"]["method"]) == ("finetune", method)
            assert [stage["name"] for stage in metrics["stages"]] == ["finetune"]


def test_steps_and_time_are_those_of_the_task(finished):
    for row in finished.results["rows"]:
        metrics = json.loads((finished.folder / row["run"] / "metrics.json").read_text())
        own = [stage for stage in metrics["stages"] if stage["name"] in ("distil", "finetune")]
        assert row["steps"] == own[0]["steps"]
        assert row["train_seconds"] == own[0]["seconds"]
        assert row["general_seconds"] == pytest.approx(sum(stage["seconds"] for stage in metrics["general"]["stages"]))
    steps = {(row["method"], row["line"]): row["steps"] for row in finished.results["rows"]}
    for pair in finished.results["pairs"]:
        assert steps[pair["method"], pair["line"]] == steps["finetune", pair["baseline"]]


def test_the_table_says_what_came_first(finished):
    text = (finished.folder / "comparison.md").read_text()
    assert "Every student has learnt from text first" in text
    assert "on the corpus" in text
    assert GENERAL["minilm"] in text
    assert any(note.startswith("text: 100 documents") for note in finished.results["notes"])


def test_the_run_of_a_baseline_is_repeated_by_its_own_file(finished, tmp_path):
    row = rows_of(finished, line="finetune-like-minilm-2x24", seed=1)[0]
    again = distill(config=finished.folder / row["run"] / "run.yaml", out=tmp_path / "again")
    assert again.metrics["student"]["score"] == row["score"]
    assert yaml.safe_load((tmp_path / "again" / "run.yaml").read_text())["general"]["name"] == "minilm"


def test_a_file_of_a_comparison_repeats_it(finished):
    again = compare(config=finished.folder / "compare.yaml", out=finished.folder)
    assert again.results == finished.results


@pytest.mark.parametrize("moment", ["general", "distil"])
def test_an_end_in_either_phase(shelf, tmp_path, monkeypatch, empty_cache, finished, moment):
    real = trainer.Trainer._step

    def step(self, step):
        if self.stage.name == moment and self.progress.step == 1:
            raise Killed
        real(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_step", step)
        with pytest.raises(Killed):
            run(shelf, tmp_path / "out", methods="minilm", seeds="0")
    again = run(shelf, tmp_path / "out", methods="minilm", seeds="0")
    assert [name for metrics in metrics_of(again) for name in trained(metrics)] == ["general"]
    for row in again.results["rows"]:
        ours, theirs = (load_file(one.folder / row["run"] / "student" / "model.safetensors") for one in (again, finished))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(tensor, ours[name]) for name, tensor in theirs.items())


def test_an_assistant_stands_between_in_a_comparison_too(shelf, tmp_path):
    found = run(shelf, tmp_path / "out", methods="minilm", assistant="3x24", seeds="0,1", grid=False)
    (start,) = {row["start"] for row in found.results["rows"]}
    assert start.startswith("minilm on text with assistant 3x24, from layers ")
    names = [[stage["name"] for stage in metrics["stages"]] for metrics in metrics_of(found)]
    assert sorted(names, key=len)[:2] == [["finetune"]] * 2
    assert sum(name.count("assistant-general") for name in names) == 1
    row = rows_of(found, method="minilm", seed=0)[0]
    (baseline,) = rows_of(found, method="finetune", seed=0)
    assert row["steps"] == baseline["steps"]


@pytest.mark.long
def test_a_new_teacher_learns_language_once(shelf, tmp_path):
    options = {"teacher": "2x32", "vocab": str(shelf / "teacher"), "students": "1x32", "methods": "minilm", "grid": False}
    found = run(shelf, tmp_path / "out", **options)
    assert {row["status"] for row in found.results["rows"]} == {"done"}
    assert sorted(name for metrics in metrics_of(found) for name in trained(metrics)) == ["general", "masked_lm_teacher"]


@pytest.mark.long
def test_two_processes_compare_on_a_corpus_as_one_does(shelf, tmp_path, start_ranks):
    options = f"compare --corpus {shelf}/text.txt --data {shelf}/data.csv --teacher {shelf}/teacher --students 2x24,2x20"
    options += " --methods distilbert --seeds 0 --no-grid --epochs 1 --precision fp32 --allow-weak-teacher"
    options += "".join(f" --set {change}" for change in [*CHANGES, "methods.distilbert.stages.general.epochs=1"])
    for processes in (1, 2):
        arguments = [*options.split(), "--out", str(tmp_path / str(processes))]
        started = start_ranks(processes, arguments, tmp_path / f"cache{processes}")
        said = "".join([finish(*one) for one in started])
        assert said.count("distilbert on 2x20 is left out") == 1
    one, two = (Comparison(tmp_path / name) for name in ("1", "2"))
    for row in rows_of(one, status="done"):
        ours, theirs = (load_file(found.folder / row["run"] / "student" / "model.safetensors") for found in (one, two))
        for name, tensor in theirs.items():
            assert torch.allclose(tensor, ours[name], atol=1e-4), name
    assert len(rows_of(one, status="done")) == 2


def test_an_assistant_on_a_task_is_the_methods_alone(shelf, tmp_path):
    """The baseline has been taught by nobody: it starts from the teacher's layers, one for all methods."""
    options = {"methods": "logit,minilm", "corpus": None, "assistant": "3x24", "seeds": "0", "grid": False}
    found = run(shelf, tmp_path / "out", **options)
    starts = {row["method"]: row["start"] for row in found.results["rows"]}
    assert len(found.results["rows"]) == 3
    assert starts["finetune"] == "layers 1, 4 of teacher"
    assert "assistant" in starts["logit"]
    assert {row["status"] for row in found.results["rows"]} == {"done"}


def test_a_corpus_that_changed_meanwhile_is_noticed(shelf, tmp_path):
    options = {"methods": "minilm", "seeds": "0", "grid": False, "corpus": str(write_text(tmp_path / "text.txt", 100))}
    found = run(shelf, tmp_path / "out", **options)
    (found.folder / "comparison.json").unlink()
    write_text(tmp_path / "text.txt", 101)
    with pytest.raises(UserError, match="the corpus changed since the comparison"):
        run(shelf, tmp_path / "out", **options)
