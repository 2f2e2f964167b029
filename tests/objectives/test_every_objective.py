"""What every objective promises: each class in `objectives/`, on what real encoders give of real batches."""

import importlib
import inspect
import pkgutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.masked_text import MaskedText, masked_encoder
from tests.tiny_models import make_tokenizer, tiny_config
from tests.toy_splits import TOY_TASKS, toy_rows
from tests.training.toy_stage import SILENT

from stillhouse import objectives
from stillhouse.errors import UserError
from stillhouse.features import PARTS, layers_of
from stillhouse.models.forward import forward
from stillhouse.models.loading import build_encoder
from stillhouse.objective import Objective
from stillhouse.objectives.attention_scores_mse import AttentionScoresMSE, attention_scores_mse
from stillhouse.objectives.hidden_mse import EmbeddingMSE, HiddenMSE
from stillhouse.objectives.relation_kl import relation_kl

LAYERS = {"layers": ((1, 1), (2, 2))}
LAST = {"student_layer": 2, "teacher_layer": 2}
MASKED = {"task": "masked text"}
# How each is built, and for which kind of task; a class that is not here is built without any setting.
SETTINGS = {
    "HardLabels": [{"task": task} for task in TOY_TASKS],
    "SoftLabels": [{"task": task, "temperature": 2.0} for task in TOY_TASKS],
    "MaskedLM": [MASKED],
    "SoftTokens": [MASKED, MASKED | {"temperature": 1.0, "positions": "masked"}],
    "HiddenCosine": [LAYERS, MASKED | {"layers": ((0, 0), (2, 2))}],
    "HiddenMSE": [{"layers": ((0, 0), (1, 1), (2, 2))}],
    "NormalisedCls": [LAYERS, LAYERS | {"normalise": False, "scale": "paper_sum"}],
    "AttentionScoresMSE": [LAYERS],
    "RelationKL": [
        {"relations": (("query", "key"), ("value", "value")), **LAST},
        {"relations": (("query", "query"), ("key", "key"), ("value", "value")), "heads": 4, **LAST},
    ],
}
# Left out, because they count padding as their authors' code does: see COUNT_PADDING.
COUNT_PADDING = [
    EmbeddingMSE(tokens="all"),
    HiddenMSE(layers=((1, 1), (2, 2)), tokens="all"),
    AttentionScoresMSE(layers=((1, 1), (2, 2)), pairs="official"),
]
NO_DISTANCE = {"HardLabels", "MaskedLM"}  # look at labels: a student that equals its teacher may be wrong
ROWS = np.arange(5)
LONG = 5  # the row that is longest in every kind of task

FOUND = sorted(
    {
        kind
        for module in pkgutil.iter_modules(objectives.__path__)
        for _, kind in inspect.getmembers(importlib.import_module(f"{objectives.__name__}.{module.name}"), inspect.isclass)
        if issubclass(kind, Objective) and not inspect.isabstract(kind)
    },
    key=lambda kind: kind.__name__,
)
CASES = [
    pytest.param(kind, settings, id=f"{kind.__name__}-{number}")
    for kind in FOUND
    for number, settings in enumerate(SETTINGS.get(kind.__name__, [{}]))
]
every = pytest.mark.parametrize(("kind", "settings"), CASES)
every_distance = pytest.mark.parametrize(
    ("kind", "settings"), [case for case in CASES if case.values[0].__name__ not in NO_DISTANCE]
)


def built(kind, settings):
    """An objective, and the kind of task that it is tried on."""
    given = {name: setting for name, setting in settings.items() if name != "task"}
    return settings.get("task", "classification"), kind(**given)


def rows_of(task):
    if task != MASKED["task"]:
        return toy_rows(task)
    return MaskedText(toy_rows("classification"), mask=make_tokenizer("bert").mask_token_id)


def encoder(task, seed=0, **changes):
    if task == MASKED["task"]:
        return masked_encoder(seed=seed, layers=2, **SILENT, **changes)
    torch.manual_seed(seed)
    return build_encoder(tiny_config("bert", layers=2, **SILENT, **changes), TOY_TASKS[task][0].head).eval()


def sides(objective, task, batch, same=False, **changes):
    """What student and teacher give of a batch."""
    student = encoder(task)
    teacher = student if same else encoder(task, seed=1, **changes)
    return forward(student, batch.learner, objective.student_needs), forward(teacher, batch.learner, objective.teacher_needs)


def value(objective, task, batch, **options):
    found = objective(*sides(objective, task, batch, **options), batch)
    assert found.shape == ()
    return found


def test_every_setting_is_of_an_objective():
    assert set(SETTINGS) | NO_DISTANCE <= {kind.__name__ for kind in FOUND}


@every
def test_more_padding_changes_nothing(kind, settings):
    task, objective = built(kind, settings)
    rows = rows_of(task)
    close, wide = rows.batch(ROWS), rows.batch(np.array([*ROWS, LONG])).select(ROWS)
    assert wide.learner.ids.shape[1] > close.learner.ids.shape[1]
    one, other = (value(objective, task, batch).item() for batch in (close, wide))
    assert one > 1e-3
    assert one == pytest.approx(other, rel=1e-4)


@every
def test_what_stands_in_the_padding_changes_nothing(kind, settings):
    task, objective = built(kind, settings)
    batch = rows_of(task).batch(ROWS)
    given = batch.learner
    other = replace(batch, views={0: replace(given, ids=given.ids.where(given.mask.bool(), 77))})
    assert (other.learner.ids == 77).any()
    assert value(objective, task, batch).item() == pytest.approx(value(objective, task, other).item(), rel=1e-5)


@every
def test_the_order_of_the_rows_changes_nothing(kind, settings):
    task, objective = built(kind, settings)
    rows = rows_of(task)
    one, other = (value(objective, task, rows.batch(order)).item() for order in (ROWS, ROWS[[3, 0, 4, 2, 1]]))
    assert one == pytest.approx(other, rel=1e-4)


@every_distance
def test_a_student_that_equals_its_teacher_is_at_zero(kind, settings):
    task, objective = built(kind, settings)
    batch = rows_of(task).batch(ROWS)
    assert value(objective, task, batch, same=True).item() == pytest.approx(0.0, abs=1e-5)
    assert value(objective, task, batch).item() > 1e-3


@every
def test_the_value_is_float32_under_autocast(kind, settings):
    """And what it is without, of the same features."""
    task, objective = built(kind, settings)
    batch = rows_of(task).batch(ROWS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = sides(objective, task, batch)
        inside = objective(*given, batch)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, objective(*given, batch))


@every
def test_the_gradient_reaches_the_student_alone(kind, settings):
    task, objective = built(kind, settings)
    batch = rows_of(task).batch(ROWS)
    student, teacher = encoder(task), encoder(task, seed=1)
    ours, theirs = (
        forward(model, batch.learner, needs)
        for model, needs in ((student, objective.student_needs), (teacher, objective.teacher_needs))
    )
    objective(ours, theirs, batch).backward()
    assert any(parameter.grad is not None and parameter.grad.abs().max() > 1e-6 for parameter in student.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())


@every
@pytest.mark.parametrize("heads", [1, 3])
def test_heads_that_are_compared_are_as_many(kind, settings, heads):
    """With one head on one side everything would fit, and mean something else."""
    task, objective = built(kind, settings)
    batch = rows_of(task).batch(ROWS)
    compares = bool(layers_of(objective.student_needs, *PARTS)) and settings.get("heads") is None
    if not compares:
        assert value(objective, task, batch, heads=heads).item() > 1e-3
        return
    with pytest.raises(UserError, match=rf"{objective.name} .*student has 2 heads and the teacher {heads}"):
        value(objective, task, batch, heads=heads)


@pytest.mark.parametrize("compare", [relation_kl, attention_scores_mse])
@pytest.mark.parametrize("counts", [(2, 2, 3, 3), (3, 3, 2, 2), (3, 3, 1, 1), (1, 1, 3, 3), (3, 3, 3, 2), (3, 2, 3, 3)])
def test_what_is_compared_head_by_head_has_as_many_heads_on_both_sides(compare, counts):
    """Of the functions themselves, as they are outside of tests: annotations are not looked at there."""
    parts = [torch.ones(2, heads, 5, 7) for heads in counts]
    mask = torch.ones(2, 5, dtype=torch.long)
    with pytest.raises(
        UserError, match=f"{compare.__name__} compares attention head by head, but the student has {counts[0]} "
    ):
        inspect.unwrap(compare)(tuple(parts[:2]), tuple(parts[2:]), mask)


@pytest.mark.parametrize("objective", COUNT_PADDING, ids=lambda objective: objective.name)
def test_where_padding_counts_a_row_weighs_the_same_whatever_rows_are_beside_it(objective):
    """Of rows that are all filled up to one length, as the authors' are: the step's value is the mean of its rows' own."""
    rows = replace(toy_rows("classification"), width=24)
    together = value(objective, "classification", rows.batch(ROWS)).item()
    alone = [value(objective, "classification", rows.batch(ROWS[[row]])).item() for row in range(len(ROWS))]
    assert together == pytest.approx(sum(alone) / len(alone), rel=1e-5)
    # Padded to the longest of a batch, a short row would weigh more.
    close = [
        value(objective, "classification", toy_rows("classification").batch(ROWS[[row]])).item() for row in range(len(ROWS))
    ]
    assert abs(sum(close) / len(close) / together - 1) > 1e-3
