"""Divergence from the teacher, agreement with it, and calibration: closed forms."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.evaluation.fidelity import (
    bernoulli_kl,
    expected_calibration_error,
    gap_closed,
    mean_by_group,
    retention,
    share_equal,
    sigmoid_confidence,
    softmax_confidence,
    softmax_kl,
    span_kl,
)
from stillhouse.task import load_kind

TWO_ZERO_AGAINST_UNIFORM = 0.327813325473  # p = sigmoid(2): log 2 - H(p)


def test_share_of_the_teachers_score():
    assert retention({"score": 0.8}, {"score": 0.6}) == pytest.approx(0.75)
    assert retention(None, {"score": 0.6}) is None
    assert retention({"score": None}, {"score": None}) is None


def test_share_of_the_gap_closed():
    teacher, baseline = {"score": 0.9}, {"score": 0.7}
    assert gap_closed(teacher, {"score": 0.85}, baseline) == pytest.approx(0.75)
    assert gap_closed(teacher, {"score": 0.6}, baseline) == pytest.approx(-0.5)
    assert gap_closed(teacher, {"score": 0.85}, None) is None
    assert gap_closed(None, {"score": 0.85}, baseline) is None
    assert gap_closed({"score": 0.7}, {"score": 0.85}, baseline) is None  # there is no gap


def test_softmax_kl_by_hand():
    teacher = np.array([[2.0, 0.0], [1.0, 1.0]])
    assert softmax_kl(teacher, np.zeros((2, 2))).tolist() == pytest.approx([TWO_ZERO_AGAINST_UNIFORM, 0.0])
    # One-hot teacher, uniform student over 5 classes: log 5.
    assert softmax_kl(np.array([[900.0, 0, 0, 0, 0]]), np.zeros((1, 5))).tolist() == pytest.approx([math.log(5)])


def test_extreme_logits_stay_finite():
    # Teacher sure of one class, student as sure of another: KL = 2000 nats, although the student's probability underflows.
    teacher, student = np.array([[1000.0, -1000.0]], np.float32), np.array([[-1000.0, 1000.0]], np.float32)
    assert softmax_kl(teacher, student).tolist() == [2000.0]
    assert bernoulli_kl(teacher, student).tolist() == [2000.0]


def test_bernoulli_kl_sums_over_labels():
    # sigmoid(2) against sigmoid(0) is softmax (2, 0) against uniform; a label on which both agree adds nothing.
    teacher, student = np.array([[2.0, 1.0, -2.0]]), np.array([[0.0, 1.0, 0.0]])
    assert bernoulli_kl(teacher, student).tolist() == pytest.approx([2 * TWO_ZERO_AGAINST_UNIFORM])


def test_span_kl_averages_start_and_end_over_the_tokens_of_a_window():
    # Window 1: starts (2, 0) against uniform, ends agree. Window 2: three tokens, the same logits but for a constant.
    teacher = np.array([[2.0, 5.0], [0.0, 5.0], [1.0, 0.0], [2.0, 1.0], [3.0, 4.0]])
    student = np.array([[7.0, 0.0], [7.0, 0.0], [2.0, 3.0], [3.0, 4.0], [4.0, 7.0]])
    assert span_kl(teacher, student, np.array([0, 2, 5])).tolist() == pytest.approx([TWO_ZERO_AGAINST_UNIFORM / 2, 0.0])


def test_span_kl_wants_a_token_in_each_window():
    with pytest.raises(ValueError, match="window 1 has no token"):
        span_kl(np.zeros((3, 2)), np.zeros((3, 2)), np.array([0, 3, 3]))
    assert span_kl(np.empty((0, 2)), np.empty((0, 2)), np.array([0])).shape == (0,)


def test_span_kl_is_softmax_kl_of_each_window():
    random = np.random.default_rng(0)
    teacher, student = random.normal(scale=5, size=(2, 10, 2))
    offsets = np.array([0, 2, 5, 10])
    expected = [softmax_kl(teacher[first:last].T, student[first:last].T).mean() for first, last in pairwise(offsets)]
    assert span_kl(teacher, student, offsets).tolist() == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(-100, 100))
def test_divergences_are_zero_for_equals_positive_else_and_follow_the_order(seed, shift):
    random = np.random.default_rng(seed)
    teacher, student = random.normal(scale=3, size=(2, 7, 5))
    order = random.permutation(7)
    for divergence in (softmax_kl, bernoulli_kl):
        assert divergence(teacher, teacher).tolist() == [0.0] * 7
        assert (divergence(teacher, student) > 0).all()
        assert np.array_equal(divergence(teacher[order], student[order]), divergence(teacher, student)[order])
    assert np.allclose(softmax_kl(teacher + shift, student - shift), softmax_kl(teacher, student))


def test_means_by_group():
    means = mean_by_group(np.array([1.0, 2.0, 5.0, 7.0]), np.array([0, 2, 2, 0]), 4)
    assert means[[0, 2]].tolist() == [4.0, 3.5]
    assert np.isnan(means[[1, 3]]).all()


@pytest.mark.parametrize(
    ("kind", "teacher", "student", "share"),
    [
        ("classification", [0, 1, 2, 1, 0], [0, 1, 1, 1, 2], 3 / 5),
        ("multilabel", [[True, False, True], [False, False, True]], [[True, True, True], [False, False, False]], 4 / 6),
        ("tagging", [(1, 2, 0), (0, 0)], [(1, 0, 0), (0, 1)], 3 / 5),
        ("qa", [[0, 3], [-1, -1], [4, 9]], [[0, 3], [-1, -1], [4, 8]], 2 / 3),
        # Deviations -1, 0, 1 against -1, 1, 0 of both: 1 / 2.
        ("regression", [1.0, 2.0, 3.0], [10.0, 30.0, 20.0], 0.5),
    ],
)
def test_agreement(kind, teacher, student, share):
    assert load_kind(kind).agreement(teacher, student) == pytest.approx(share)
    assert load_kind(kind).agreement(teacher, teacher) == pytest.approx(1.0)


def test_confidence_of_decisions():
    # Softmax of (log 3, 0) is (3/4, 1/4); sigmoid of +-log 4 is 4/5 for or against.
    assert softmax_confidence(np.array([[math.log(3), 0.0]])).tolist() == pytest.approx([0.75])
    labels = sigmoid_confidence(np.array([[math.log(4), -math.log(4), 0.0]], np.float32))
    assert labels[0].tolist() == pytest.approx([0.8, 0.8, 0.5])


def test_calibration_error_by_hand():
    # Bin (12/15, 13/15]: confidence .85 twice, one right: |.5 - .85| = .35. Bin (9/15, 10/15]: .65 thrice, all right: .35.
    # Bin of 1: right, 0. (2 * .35 + 3 * .35 + 0) / 6.
    confidences = [0.85, 0.85, 0.65, 0.65, 0.65, 1.0]
    correct = [True, False, True, True, True, True]
    assert expected_calibration_error(confidences, correct) == pytest.approx(5 * 0.35 / 6)


def test_calibration_errors_in_one_bin_cancel_and_in_two_do_not():
    # .90 wrong and .91 right in (13/15, 14/15]: |.5 - .905|. In bins of their own they would give (.9 + .09) / 2.
    assert expected_calibration_error([0.90, 0.91], [False, True]) == pytest.approx(0.405)
    assert expected_calibration_error([0.90, 0.91], [False, True], bins=200) == pytest.approx(0.495)


def test_bins_hold_their_upper_edge():
    # .2 is the edge of bin 3 of 15: with .19 in it, |(1 - .2 + 0 - .19) / 2|; apart they would give (.8 + .19) / 2.
    assert expected_calibration_error([0.2, 0.19], [True, False]) == pytest.approx(0.305)
    assert expected_calibration_error([0.2, 0.21], [True, False]) == pytest.approx((0.8 + 0.21) / 2)
    assert expected_calibration_error([0.0, 1.0], [False, True]) == 0.0


def test_calibration_of_labels_counts_every_decision():
    confidences = np.array([[0.7, 0.7], [0.7, 0.7], [0.7, 0.7]])
    correct = np.array([[True, True], [True, False], [True, False]])
    assert expected_calibration_error(confidences, correct) == pytest.approx(abs(4 / 6 - 0.7))


def test_nothing_to_calibrate():
    assert expected_calibration_error([], []) is None
    assert expected_calibration_error([np.nan] * 3, [False] * 3) is None
    with pytest.raises(ValueError, match="2 confidences for 1 decisions"):
        expected_calibration_error([0.5, 0.5], [True])


def test_a_calibrated_model_has_a_small_error_and_an_overconfident_one_a_large():
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, size=20_000)
    correct = random.random(20_000) < confidence
    assert expected_calibration_error(confidence, correct) < 0.02
    assert expected_calibration_error((1 + confidence) / 2, correct) == pytest.approx(0.125, abs=0.02)


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\) but student logits \(2, 5\)"):
        softmax_kl(np.zeros((2, 3)), np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"\(3,\) but the student's \(2,\)"):
        share_equal([0, 1, 2], [0, 1])
