import pytest
import torch
from tests.features import needing
from tests.tiny_models import FAMILIES, make_tiny_checkpoint, tiny_config
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from stillhouse.errors import UserError
from stillhouse.features import LOGITS
from stillhouse.layer_maps import first, uniform
from stillhouse.models.adapter import compute_features
from stillhouse.models.architecture import head_kind, head_labels
from stillhouse.models.checkpoint import find_checkpoint
from stillhouse.models.loading import build_encoder, load_encoder
from stillhouse.models.quiet import quiet_transformers
from stillhouse.students.build import build_student, find_student, load_student
from stillhouse.students.shape import is_shape
from stillhouse.task import Task, load_kind

TASK = Task("t", load_kind("classification"), labels=("low", "mid", "high"))
TAGS = Task("t", load_kind("tagging"), labels=("O", "B-A", "I-A", "B-B", "I-B"))
QUESTIONS = Task("t", load_kind("qa"))
AUTO = {
    "classification": AutoModelForSequenceClassification,
    "tagging": AutoModelForTokenClassification,
    "qa": AutoModelForQuestionAnswering,
}
INPUTS = {
    "input_ids": torch.tensor([[2, 37, 59, 61, 3], [2, 41, 3, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    "token_type_ids": torch.tensor([[0, 0, 1, 1, 1], [0, 0, 0, 0, 0]]),
}


def teacher_of(family, task=TASK):
    torch.manual_seed(0)
    return build_encoder(tiny_config(family), task.head)


def built(spec, teacher, task=TASK, rule=uniform):
    torch.manual_seed(1)
    return build_student(spec, teacher=teacher, teacher_checkpoint_name="T", head=task.head, layers_rule=rule)


def logits(model):
    with torch.no_grad():
        return compute_features(model.eval(), INPUTS, needing(logits=True))[LOGITS]


@pytest.mark.parametrize("task", [TASK, TAGS, QUESTIONS], ids=lambda task: task.kind.name)
@pytest.mark.parametrize("spec", ["half", "3x12"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_exported_student_gives_the_same_logits_without_stillhouse(family, spec, task, tmp_path):
    student, _ = built(spec, teacher_of(family), task)
    with quiet_transformers():
        student.save_pretrained(tmp_path)
        reloaded, info = AUTO[task.kind.name].from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert torch.equal(logits(reloaded), logits(student))
    assert type(reloaded) is type(student)
    assert head_kind(reloaded.config) == task.kind
    if task.labels:
        assert head_labels(reloaded.config) == task.labels


@pytest.mark.parametrize("family", FAMILIES)
def test_half_starts_from_the_teachers_layers_by_the_rule(family):
    teacher = teacher_of(family)
    student, start = built("half", teacher)
    assert start.description == ("the shared layer of T, 2 times" if family == "albert" else "layers 2, 4 of T")
    state = student.state_dict()
    assert len(start.copied) + len(start.fresh) == len(state)
    assert built("2x24", teacher, rule=first)[1].description.startswith(("layers 1, 2 of", "the shared layer of"))
    assert student.config is not teacher.config


@pytest.mark.parametrize("family", FAMILIES)
def test_another_width_starts_fresh_and_follows_the_seed(family):
    teacher = teacher_of(family)
    student, start = built("3x12", teacher)
    assert start.description == "fresh weights, 3 layers x 12"
    assert set(start.fresh) == set(student.state_dict())
    again, _ = built("3x12", teacher)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in student.state_dict().items())


def test_a_student_for_another_task_than_the_teachers():
    student, _ = built("half", teacher_of("bert"), QUESTIONS)
    assert logits(student).shape == (2, 5, 2)


def test_impossible_shapes_are_refused_before_the_rule_sees_them():
    def rule(student, teacher):
        raise AssertionError("asked")

    with pytest.raises(UserError, match="deeper than its teacher"):
        built("5x24", teacher_of("bert"), rule=rule)
    with pytest.raises(UserError, match="cannot be divided"):
        built("2x25", teacher_of("bert"), rule=rule)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("students") / "mine"
    return make_tiny_checkpoint(folder, "distilbert", layers=2, head="classification", labels=TASK.labels)


def test_a_folder_keeps_its_weights_and_its_head(classifier):
    student, start = load_student(find_student(str(classifier)), TASK.head)
    assert start.description == "weights of mine, with its own head"
    assert start.fresh == ()
    assert start.sentence() == f"{len(student.state_dict())} tensors copied, 0 skipped, 0 fresh"
    original, _ = load_encoder(find_checkpoint(str(classifier)), TASK.head)
    assert torch.equal(logits(student), logits(original))


@pytest.mark.parametrize(
    ("labels", "kept"),
    [
        (("Low", "MID", "high"), True),
        (("0", "1", "2"), True),
        (("high", "mid", "low"), False),
        (("a", "b", "c"), False),
        (("low", "mid"), False),
    ],
)
def test_a_head_is_kept_only_where_its_labels_are_the_tasks(classifier, labels, kept):
    student, start = load_student(find_student(str(classifier)), Task("t", load_kind("classification"), labels=labels).head)
    original, _ = load_encoder(find_checkpoint(str(classifier)), TASK.head)
    same = torch.equal(student.pre_classifier.weight, original.pre_classifier.weight)
    assert same is kept
    assert ("its own head" in start.description) is kept
    fresh = {"pre_classifier.weight", "pre_classifier.bias", "classifier.weight", "classifier.bias"}
    assert set(start.fresh) == (set() if kept else fresh)
    own, given = student.distilbert.state_dict(), original.distilbert.state_dict()
    assert all(torch.equal(own[name], given[name]) for name in given)


def test_a_folder_for_another_task_gets_a_fresh_head(classifier):
    student, start = load_student(find_student(str(classifier)), QUESTIONS.head)
    assert start.description == "weights of mine, with a fresh head"
    assert set(start.fresh) == {"qa_outputs.weight", "qa_outputs.bias"}
    assert logits(student).shape == (2, 5, 2)


def test_names():
    assert is_shape("3x12")
    assert not is_shape("owner/name")
