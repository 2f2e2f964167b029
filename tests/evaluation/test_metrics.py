"""Scores against scikit-learn, scipy and numbers worked by hand, and what sums of statistics promise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from stillhouse.evaluation.metrics import (
    accuracy,
    answer_exact,
    answer_f1,
    macro_f1,
    mcc,
    micro_f1,
    mse,
    multilabel_macro_f1,
    pearson,
    span_f1,
    spearman,
    token_accuracy,
)
from stillhouse.task import kind_names, load_kind

METRICS = [load_kind(name).metrics for name in kind_names()]
CLASSES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=23)
NUMBERS = st.lists(st.tuples(st.integers(-7, 7), st.integers(-7, 7)), min_size=1, max_size=23)


def columns(pairs):
    return np.array([one for one, _ in pairs]), np.array([other for _, other in pairs])


def test_the_main_metrics():
    assert {kind: load_kind(kind).main_metric.name for kind in kind_names()} == {
        "classification": "accuracy",
        "multilabel": "micro_f1",
        "regression": "pearson",
        "tagging": "span_f1",
        "qa": "f1",
    }


def test_names_are_unique_within_a_kind():
    for metrics in METRICS:
        assert len({metric.name for metric in metrics}) == len(metrics)


def test_classification_by_hand():
    # Confusion of 7 examples: class 0 right 3 of 4 (1 taken for 1), class 1 right 1 of 2 (1 taken for 2), class 2 right 1 of 1.
    gold = np.array([0, 0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 0, 1, 1, 2, 2])
    assert accuracy.score(gold, predicted) == pytest.approx(5 / 7)
    # F1: 2*3/(3+4), 2*1/(2+2), 2*1/(2+1).
    assert macro_f1.score(gold, predicted) == pytest.approx((6 / 7 + 1 / 2 + 2 / 3) / 3)
    # c s - sum p t = 5*7 - (3*4 + 2*2 + 2*1) = 17; s^2 - sum p^2 = 49 - 17 = 32; s^2 - sum t^2 = 49 - 21 = 28.
    assert mcc.score(gold, predicted) == pytest.approx(17 / math.sqrt(32 * 28))


def test_binary_matthews_is_the_textbook_formula():
    # tp 3, tn 2, fp 1, fn 1: (3*2 - 1*1) / sqrt(4*4*3*3).
    gold = np.array([1, 1, 1, 1, 0, 0, 0])
    predicted = np.array([1, 1, 1, 0, 0, 0, 1])
    assert mcc.score(gold, predicted) == pytest.approx(5 / 12)


@settings(max_examples=60, deadline=None)
@given(CLASSES)
def test_classification_against_scikit_learn(pairs):
    gold, predicted = columns(pairs)
    assert accuracy.score(gold, predicted) == pytest.approx(reference.accuracy_score(gold, predicted))
    expected = reference.f1_score(gold, predicted, average="macro", zero_division=0.0)
    assert macro_f1.score(gold, predicted) == pytest.approx(expected)
    if len({*gold, *predicted}) > 1:  # scikit-learn warns of a single class
        assert mcc.score(gold, predicted) == pytest.approx(reference.matthews_corrcoef(gold, predicted), abs=1e-12)


def test_undefined_scores_are_zero():
    constant, varied = np.zeros(5, dtype=int), np.array([0, 1, 2, 3, 4])
    assert mcc.score(constant, constant) == 0.0
    assert mcc.score(varied, constant) == 0.0
    assert pearson.score(np.full(5, 0.1), varied) == 0.0
    assert spearman.score(varied, np.full(5, 3.7)) == 0.0
    nothing = np.zeros((3, 2), dtype=bool)
    assert micro_f1.score(nothing, nothing) == 0.0
    assert multilabel_macro_f1.score(nothing, nothing) == 0.0
    assert span_f1.score([["O"]], [["O"]]) == 0.0


def test_a_constant_resample_of_varying_numbers_has_no_correlation():
    # Rows 0 and 1 are equal: a resample of them alone has no spread, however the sums round.
    rows = pearson.statistics(np.array([0.1, 0.1, 7.3]), np.array([2.3, 2.3, -1.7]))
    assert pearson.value(11 * rows[0] + 6 * rows[1]) == 0.0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 13), st.integers(1, 5))
def test_multilabel_against_scikit_learn(seed, examples, labels):
    gold, predicted = np.random.default_rng(seed).random((2, examples, labels)) < 0.4
    options = {"zero_division": 0.0}
    if labels == 1:  # scikit-learn would read one column as a binary problem
        expected = reference.f1_score(gold[:, 0], predicted[:, 0], **options)
        assert micro_f1.score(gold, predicted) == pytest.approx(expected)
        return
    for metric, average in ((micro_f1, "micro"), (multilabel_macro_f1, "macro")):
        assert metric.score(gold, predicted) == pytest.approx(reference.f1_score(gold, predicted, average=average, **options))


@settings(max_examples=60, deadline=None)
@given(NUMBERS)
def test_regression_against_scipy(pairs):
    gold, predicted = columns(pairs)
    assert mse.score(gold, predicted) == pytest.approx(np.mean((gold - predicted) ** 2))
    if len(set(gold)) > 1 and len(set(predicted)) > 1:
        assert pearson.score(gold, predicted) == pytest.approx(stats.pearsonr(gold, predicted).statistic, abs=1e-9)
        assert spearman.score(gold, predicted) == pytest.approx(stats.spearmanr(gold, predicted).statistic, abs=1e-9)


def test_spearman_by_hand_with_a_tie():
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance 4.5, spreads 4.5 and 5.
    assert spearman.score(np.array([1, 5, 5, 9]), np.array([2, 3, 50, 51])) == pytest.approx(4.5 / math.sqrt(4.5 * 5))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(-1e6, 1e6), st.floats(0.01, 100))
def test_pearson_does_not_see_shift_and_scale(seed, shift, scale):
    gold, predicted = np.random.default_rng(seed).normal(size=(2, 11))
    assert pearson.score(gold, shift + scale * predicted) == pytest.approx(pearson.score(gold, predicted), abs=1e-6)


def test_errors_fall_and_scores_rise():
    lower = [metric.name for metrics in METRICS for metric in metrics if not metric.higher_is_better]
    assert lower == ["mse"]


def test_tagging_and_answers():
    gold, predicted = [["B-X", "I-X", "O"], ["O", "B-Y"]], [["B-X", "I-X", "O"], ["B-Y", "B-Y"]]
    # Spans right 2, predicted 3, gold 2; four of five words are right.
    assert span_f1.score(gold, predicted) == pytest.approx(4 / 5)
    assert token_accuracy.score(gold, predicted) == pytest.approx(4 / 5)
    references, answers = [["red fox"], [], ["one", "two"]], ["fox", "", "three"]
    assert answer_f1.score(references, answers) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert answer_exact.score(references, answers) == pytest.approx(1 / 3)


@settings(max_examples=20, deadline=None)
@given(CLASSES, st.randoms())
def test_order_does_not_matter_and_a_resample_is_scored_from_its_sums(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    drawn = [random.randrange(len(pairs)) for _ in pairs]
    weights = np.bincount(drawn, minlength=len(pairs)).astype(float)
    for metric in load_kind("classification").metrics:
        rows = metric.statistics(*columns(pairs))
        assert metric.value(rows.sum(axis=0)) == pytest.approx(metric.score(*columns(shuffled)))
        resample = metric.score(*columns([pairs[row] for row in drawn]))
        assert metric.value(weights @ rows) == pytest.approx(resample)


def test_values_of_many_sums_at_once():
    gold, predicted = np.array([0, 1, 2, 1, 0]), np.array([0, 2, 2, 1, 1])
    weights = np.array([[1, 1, 1, 1, 1], [5, 0, 0, 0, 0], [0, 0, 2, 3, 0]], dtype=float)
    for metric in load_kind("classification").metrics:
        rows = metric.statistics(gold, predicted)
        together = metric.value(weights @ rows)
        assert together.shape == (3,)
        assert together.tolist() == pytest.approx([float(metric.value(each @ rows)) for each in weights])


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match=r"\(3,\) but predictions \(2,\)"):
        accuracy.score(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="must not be negative"):
        macro_f1.score(np.array([-100, 1]), np.array([0, 1]))
