"""What knowing nothing scores, and which teachers are above it: by hand."""

import numpy as np
import pytest

from stillhouse.data.examples import Examples
from stillhouse.data.ragged import Ragged
from stillhouse.data.tokenize import Encoded
from stillhouse.data.tokenized_split import tokenized_split
from stillhouse.errors import UserError
from stillhouse.evaluation.evaluate import Predictions, Split
from stillhouse.evaluation.floor import floor_score
from stillhouse.runs.checks import against_floor
from stillhouse.runs.findings import refuse_first
from stillhouse.task import Task, load_kind


def split_of(kind, labels, names=("a", "b", "c")):
    rows = len(labels)
    ids = Ragged.from_rows([[2, 3]] * rows, np.int32)
    task = Task("t", load_kind(kind), names)
    examples = Examples(["x"] * rows, labels)
    return Split(examples, tokenized_split(examples, task, Encoded(ids, ids, np.arange(rows), 0)))


def said(decoded):
    return Predictions(np.zeros((len(decoded), 3), np.float32), decoded)


def check_teacher(split, predictions, **options):
    (said,) = refuse_first([against_floor("tiny", split, predictions, **options)])
    return said


def test_the_majority_class():
    split = split_of("classification", [0, 1, 1, 2, 1])
    assert floor_score(split) == 3 / 5
    with pytest.raises(UserError, match=r"no better than always.*accuracy 0.600 on 5.*knowing nothing: 0.600"):
        check_teacher(split, said([0, 1, 1, 0, 0]), allow_weak=False)
    assert check_teacher(split, said([0, 1, 0, 0, 0]), allow_weak=True).endswith("warning: no better than knowing nothing")
    # 0.8 is above 0.6, but not by two standard errors of sqrt(0.6 * 0.4 / 5) = 0.219.
    with pytest.raises(UserError, match="choose another teacher"):
        check_teacher(split, said([0, 1, 1, 0, 0]), allow_weak=False, is_fitted=False)
    assert "within two standard errors" in check_teacher(split, said([0, 1, 1, 2, 0]), allow_weak=False)


def test_rows_of_one_class_cannot_tell():
    split = split_of("classification", [1, 1, 1])
    assert "these rows all have one label" in check_teacher(split, said([1, 1, 1]), allow_weak=False)


def test_the_best_set_of_labels():
    # Sets {a}, {a, b}, {b}, {a, b, c}, {}: a three times, b three times, c once; 7 in all. Micro F1 of always {}: 0, of
    # {a}: 2 * 3 / (7 + 5) = 0.5, of {a, b}: 2 * 6 / (7 + 10) = 0.706, of all three: 2 * 7 / (7 + 15) = 0.636.
    split = split_of("multilabel", [(0,), (0, 1), (1,), (0, 1, 2), ()])
    assert floor_score(split) == pytest.approx(12 / 17)


def test_a_correlation_of_chance_is_warned_of():
    random = np.random.default_rng(0)
    gold = random.normal(size=50).tolist()
    split = split_of("regression", gold, ())
    noise = (0.3 * np.array(gold) + random.normal(size=50)).tolist()
    score = np.corrcoef(gold, noise)[0, 1]
    assert 0 < score < 2 / np.sqrt(49)
    assert "within two standard errors" in check_teacher(split, said(noise), allow_weak=False)
    assert "warning" not in check_teacher(split, said(gold), allow_weak=False)


def test_a_teacher_of_tags_is_above_noise_where_its_interval_is():
    # One entity a row. Two of 60 rows right: some resamples hold none of them. All but one right: no doubt.
    names = ("B-X", "O")
    split = split_of("tagging", [(0, 1)] * 60, names)
    right, wrong = (0, 1), (1, 1)
    assert "within two standard errors" in check_teacher(split, said([right] * 2 + [wrong] * 58), allow_weak=False)
    assert "warning" not in check_teacher(split, said([right] * 59 + [wrong]), allow_weak=False)
    with pytest.raises(UserError, match="no better than always"):
        check_teacher(split, said([wrong] * 60), allow_weak=False)
