"""The README.md of a trained model says who taught it, and by which settings."""

from types import SimpleNamespace

import pytest
from tests.tiny_models import tiny_config

from stillhouse.method import Stage
from stillhouse.methods import load_method
from stillhouse.models.loading import build_encoder
from stillhouse.models.model import Model
from stillhouse.runs.model_card import write_general_card, write_model_card
from stillhouse.runs.prepared import Learner
from stillhouse.runs.run_config import RunConfig
from stillhouse.task import MASKED_LM, Task, load_kind

TASK = Task("reviews", load_kind("classification"), ("no", "yes"))
STAGE = Stage("any", (), load_method("finetune").preset().last_config())


def card(folder, role, *, method="distilbert", on_corpus=True, has_assistant=True, is_taught=True, **settings):
    """Of a model of a run with or without an assistant."""
    config = RunConfig.model_validate({"method": load_method(method).model_validate(settings), "baseline": True})
    encoder = build_encoder(tiny_config("bert"), MASKED_LM if on_corpus else TASK.head)
    roles = ("assistant", "student") if has_assistant else ("student",)
    learners = []
    for one in roles:
        teacher = ("assistant" if one == "student" and has_assistant else "teacher") if is_taught else None
        stages = (Stage("any", (), STAGE.config, student=one),)
        learners.append(Learner(Model(f"my-{one}", encoder, None, "layers 1, 2 of big"), stages, teacher))
    parts = {"config": config, "teacher": Model("big", None, None), "learners": learners, "task": TASK}
    parts |= {"kept": SimpleNamespace(name="wiki"), "has_head": True}
    model = next(learner.model for learner in learners if learner.role == role)
    (write_general_card if on_corpus else write_model_card)(folder, SimpleNamespace(**parts), model)
    return " ".join((folder / "README.md").read_text(encoding="utf-8").split())


@pytest.mark.parametrize("on_corpus", [True, False])
def test_who_taught_whom(tmp_path, on_corpus):
    student, assistant = (card(tmp_path, role, on_corpus=on_corpus) for role in ("student", "assistant"))
    assert "distilled from my-assistant, an assistant that learnt from big, with the method `distilbert`" in student
    assert "distilled from big with the method `distilbert`" in assistant
    assert "distilled from big with" in card(tmp_path, "student", on_corpus=on_corpus, has_assistant=False)
    alone = {"has_assistant": False, "is_taught": False, "method": "finetune"}
    assert "without a teacher with the method `finetune`" in card(tmp_path, "student", on_corpus=on_corpus, **alone)


def test_the_baseline_is_the_students(tmp_path):
    said = "the same student trained without one"
    assert said in card(tmp_path, "student", on_corpus=False)
    assert said not in card(tmp_path, "assistant", on_corpus=False)


@pytest.mark.parametrize("on_corpus", [True, False])
def test_settings_that_are_not_the_methods_own_are_named(tmp_path, on_corpus):
    stages = {"general": {"epochs": 1}}
    changed = card(tmp_path, "student", on_corpus=on_corpus, projection=True, masking={"share": 0.2}, stages=stages)
    assert "`method.masking.share=0.2`" in changed
    assert "`method.projection=true`" in changed
    assert "`method.stages.general.epochs=1" in changed
    assert "stillhouse methods distilbert" in changed
    assert "`method." not in card(tmp_path, "student", on_corpus=on_corpus)
