"""A group of checks gives all that it finds; a run stops at the first finding that refuses it."""

from types import SimpleNamespace

import pytest
from tests.tiny_models import make_tokenizer
from tests.toy_splits import TEXTS, TOY_TASKS
from torch import nn

from stillhouse import UserError, distill
from stillhouse.config import StageConfig
from stillhouse.data.examples import Examples
from stillhouse.data.tokenize import encode
from stillhouse.method import Stage
from stillhouse.objectives.hard_labels import HardLabels
from stillhouse.objectives.hidden_mse import HiddenMSE
from stillhouse.runs.checks import bytes_needed, check_lengths, check_settings, check_stages, check_tokens
from stillhouse.runs.defaults import with_defaults
from stillhouse.runs.findings import Finding, refusal, refuse_first
from stillhouse.runs.options import config_from_options
from stillhouse.task import load_kind

GOLD = Stage("gold", (HardLabels(),), StageConfig())
NOTHING = Stage("nothing", (HardLabels(weight=0),), StageConfig())
INSIDE = Stage("inside", (HiddenMSE(layers=((1, 1),)),), StageConfig())
WRONG = {
    "data": "data.csv",
    "method": "finetune",
    "store": "",
    "baseline": True,
    "labels": "teacher",
    "transfer": ["more.txt"],
}


def starts(findings):
    return [" ".join(finding.what.split()[:2]) for finding in findings]


def test_settings_with_several_mistakes():
    findings = list(check_settings(config_from_options(WRONG)))
    assert starts(findings) == ["--store ''", "--baseline is", "--labels teacher", "--transfer is"]
    assert {finding.severity for finding in findings} == {"refuses"}
    good = {"data": "data.csv", "method": "logit", "labels": "teacher", "transfer": ["more.txt"], "baseline": True}
    assert list(check_settings(config_from_options(good))) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"vocab": "vocab.txt"}, ["--vocab vocab.txt"]),
        ({"vocab": "vocab.txt", "teacher": "4x256"}, ["--teacher 4x256"]),
        ({"teacher": "4x256"}, ["--teacher 4x256"]),
        ({"teacher": "4x256", "corpus": "a.txt"}, []),
        ({"teacher": "4x256", "corpus": "a.txt", "vocab": "vocab.txt"}, []),
        ({"teacher": "4x256", "corpus": "a.txt", "vocab": "a\0"}, ["--vocab 'a\\x00'"]),
    ],
)
def test_a_new_teacher_needs_text_and_a_vocabulary_a_new_teacher(options, said):
    findings = list(check_settings(config_from_options({"data": "data.csv", "method": "minilm", **options})))
    assert starts(findings) == said
    assert all(finding.expected and finding.fix for finding in findings)


@pytest.mark.parametrize("mended", range(4))
def test_a_run_raises_the_first(tmp_path, monkeypatch, mended):
    monkeypatch.chdir(tmp_path)
    left = {name: value for place, (name, value) in enumerate(WRONG.items()) if place not in range(2, 2 + mended)}
    first, *_ = check_settings(config_from_options(left))
    with pytest.raises(UserError) as raised:
        distill(**left)
    error = raised.value
    assert (error.given, error.expected, error.fix) == (first.what, first.expected, first.fix)
    assert list(tmp_path.iterdir()) == []


def test_stages_that_no_method_can_have():
    config = config_from_options({"labels": "teacher"})
    found = check_stages((GOLD, NOTHING, INSIDE), config, 3, 2)
    assert starts(found) == ["--labels teacher", "all weights", "the student"]
    assert list(check_stages((INSIDE,), config, 2, 2)) == []


def test_two_tokenizers():
    config = config_from_options({"method": "pkd"})
    found = list(check_tokens((INSIDE,), config, "bert", "roberta", load_kind("qa")))
    assert starts(found) == ["method pkd", "teacher bert"]
    assert list(check_tokens((GOLD,), config, "bert", "roberta", load_kind("tagging"))) == []


def test_splits_with_long_rows():
    task = TOY_TASKS["classification"][0]
    encoded = encode(Examples(TEXTS, [None] * len(TEXTS)), task, make_tokenizer("bert"), max_length=5)
    found = list(check_lengths({"train": encoded, "test": encoded}, task, 5))
    assert {finding.severity for finding in found} == {"warns"}
    assert starts(found) == ["train: 6", "test: 6"]
    assert refuse_first(found) == [finding.what for finding in found]


def test_checks_behind_a_refusal_are_not_run():
    run = []

    def checks():
        for name, severity in (("a", "says"), ("b", "warns"), ("c", "refuses"), ("d", "refuses")):
            run.append(name)
            yield Finding(name, f"not {name}", f"mend {name}", severity)

    with pytest.raises(UserError, match="c\n  expected: not c\n  fix: mend c"):
        refuse_first(checks())
    assert run == ["a", "b", "c"]
    assert refuse_first(finding for finding in checks() if finding.severity != "refuses") == ["a", "b"]


def test_a_check_that_raises_has_found_what_it_raises():
    def check():
        raise UserError("given", expected="expected", fix="fix")

    assert list(refusal(check)) == [Finding("given", "expected", "fix")]
    assert list(refusal(lambda: None)) == []


def test_features_are_kept_where_there_is_a_task():
    options = {"corpus": "a.txt", "method": "minilm", "teacher_features": "store", "store": "kept"}
    assert starts(check_settings(config_from_options(options))) == ["--teacher-features store"]
    assert list(check_settings(config_from_options(options | {"data": "data.csv"}))) == []


@pytest.mark.parametrize(
    ("given", "out"),
    [
        ({"data": "d.csv"}, "runs/d-minilm-2x24"),
        ({"corpus": ["c.txt", "e.txt"]}, "runs/c-minilm-2x24"),
        ({"data": "d.csv", "corpus": "c.txt"}, "runs/d-c-minilm-2x24"),
    ],
)
def test_runs_on_other_text_have_other_folders(given, out):
    assert with_defaults(config_from_options({"method": "minilm", "student": "2x24", **given})).out == out


def part(teacher, *learners, fits_teacher):
    """What a part of a run trains; each model has so many weights of 4 bytes."""
    models = [SimpleNamespace(encoder=nn.Linear(weights, 1, bias=False)) for weights in (teacher, *learners)]
    learning = [SimpleNamespace(model=model) for model in models[1:]]
    return SimpleNamespace(teacher=models[0], learners=learning, fits_teacher=fits_teacher)


def test_room_for_every_model_that_stays_beside_the_one_in_training():
    general, task = part(100, 7, fits_teacher=True), part(100, 7, fits_teacher=True)
    assert bytes_needed(None, general) == 4 * 8 * 100
    assert bytes_needed(task, None) == 4 * 8 * 100
    assert bytes_needed(task, general) == 4 * (2 * 100 + 2 * 7 + 8 * 100)
    assert bytes_needed(part(100, 70, 65, fits_teacher=True), general) == 4 * (2 * 100 + 2 * 7 + 2 * 100 + 2 * 70 + 10 * 65)
    assert bytes_needed(part(100, 7, fits_teacher=False), None) == 4 * 10 * 7
