"""What every file in `methods/` promises, tried on a tiny teacher."""

import json
import math

import pytest
from tests import toy_data
from tests.methods.runs import check_exported, check_student
from tests.methods.stage_names import stage_names
from tests.tiny_models import make_tiny_checkpoint

from stillhouse import distill
from stillhouse.config import StageConfig
from stillhouse.errors import UserError
from stillhouse.features import LOGITS, VOCABULARY, Dimensions
from stillhouse.method import Method, Stage
from stillhouse.methods import load_method, method_names, recipe_card
from stillhouse.task import kind_names, load_kind

pytestmark = pytest.mark.usefixtures("empty_report")

SMALL = Dimensions(layers=2, width=24, heads=2, attention_width=24, windows=(None,) * 2)
LARGE = Dimensions(layers=4, width=24, heads=2, attention_width=24, windows=(None,) * 4)
# Theseus' student starts as a copy of a teacher that solves the task: its loss has not far to fall, and takes its time.
EPOCHS = {"theseus": 9}
TEACHER = ["teacher.finetune.epochs=8", "teacher.finetune.learning_rate=0.003", "engine.log_every=1"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contract")
    return toy_data.classification(folder / "data.csv"), make_tiny_checkpoint(folder / "tiny-bert", "bert")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    """One for all methods: they have the same teacher."""
    monkeypatch.setenv("STILLHOUSE_CACHE", str(cache))


def run(name, inputs, out):
    data, teacher = inputs
    settings = (f"epochs={EPOCHS.get(name, 3)}", "batch_size=16", "learning_rate=0.003")
    changes = TEACHER + [f"method.stages.{stage}.{setting}" for stage in stage_names(name) for setting in settings]
    options = {"student": "2x24", "precision": "fp32", "changes": changes, "allow_weak_teacher": True}
    return distill(data=str(data), teacher=str(teacher), method=name, out=out, **options)


@pytest.mark.parametrize("name", method_names())
def test_it_is_a_method_with_stages(name):
    method = load_method(name).model_validate({})
    assert isinstance(method, Method)
    assert method.name == name
    for kind in map(load_kind, kind_names()):
        stages = method.plan(kind, SMALL, LARGE)
        assert stages
        assert all(isinstance(stage, Stage) and isinstance(stage.config, StageConfig) for stage in stages)
        assert [stage.name for stage in stages][-1] == method.last_stage()
        assert all(stage.objectives and stage.student_needs for stage in stages)
        reads_teacher = any(stage.teacher_needs for stage in stages)
        assert (reads_teacher or method.starts_from_fitted_teacher) == method.uses_teacher
        assert any(not stage.needs_gold for stage in stages) == method.uses_plain_text


@pytest.mark.parametrize("name", method_names())
def test_what_it_learns_from_a_corpus_it_says(name):
    method = load_method(name).model_validate({})
    stages = method.general(SMALL, LARGE)
    names = tuple(stage.name for stage in stages)
    assert names == method.general_stages == tuple(type(method.stages).model_fields)[: len(names)]
    assert method.last_stage(has_task=False) == (names[-1] if names else method.last_stage())
    kinds = [method.plan(load_kind(kind), SMALL, LARGE) for kind in kind_names()]
    assert {(stage.text, stage.name in names) for stages in kinds for stage in stages} == {("task", False)}
    assert all(not stages[-1].without_corpus for stages in kinds)
    for stage in stages:
        assert stage.text == "corpus"
        assert not stage.without_corpus
        assert stage.config == getattr(method.stages, stage.name)
        assert stage.objectives
        assert not any(objective.learns_from == "gold" for objective in stage.objectives)
        assert LOGITS not in stage.student_needs | stage.teacher_needs
        assert (stage.teacher is None) == (not stage.teacher_needs) == (not method.uses_teacher)
        # Without a head there is nothing to score; with one, nothing to learn but from masked tokens.
        assert (VOCABULARY in stage.student_needs) == (stage.config.select_on == "last") == (stage.masking is not None)


def test_which_methods_learn_from_a_corpus():
    able = {name for name in method_names() if load_method(name).general_stages}
    assert able == {"distilbert", "finetune", "minilm", "minilmv2", "tinybert"}


@pytest.mark.parametrize("name", method_names())
def test_the_card_names_paper_and_every_setting(name):
    card = recipe_card(name)
    headings = (
        "**Paper**",
        "arXiv:",
        "**Objective**",
        "**Student**",
        "**Departures",
        "**When to use it**",
        "**What it costs**",
    )
    assert all(heading in card for heading in headings)
    knobs = set(load_method(name).model_fields) - {"name", "stages"}
    assert all(f"method.{knob}" in card for knob in knobs)


@pytest.mark.parametrize("name", method_names())
def test_losses_are_finite_and_fall(name, inputs, tmp_path):
    """In a whole run, whose student is then loaded by transformers alone."""
    done = run(name, inputs, tmp_path / "run")
    lines = [json.loads(line) for line in (done.folder / "log.jsonl").read_text().splitlines()]
    stages = [stage["name"] for stage in done.metrics["stages"] if stage["name"] != "teacher"]
    assert stages == stage_names(name)
    for stage in stages:
        losses = [line["loss"] for line in lines if "loss" in line and line["stage"] == stage]
        assert all(math.isfinite(loss) for loss in losses)
        third = len(losses) // 3
        assert sum(losses[-third:]) < sum(losses[:third]), stage
    check_student(done, name)
    check_exported(done.folder)


def test_unknown_methods():
    with pytest.raises(UserError, match="did you mean 'logit'"):
        load_method("logt")
    with pytest.raises(UserError, match="unknown method"):
        recipe_card("nothing")
