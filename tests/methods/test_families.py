"""Every family and every task with the methods that look inside: one short run, or a refusal that says why."""

import json
import math

import pytest
from tests import toy_data
from tests.tiny_models import FAMILIES, make_tiny_checkpoint

from stillhouse import distill, run
from stillhouse.errors import UserError
from stillhouse.files import write_text
from stillhouse.methods import load_method

METHODS = ("pkd", "tinybert", "minilm", "minilmv2", "theseus")
REFUSED = {
    ("theseus", "albert"): "those of albert share their weights",
    ("theseus", "modernbert"): "attend locally and globally in turn",
    ("tinybert", "modernbert"): "layer 1 of the student has global attention, layer 2 of the teacher local",
}
TASKS = {
    "classification": lambda folder: toy_data.classification(folder / "data.csv", rows=40),
    "pair": lambda folder: toy_data.classification(folder / "data.csv", rows=40, pair=True),
    "multilabel": lambda folder: toy_data.multilabel(folder / "data.jsonl", rows=40),
    "regression": lambda folder: toy_data.regression(folder / "data.tsv", rows=40),
    "tagging": lambda folder: toy_data.tagging(folder / "data.txt", rows=40),
    "qa": lambda folder: toy_data.questions(folder / "data.json", paragraphs=12),
}


def short(method, data, teacher, out, **options):
    stages = type(load_method(method).model_fields["stages"].default).model_fields
    settings = ("epochs=1", "batch_size=8", "learning_rate=0.001")
    changes = ["teacher.finetune.epochs=1", "engine.log_every=1"]
    changes += [f"method.stages.{stage}.{setting}" for stage in stages for setting in settings]
    return distill(
        data=str(data),
        teacher=str(teacher),
        method=method,
        out=out,
        allow_weak_teacher=True,
        max_length=48,
        changes=changes,
        **({"student": "2x24"} | options),
    )


def check(done, method):
    names = {line["stage"] for line in map(json.loads, (done.folder / "log.jsonl").read_text().splitlines())}
    assert set(type(load_method(method).model_fields["stages"].default).model_fields) <= names
    for line in map(json.loads, (done.folder / "log.jsonl").read_text().splitlines()):
        assert all(math.isfinite(value) for value in line.get("objectives", {}).values())
    assert done.student.config.num_hidden_layers == 2
    assert not any("projection" in name or "predecessor" in name for name in done.student.state_dict())


@pytest.fixture(autouse=True)
def empty_report(monkeypatch):
    """Most of such a small run's time goes into drawing."""
    monkeypatch.setattr(run, "write_report", lambda folder: write_text(folder / "report.html", ""))


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return toy_data.classification(tmp_path_factory.mktemp("families") / "data.csv", rows=40)


@pytest.mark.parametrize("family", [*FAMILIES, "mobilebert"])
@pytest.mark.parametrize("method", ["pkd", "tinybert", "minilmv2", "theseus"])
def test_families(family, method, reviews, tmp_path):
    teacher = make_tiny_checkpoint(tmp_path / "teacher", family)
    options = {"student": "half"} if family == "mobilebert" else {}
    if (method, family) in REFUSED:
        with pytest.raises(UserError, match=REFUSED[method, family]):
            short(method, reviews, teacher, tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return
    check(short(method, reviews, teacher, tmp_path / "run", **options), method)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", METHODS)
def test_tasks(task, method, tmp_path):
    teacher = make_tiny_checkpoint(tmp_path / "teacher", "bert")
    check(short(method, TASKS[task](tmp_path), teacher, tmp_path / "run"), method)
