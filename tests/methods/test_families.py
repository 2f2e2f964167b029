"""Every family and every task with the methods that look inside: one short run, or a refusal that says why."""

import json
import math

import pytest
import torch
from tests import toy_data
from tests.methods.stage_names import stage_names
from tests.tiny_models import FAMILIES, make_tiny_checkpoint
from tests.toy_data import TASKS
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from stillhouse import distill
from stillhouse.errors import UserError
from stillhouse.methods import method_names

pytestmark = pytest.mark.usefixtures("empty_report")

OUTSIDE = {"finetune", "logit"}  # see logits alone; tests/test_distill.py has them
METHODS = [name for name in method_names() if name not in OUTSIDE]
REFUSED = {
    ("theseus", "albert"): "those of albert share their weights",
    ("theseus", "modernbert"): "attend locally and globally in turn",
    ("tinybert", "modernbert"): "layer 1 of the student has global attention, layer 2 of the teacher local",
}


def short(method, data, teacher, out, **options):
    settings = ("epochs=1", "batch_size=8", "learning_rate=0.001")
    changes = ["teacher.finetune.epochs=1", "engine.log_every=1"]
    changes += [f"method.stages.{stage}.{setting}" for stage in stage_names(method) for setting in settings]
    return distill(
        data=str(data),
        teacher=str(teacher),
        method=method,
        out=out,
        allow_weak_teacher=True,
        max_length=48,
        precision="fp32",
        changes=changes,
        **({"student": "2x24"} | options),
    )


def check(done, method):
    names = {line["stage"] for line in map(json.loads, (done.folder / "log.jsonl").read_text().splitlines())}
    assert set(stage_names(method)) <= names
    for line in map(json.loads, (done.folder / "log.jsonl").read_text().splitlines()):
        assert all(math.isfinite(value) for value in line.get("objectives", {}).values())
    assert done.student.config.num_hidden_layers == 2
    assert not any("projection" in name or "predecessor" in name for name in done.student.state_dict())


def check_exported(folder):
    """The saved student, by transformers alone, says what the trained one said."""
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(folder / "student")
    model = AutoModelForSequenceClassification.from_pretrained(folder / "student")
    with torch.no_grad():
        logits = model(**tokenizer([line["text"] for line in lines], padding=True, return_tensors="pt")).logits
    said = torch.tensor([line["student"]["probabilities"] for line in lines])
    assert torch.allclose(logits.softmax(dim=-1), said, atol=1e-4)


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return toy_data.classification(tmp_path_factory.mktemp("families") / "data.csv", rows=40)


@pytest.mark.parametrize("family", [*FAMILIES, "mobilebert"])
@pytest.mark.parametrize("method", METHODS)
def test_families(family, method, reviews, tmp_path):
    teacher = make_tiny_checkpoint(tmp_path / "teacher", family)
    options = {"student": "half"} if family == "mobilebert" else {}
    if (method, family) in REFUSED:
        with pytest.raises(UserError, match=REFUSED[method, family]):
            short(method, reviews, teacher, tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return
    done = short(method, reviews, teacher, tmp_path / "run", **options)
    check(done, method)
    check_exported(done.folder)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", METHODS)
def test_tasks(task, method, tmp_path):
    teacher = make_tiny_checkpoint(tmp_path / "teacher", "bert")
    check(short(method, TASKS[task](tmp_path, rows=40), teacher, tmp_path / "run"), method)
