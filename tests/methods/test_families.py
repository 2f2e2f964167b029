"""Every family and every kind of task with every method: two steps of each stage and a reload, or a refusal that says why.

What differs by family is how its inside is read, how its student is made and what is saved; what differs by kind of task is the
head and the labels. Both show within two steps. Whole runs of BERT are in `test_contract`, of every kind of task in
`tests/test_distill.py`; of ModernBERT they are here, and of all the others too, where there is time.
"""

import json
import math
from dataclasses import replace

import pytest
import torch
from tests import toy_data
from tests.methods.runs import check_exported, check_student, distilled
from tests.methods.stage_names import stage_names
from tests.tiny_models import FAMILIES, make_tiny_checkpoint, make_tokenizer, tiny_config
from tests.toy_data import TASKS
from tests.toy_splits import TOY_TASKS, toy_rows
from tests.training.toy_stage import train_stages, training_context
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from stillhouse.errors import UserError
from stillhouse.methods import load_method, method_names
from stillhouse.models.adapter import dimensions, input_names
from stillhouse.models.loading import build_encoder
from stillhouse.models.saving import save_model
from stillhouse.students.build import build_student
from stillhouse.task import load_kind

pytestmark = pytest.mark.usefixtures("empty_report")

EVERY = (*FAMILIES, "mobilebert")
REFUSED = {
    ("theseus", "albert"): "those of albert share their weights",
    ("theseus", "modernbert"): "attend locally and globally in turn",
    ("tinybert", "modernbert"): "layer 1 of the student has global attention, layer 2 of the teacher local",
}


def trained(method_name, family, kind, folder):
    """A student after two steps of each stage, trained on a few rows."""
    task, _ = TOY_TASKS[kind]
    method = load_method(method_name).model_validate({})
    torch.manual_seed(0)
    teacher = build_encoder(tiny_config(family), task.head)
    student, _ = build_student(
        "half", teacher=teacher, teacher_checkpoint_name=family, head=task.head, layers_rule=method.copied_layers
    )
    start = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    plan = [
        replace(stage, evaluate_every=2, config=stage.config.model_copy(update={"batch_size": 4, "steps": 2}))
        for stage in method.plan(load_kind(kind), dimensions(student.config), dimensions(teacher.config))
    ]
    context = training_context(folder, log_every=1)
    results = train_stages(plan, student, toy_rows(kind, family), lambda: 0.0, context, teacher=teacher, seed=0)
    assert [result.steps for result in results] == [2] * len(stage_names(method_name))
    logged = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    losses = [value for line in logged for value in line.get("objectives", {}).values()]
    assert losses
    assert all(math.isfinite(loss) for loss in losses)
    assert any(loss > 0 for loss in losses)
    assert student.state_dict().keys() == start.keys()
    assert any(not torch.equal(tensor, start[name]) for name, tensor in student.state_dict().items())
    return student


@pytest.mark.parametrize("family", EVERY)
@pytest.mark.parametrize("method", method_names())
def test_families(family, method, tmp_path):
    if (method, family) in REFUSED:
        with pytest.raises(UserError, match=REFUSED[method, family]):
            trained(method, family, "classification", tmp_path)
        return
    student = trained(method, family, "classification", tmp_path).eval()
    save_model(student, make_tokenizer(family), tmp_path / "student")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "student").eval()
    assert loaded.config.num_hidden_layers == 2
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "student")
    given = tokenizer(["a good movie", "the film was dull and very long"], padding=True, return_tensors="pt")
    assert set(given) <= set(input_names(student))
    with torch.no_grad():
        ours, theirs = student(**given).logits, loaded(**given).logits
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("kind", TOY_TASKS)
@pytest.mark.parametrize("method", method_names())
def test_kinds_of_task(kind, method, tmp_path):
    trained(method, "bert", kind, tmp_path)


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return toy_data.classification(tmp_path_factory.mktemp("families") / "data.csv", rows=40)


def whole_run(method, family, reviews, tmp_path):
    teacher = make_tiny_checkpoint(tmp_path / "teacher", family)
    if (method, family) in REFUSED:
        with pytest.raises(UserError, match=REFUSED[method, family]):
            distilled(method, reviews, teacher, tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return
    done = distilled(method, reviews, teacher, tmp_path / "run", student="half")
    check_student(done, method)
    check_exported(done.folder)


@pytest.mark.parametrize("method", method_names())
def test_whole_runs_of_modernbert(method, reviews, tmp_path):
    whole_run(method, "modernbert", reviews, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("family", [family for family in EVERY if family != "modernbert"])
@pytest.mark.parametrize("method", method_names())
def test_whole_runs_of_every_family(method, family, reviews, tmp_path):
    whole_run(method, family, reviews, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", method_names())
def test_whole_runs_of_every_kind_of_task(task, method, tmp_path):
    teacher = make_tiny_checkpoint(tmp_path / "teacher", "bert")
    check_student(distilled(method, TASKS[task](tmp_path, rows=40), teacher, tmp_path / "run"), method)
