"""Logits of whole splits, and all scores of one process and of two."""

import numpy as np
import pytest
import torch
from tests.evaluation.shared_scores import cut_small, encoder, engine, everything, models, refused, score_rank, spoil, text
from tests.models.encoders import TASKS
from tests.processes import LIMIT, rank_environments
from tests.toy_splits import toy_rows

from stillhouse.data.ragged import Ragged
from stillhouse.errors import NotFinite
from stillhouse.evaluation.language import language_scores
from stillhouse.evaluation.scoring import compute_logits
from stillhouse.features import LOGITS, ONLY_LOGITS
from stillhouse.models.forward import forward


@pytest.fixture
def small_batches(monkeypatch):
    cut_small(monkeypatch)


@pytest.mark.parametrize("kind", TASKS)
def test_each_row_has_the_logits_that_it_has_alone(small_batches, kind):
    rows, model, steps = toy_rows(kind, times=3), encoder(kind).train(), []
    logits = compute_logits(model, rows, 0, engine(), report=lambda *told: steps.append(told))
    assert model.training
    assert len(logits) == len(rows)
    model.eval()
    for row in range(len(rows)):
        with torch.no_grad():
            alone = forward(model, rows.batch(np.array([row])).views[0], ONLY_LOGITS)[LOGITS][0].numpy()
        assert logits[row].dtype == np.float32
        assert np.allclose(logits[row], alone, atol=1e-5)
        assert logits[row].shape == alone.shape
    assert len(steps) > 2
    assert steps == [(number, len(steps), "scores") for number in range(1, len(steps) + 1)]


def test_of_no_rows_there_are_no_logits():
    for kind in ("classification", "tagging"):
        rows = toy_rows(kind).select(np.empty(0, np.int64))
        logits = compute_logits(encoder(kind), rows, 0, engine())
        assert len(logits) == 0
        assert (logits.values if isinstance(logits, Ragged) else logits).shape == (0, 3)


@pytest.mark.parametrize("is_shared", [True, False])
def test_nan_is_refused(is_shared):
    with pytest.raises(NotFinite, match="NaN"):
        compute_logits(spoil(encoder("classification")), toy_rows("classification"), 0, engine(), is_shared=is_shared)


def numbers(rows):
    """Of all rows one after the other; none is -1."""
    return [-1 if value is None else value for row in rows for value in row.values()]


def test_two_processes_find_what_one_does(tmp_path, server, small_batches):
    """Each all of it, of its own share; NaN in one of them stops both; one without any batch takes part."""
    ranks = [
        server.Process(target=score_rank, args=(environment, tmp_path), daemon=True) for environment in rank_environments(2)
    ]
    for process in ranks:
        process.start()
    alone = everything()
    few = vars(language_scores(models()[0], text().select(np.arange(1)), engine()))
    for process in ranks:
        process.join(LIMIT)
    assert [process.exitcode for process in ranks] == [0, 0]
    assert refused(spoils=False) == []
    batches = {}
    for rank in range(2):
        found, stopped, found_few = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        assert stopped == ["language", "distances", "logits"]
        assert found_few == few
        assert found["language"] == pytest.approx(alone["language"], rel=1e-6)
        assert numbers(found["distances"]) == pytest.approx(numbers(alone["distances"]), rel=1e-6)
        for kind in TASKS:
            assert np.array_equal(found[kind], alone[kind])
        batches[rank] = found["batches"]
    assert len(batches[0]) == len(alone["batches"]) > 3
    assert [sum(counts) for counts in zip(*batches.values(), strict=True)] == alone["batches"]
    assert all(abs(one - other) <= 1 for one, other in zip(*batches.values(), strict=True))
