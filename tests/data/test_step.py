"""What is drawn in a step."""

from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from tests.corpus.toy_corpus import toy_corpus
from tests.toy_splits import TOY_TASKS, toy_rows

from stillhouse.corpus.masking import Masking
from stillhouse.data.ragged import Ragged
from stillhouse.data.seeds import CHOICES, GATES, process_seed, stage_seed
from stillhouse.data.text import Step


def drawn(stream=GATES, number=3, seed=7, of=10, rows=(4, 1, 9)):
    return Step(number, of, np.array(rows), seed).random(stream).random(5).tolist()


def test_draws_depend_on_seed_step_and_stream_alone():
    usual = drawn()
    assert usual == np.random.default_rng((7, 3, 1)).random(5).tolist()
    torch.manual_seed(99)
    torch.rand(3)
    np.random.default_rng(7).random(3)
    assert drawn() == usual
    assert drawn(of=20, rows=(1,)) == usual  # however the step's rows are shared out


@pytest.mark.parametrize("change", [{"stream": 2}, {"number": 4}, {"seed": 8}])
def test_another_stream_step_or_seed_draws_otherwise(change):
    assert not set(drawn(**change)) & set(drawn())


def test_draws_are_the_same_in_any_process(server):
    with ProcessPoolExecutor(2, mp_context=server) as processes:
        assert [task.result() for task in [processes.submit(drawn) for _ in range(3)]] == [drawn()] * 3


def test_streams_are_told_apart():
    """Stages and fresh weights of a model, processes of a stage, choices of rows: no two draw the same."""
    assert len({stage_seed(5, stream) for stream in (*range(20), 1000, 1001, *range(2000, 2020))}) == 42
    assert len({process_seed(5, step, process) for step in range(20) for process in range(16)}) == 320
    assert len(set(CHOICES.values())) == len(CHOICES)


@pytest.mark.parametrize("kind", [*TOY_TASKS, "corpus"])
def test_a_step_looks_at_no_other_rows(kind, monkeypatch):
    """Of many millions of rows, which a text may have, lengths of all are not for every step."""
    text = toy_corpus(masking=Masking()) if kind == "corpus" else toy_rows(kind)
    step = Step(0, 10, np.array([4, 1, 5]), 7)
    tokens = text.lengths[step.rows].sum()
    monkeypatch.setattr(Ragged, "lengths", property(lambda rows: pytest.fail("it looks at all rows")))
    assert text.counts(step.rows, step)["tokens"] == tokens == text.batch(step.rows, step).learner.mask.sum()
