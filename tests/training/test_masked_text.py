"""Students that learn from masked text: however a step is cut, and by however many processes, it is the same step."""

import pytest
import torch
from tests.processes import LIMIT, rank_environments
from tests.training.masked_runs import OBJECTIVES, masked_model, text, train_masked, train_rank
from tests.training.toy_stage import toy_split, training_context

from stillhouse.config import TeacherConfig
from stillhouse.features import ONLY_VOCABULARY
from stillhouse.teachers.source import OnlineTeacher, Source, build_teacher


@pytest.fixture(autouse=True)
def whole_tables(monkeypatch):
    """Gradients of whole tables, as several processes have them."""
    monkeypatch.setattr("stillhouse.speed.embedding.LEAST_ROWS", 1000)


def assert_near(one, other, tolerance):
    """A bias of keys adds the same to all scores of a query: its gradient is rounding, of which AdamW makes whole steps."""
    assert one.keys() == other.keys()
    for name in one.keys() - {name for name in one if name.endswith("key.bias")}:
        tensor = one[name]
        assert torch.allclose(tensor, other[name], rtol=1e-4, atol=tolerance), name


def assert_same_training(one, other):
    """Gradients of the first step to 1e-5 of the largest, weights in the end to 1e-5."""
    largest = max(gradient.abs().max().item() for gradient in one[0].values())
    assert largest > 0.01
    assert_near(one[0], other[0], 1e-5 * largest)
    assert_near(one[1], other[1], 1e-5)


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_a_step_is_the_same_however_it_is_cut(tmp_path, objectives):
    """Parts of it have more and fewer masked tokens: the mean is over those of the whole step."""
    one, other = (train_masked(tmp_path / str(parts), objectives=objectives, accumulate=parts) for parts in (1, 5))
    assert_same_training(one, other)


TIED, UNTIED = {"tied": True}, {"tied": False, "accumulate": 3}


@pytest.mark.parametrize(
    ("objectives", "options"),
    [
        ("distilbert", TIED),
        pytest.param("distilbert", UNTIED, marks=pytest.mark.long),
        pytest.param("masked_lm", TIED, marks=pytest.mark.long),
        ("masked_soft_tokens", UNTIED),
    ],
)
def test_two_processes_take_the_steps_that_one_does(tmp_path, server, objectives, options):
    given = {"objectives": objectives, **options}
    started = [
        server.Process(target=train_rank, args=(environment, tmp_path / "two", given), daemon=True)
        for environment in rank_environments(2)
    ]
    for process in started:
        process.start()
    alone = train_masked(tmp_path / "one", **given)
    for process in started:
        process.join(LIMIT)
    assert [process.exitcode for process in started] == [0, 0]
    assert_same_training(alone, torch.load(tmp_path / "two" / "trained.pt"))


def test_bf16_learns_nearly_the_same(tmp_path):
    exact, rounded = (train_masked(tmp_path / precision, precision=precision) for precision in ("fp32", "bf16"))
    for name, gradient in exact[0].items():
        assert gradient.dtype == rounded[0][name].dtype == torch.float32
        assert (gradient - rounded[0][name]).norm() < 0.05 * gradient.norm() + 1e-3, name


def test_rows_of_a_table_that_no_head_reads_are_trained_apart_as_ever(tmp_path, monkeypatch):
    """Where embeddings and head are two tables, the first is trained in the rows of the text alone."""
    whole = train_masked(tmp_path / "whole", tied=False)
    monkeypatch.setattr("stillhouse.speed.embedding.LEAST_ROWS", 2)
    assert_near(whole[1], train_masked(tmp_path / "rows", tied=False)[1], 1e-5)


def test_scores_over_a_vocabulary_are_never_stored(tmp_path):
    config = TeacherConfig(features="store", store=str(tmp_path / "store"))
    accelerator = training_context(tmp_path).accelerator
    given = masked_model(), toy_split(), ONLY_VOCABULARY, Source(config, "toy")
    assert toy_split().repeats
    teacher = build_teacher(*given, epochs=3.0, accelerator=accelerator)
    assert isinstance(teacher, OnlineTeacher)
    scores = teacher.features(text().batch(torch.arange(3).numpy())).vocabulary
    assert not scores.states.requires_grad
    assert scores.states.dtype == torch.float32
    assert not (tmp_path / "store").exists()
