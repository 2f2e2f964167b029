"""Ragged rows, batches and their order."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.data.batch import IGNORED
from stillhouse.data.examples import Examples
from stillhouse.data.ragged import Ragged
from stillhouse.data.text import scoring_order, training_order
from stillhouse.data.tokenize import Encoded
from stillhouse.data.tokenized_split import tokenized_split
from stillhouse.task import Answer, Task, load_kind


def ragged(rows, dtype=np.int32):
    return Ragged.from_rows(rows, dtype)


def encoded(rows, words=None, characters=None, example=None):
    ids = ragged(rows)
    return Encoded(
        ids,
        Ragged(np.zeros_like(ids.values), ids.offsets),
        np.arange(len(rows)) if example is None else np.array(example),
        0,
        None if words is None else ragged(words, np.int64),
        None if characters is None else Ragged.from_rows([np.array(row) for row in characters], np.int32),
    )


def test_padding_fills_only_behind_each_row():
    padded, mask = ragged([[1, 2, 3], [], [4]]).padded(np.array([2, 0, 1]), 9)
    assert padded.tolist() == [[4, 9, 9], [1, 2, 3], [9, 9, 9]]
    assert mask.tolist() == [[True, False, False], [True, True, True], [False, False, False]]


def test_rows_are_filled_up_to_a_width_and_cut_by_none():
    rows = ragged([[1, 2, 3], [4]])
    assert rows.padded(np.array([1]), 9, 2)[0].tolist() == [[4, 9]]
    assert rows.padded(np.array([1, 0]), 9, 2)[0].tolist() == [[4, 9, 9], [1, 2, 3]]


def test_a_split_with_a_width_fills_every_row_up():
    examples = Examples(["", "", ""], [0, 1, None])
    close = tokenized_split(examples, Task("t", load_kind("classification"), ("a", "b")), encoded([[1, 2, 3], [4], [5, 6]]))
    wide = replace(close, width=5)
    for split in (wide, wide.select(np.array([0, 1, 2])), wide.labelled(), wide.without_labels(), wide.seen_by(0)):
        batch = split.batch(np.array([1]))
        assert batch.learner.ids.tolist() == [[4, 0, 0, 0, 0]]
        assert batch.learner.mask.tolist() == [[1, 0, 0, 0, 0]]
        assert split.lengths.tolist() == [5] * len(split)
        assert not split.repeats
    # What has a label and what is a real token are counted as before.
    assert (
        wide.counts(np.array([0, 1])) == close.counts(np.array([0, 1])) == {"rows": 2, "targets": 2, "tokens": 4, "pairs": 10}
    )
    assert len({close.fingerprint(), wide.fingerprint(), replace(close, width=6).fingerprint()}) == 3


def test_rows_of_vectors_keep_their_width():
    rows = Ragged.from_rows([np.zeros((5, 2)), np.ones((3, 2))], np.float64)
    assert rows.lengths.tolist() == [5, 3]
    assert rows[1].tolist() == [[1.0, 1.0]] * 3
    assert rows.padded(np.array([0, 1]), -1.0)[0].shape == (2, 5, 2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 99), max_size=7), min_size=1, max_size=11), st.data())
def test_select_is_the_same_as_reading_row_by_row(rows, data):
    chosen = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=5)))
    selected = ragged(rows).select(chosen)
    assert [selected[row].tolist() for row in range(len(chosen))] == [rows[row] for row in chosen]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 500), st.integers(1, 17), st.integers(0, 3))
def test_every_epoch_has_every_row_once(rows, batch_size, seed):
    lengths = np.random.default_rng(seed).integers(1, 60, rows)
    batches = training_order(lengths, batch_size, (seed, 1))
    assert sorted(np.concatenate(batches).tolist()) == list(range(rows))
    assert all(len(batch) <= batch_size for batch in batches)
    assert all((one == two).all() for one, two in zip(batches, training_order(lengths, batch_size, (seed, 1)), strict=True))
    scored = list(scoring_order(lengths, tokens=64))
    assert sorted(np.concatenate(scored).tolist()) == list(range(rows))
    assert all(len(batch) * lengths[batch].max() <= 64 for batch in scored)


def test_sorting_inside_windows_leaves_little_padding():
    lengths = np.random.default_rng(0).integers(2, 100, 3200)
    padded = sum(len(batch) * lengths[batch].max() for batch in training_order(lengths, 32, (0, 0)))
    assert padded / lengths.sum() < 1.06
    shuffled = np.random.default_rng(1).permutation(3200).reshape(-1, 32)
    assert sum(32 * lengths[batch].max() for batch in shuffled) / lengths.sum() > 1.8


def test_classification_rows_without_a_label():
    task = Task("x", load_kind("classification"), ("a", "b"))
    examples = Examples(text=["", "", ""], labels=[1, None, 0])
    split = tokenized_split(examples, task, encoded([[5, 6], [7], [8, 9, 4]]))
    batch = split.batch(np.array([0, 1]))
    assert batch.labels.tolist() == [1, IGNORED]
    assert batch.has_label.tolist() == [True, False]
    assert batch.learner.mask.tolist() == [[1, 1], [1, 0]]
    assert split.counts(np.array([0, 1]))["rows"] == 2
    assert split.labelled().learner.input_ids[1].tolist() == [8, 9, 4]
    assert not split.without_labels().batch(np.array([0])).has_label.any()


def test_multilabel_becomes_multi_hot():
    task = Task("x", load_kind("multilabel"), ("a", "b", "c"))
    split = tokenized_split(Examples(text=["", ""], labels=[(0, 2), ()]), task, encoded([[1], [2]]))
    assert split.batch(np.array([0, 1])).labels.tolist() == [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    assert split.has_label.all()


def test_tagging_masks_words_that_were_cut_off():
    task = Task("x", load_kind("tagging"), ("O", "B-X"))
    examples = Examples(text=[["u", "v", "w"], ["z"]], labels=[(1, 0, 1), None])
    split = tokenized_split(examples, task, encoded([[2, 5, 6, 3], [2, 7, 3]], words=[[1, 2, -1], [1]]))
    batch = split.batch(np.array([0, 1]))
    assert batch.labels.tolist() == [[1, 0, IGNORED], [IGNORED, IGNORED, IGNORED]]
    assert batch.positions.tolist() == [[True, True, False], [True, False, False]]
    assert batch.learner.words.tolist() == [[1, 2, 0], [1, 0, 0]]
    assert split.counts(np.array([0, 1]))["targets"] == 3
    assert (split.without_labels().batch(np.array([0])).labels == IGNORED).all()


def test_every_tokenizer_has_a_view_of_its_own():
    """Three of them: the second has no token for the second row's word, the third cuts off the first row's last one."""
    task, rows = Task("x", load_kind("tagging"), ("O", "B-X")), np.array([0, 1])
    examples = Examples(text=[["u", "v", "w"], ["z"]], labels=[(1, 0, 1), (1,)])
    first = encoded([[2, 5, 6, 9, 3], [2, 7, 3]], words=[[1, 2, 3], [1]])
    second = encoded([[2, 5, 5, 6, 9, 3], [2, 3]], words=[[1, 3, 4], [-1]])
    third = encoded([[2, 8, 6, 3], [2, 7, 3]], words=[[1, 2, -1], [1]])
    split = tokenized_split(examples, task, first, second, third)
    batch = split.batch(rows)
    assert [view.ids.shape[1] for view in batch.views.values()] == [5, 6, 4]
    assert batch.learner is batch.views[0]
    assert batch.views[1].words.tolist() == [[1, 3, 4], [0, 0, 0]]
    assert batch.positions.tolist() == [[True, True, False], [False, False, False]]
    assert batch.labels.tolist() == [[1, 0, IGNORED], [IGNORED, IGNORED, IGNORED]]
    assert split.counts(rows) == {"rows": 2, "targets": 2, "tokens": 5 + 3, "pairs": 5**2 + 3**2}
    assert batch.select(np.array([1])).views[2].ids.tolist() == [[2, 7, 3, 0]]


def test_what_a_model_learns_from_is_in_its_own_tokens():
    task, rows = Task("x", load_kind("tagging"), ("O", "B-X")), np.array([0, 1])
    examples = Examples(text=[["u", "v"], ["z"]], labels=[(1, 0), (1,)])
    cut = encoded([[2, 5, 3], [2, 7, 3]], words=[[1, -1], [1]])
    whole = encoded([[2, 5, 8, 6, 3], [2, 9, 3]], words=[[1, 3], [1]])
    split = tokenized_split(examples, task, cut, whole)
    alone = split.seen_by(1)
    batch = alone.batch(rows)
    assert (list(batch.views), batch.learner.ids.shape) == ([1], (2, 5))
    assert batch.positions.tolist() == [[True, True], [True, False]]
    assert (split.counts(rows)["targets"], alone.counts(rows)["targets"]) == (2, 3)
    assert (split.lengths.tolist(), alone.lengths.tolist()) == ([3, 3], [5, 3])
    assert (split.tokens().tolist(), alone.tokens().tolist()) == ([0, 2, 3, 5, 7], [0, 2, 3, 5, 6, 8, 9])
    assert split.seen_by(1, 0).batch(rows).learner.ids.equal(batch.learner.ids)
    assert split.seen_by(0, 0).fingerprint() == split.seen_by(0).fingerprint()
    prints = [split.seen_by(*views).fingerprint() for views in ((0,), (1,), (0, 1), (1, 0))]
    assert len(set(prints)) == 4
    assert split.fingerprint() == prints[2]


def test_answers_become_token_positions_of_the_window_that_holds_them():
    # Context "ab cde f": tokens ab (0,2), cde (3,6), f (7,8) behind CLS, question token, SEP.
    task = Task("x", load_kind("qa"))
    outside = [-1, -1]
    examples = Examples(text=["q"], text_pair=["ab cde f"], labels=[(Answer("cde f", 3),)])
    windows = encoded(
        [[2, 9, 3, 11, 12, 13, 3], [2, 9, 3, 11, 3]],
        characters=[[outside] * 3 + [[0, 2], [3, 6], [7, 8]] + [outside], [outside] * 3 + [[0, 2], outside]],
        example=[0, 0],
    )
    split = tokenized_split(examples, task, windows)
    assert split.labels.tolist() == [[4, 5], [0, 0]]
    assert split.batch(np.array([1, 0])).positions.sum(dim=1).tolist() == [5, 7]


def test_a_fingerprint_changes_with_inputs_and_labels():
    task = Task("x", load_kind("classification"), ("a", "b"))
    one = tokenized_split(Examples(text=["", ""], labels=[1, 0]), task, encoded([[5, 6], [7]]))
    same = tokenized_split(Examples(text=["", ""], labels=[1, 0]), task, encoded([[5, 6], [7]]))
    moved = tokenized_split(Examples(text=["", ""], labels=[1, 0]), task, encoded([[5], [6, 7]]))
    relabelled = tokenized_split(Examples(text=["", ""], labels=[1, 1]), task, encoded([[5, 6], [7]]))
    assert one.fingerprint() == same.fingerprint()
    assert len({one.fingerprint(), moved.fingerprint(), relabelled.fingerprint()}) == 3


def test_a_batch_stays_itself_on_the_same_device():
    task = Task("x", load_kind("regression"))
    split = tokenized_split(Examples(text=["", ""], labels=[1.5, None]), task, encoded([[5, 6], [7]]))
    batch = split.batch(np.array([0, 1]))
    assert batch.to(torch.device("cpu")) is batch
    assert batch.to(torch.device("meta")).learner.ids.device.type == "meta"
    assert batch.labels[0] == pytest.approx(1.5)
