"""A run's messages as a comparison says them."""

import re

import pytest

from stillhouse import UserError
from stillhouse.comparison.wording import in_comparison, said_in_comparison
from stillhouse.errors import CheckpointError, TrainingDiverged
from stillhouse.runs.reading import parse_config

SAID = {
    # Settings.
    "method.relation_heads is 7, which does not divide": "methods.mine.relation_heads is 7, which does not divide",
    "--compat (method.compat): input should be 'official'": "--compat (methods.mine.compat): input should be 'official'",
    "2 mistakes:\n  method.stages.distil.epochs: a\n  method.base: b": (
        "2 mistakes:\n  methods.mine.stages.distil.epochs: a\n  methods.mine.base: b"
    ),
    "unknown key 'method.temprature': method has compat, name": (
        "unknown key 'methods.mine.temprature': methods.mine has compat, name"
    ),
    "unknown key 'method.x': method has name\n  method.base: b": (
        "unknown key 'methods.mine.x': methods.mine has name\n  methods.mine.base: b"
    ),
    "method.slope left out, or another method.schedule": "methods.mine.slope left out, or another methods.mine.schedule",
    "choose another --set method.teacher_layer, or --method logit": (
        "choose another --set methods.mine.teacher_layer, or leave mine out of --methods"
    ),
    "leave the attention out: --set method.attention=false": "leave the attention out: --set methods.mine.attention=false",
    # Other methods.
    "or --method logit": "or leave mine out of --methods",
    "choose such a student (LxH), or --method minilmv2": "choose such a student (LxH), or leave mine out of --methods",
    # Once more.
    "restore them, or start anew with --overwrite": "restore them, or start anew with another --out",
    "  fix: with --overwrite, a lower learning rate (now 0.1)": "  fix: with another --out, a lower learning rate (now 0.1)",
    "give the run's command again, with --overwrite where it counts as finished": (
        "give the run's command again, with another --out where it counts as finished"
    ),
    "choose another --out, or --overwrite to delete that run": "choose another --out",
    # What speaks of something else.
    "method theseus has no teacher": "method theseus has no teacher",
    "--labels teacher leaves stage 'one' of method pkd. Nothing": "--labels teacher leaves stage 'one' of method pkd. Nothing",
    "there is no folder 'runs/method.v2'": "there is no folder 'runs/method.v2'",
    "runs/a is the folder of another run: method.temperature is 2.0 there, 4.0 here": (
        "runs/a is the folder of another run: method.temperature is 2.0 there, 4.0 here"
    ),
    "train the teacher longer (--overwrite --set teacher.finetune.epochs=5)": (
        "train the teacher longer (--overwrite --set teacher.finetune.epochs=5)"
    ),
    "leave mine out of --methods": "leave mine out of --methods",
}


@pytest.mark.parametrize("message", SAID)
def test_every_message(message):
    assert said_in_comparison(message, "mine") == SAID[message]


@pytest.mark.parametrize("kind", [UserError, CheckpointError])
def test_all_parts_of_an_error_are_reworded(kind):
    error = kind("method.base is 3", expected="method.base left out", fix="or --method logit")
    with pytest.raises(kind) as caught, in_comparison("mine"):
        raise error
    assert caught.value is error
    assert (error.given, error.expected, error.fix) == (
        "methods.mine.base is 3",
        "methods.mine.base left out",
        "or leave mine out of --methods",
    )
    assert str(error) == "\n  ".join([error.given, f"expected: {error.expected}", f"fix: {error.fix}"])


def test_errors_of_other_kinds():
    with pytest.raises(TrainingDiverged, match=re.escape("fix: with another --out, a lower")), in_comparison("mine"):
        raise TrainingDiverged("a loss is nan\n  fix: with --overwrite, a lower learning rate")
    with pytest.raises(ValueError, match=re.escape("method.base")), in_comparison("mine"):
        raise ValueError("method.base")  # none of ours: as it is


def test_keys_are_named_as_they_are_reached():
    with (
        pytest.raises(UserError, match=r"'methods\.mine\.temprature'.*methods\.mine has .*divergence"),
        in_comparison("mine"),
    ):
        parse_config({"method": {"name": "pkd", "temprature": 1}})
    with pytest.raises(UserError, match=r"'method\.temprature'.*method has .*divergence"):
        parse_config({"method": {"name": "pkd", "temprature": 1}})
