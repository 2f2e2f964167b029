"""Bootstrap intervals: known widths, coverage on synthetic data, pairing, and seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.evaluation.intervals import (
    Pairing,
    bootstrap_interval,
    paired_difference,
    paired_difference_over_seeds,
    pooled_difference,
)
from stillhouse.evaluation.metrics import accuracy, macro_f1, pearson


def answers(random, examples, share):
    """Accuracy's statistics of random answers, right with a given probability."""
    return np.stack((random.random(examples) < share, np.ones(examples)), axis=1).astype(float)


def test_interval_of_an_accuracy_is_about_the_binomial_one():
    # 691 of 997: 1.96 standard errors are 1.96 sqrt(.693 * .307 / 997) = .0286.
    rows = np.stack((np.arange(997) < 691, np.ones(997)), axis=1).astype(float)
    interval = bootstrap_interval(rows, accuracy.value)
    assert interval.score == pytest.approx(691 / 997)
    assert interval.low == pytest.approx(691 / 997 - 0.0286, abs=0.002)
    assert interval.high == pytest.approx(691 / 997 + 0.0286, abs=0.002)
    narrower = bootstrap_interval(rows, accuracy.value, level=0.5)
    assert interval.low < narrower.low < narrower.high < interval.high


def test_intervals_cover_the_truth_as_often_as_they_say():
    random = np.random.default_rng(0)
    covered = 0
    for run in range(300):
        interval = bootstrap_interval(answers(random, 211, 0.8), accuracy.value, resamples=400, seed=run)
        covered += interval.low <= 0.8 <= interval.high
    # 95 % of 300 is 285, with a standard error of 4; percentile intervals fall a little short.
    assert 270 <= covered <= 297


def test_differences_cover_the_truth_and_pairing_narrows_them():
    random = np.random.default_rng(1)
    covered, widths = 0, []
    for run in range(200):
        hard = random.random(307)
        # Both models answer the same examples rightly but for chance: their errors go together.
        rows_a, rows_b = (np.stack((hard < share, np.ones(307)), axis=1).astype(float) for share in (0.80, 0.75))
        noise = random.random((307, 2)) < 0.1
        rows_a[:, 0], rows_b[:, 0] = abs(rows_a[:, 0] - noise[:, 0]), abs(rows_b[:, 0] - noise[:, 1])
        paired = paired_difference(rows_a, rows_b, accuracy.value, resamples=400, seed=run)
        covered += paired.low <= 0.8 * (0.80 - 0.75) <= paired.high
        widths.append(paired.high - paired.low)
    assert 178 <= covered <= 199
    # Unpaired, the standard error would be sqrt(2 * .74 * .26 / 307): an interval of .139.
    assert np.mean(widths) < 0.11


def test_the_same_model_differs_from_itself_by_exactly_nothing():
    rows = answers(np.random.default_rng(2), 101, 0.6)
    once = paired_difference(rows, rows, accuracy.value)
    assert (once.difference, once.low, once.high) == (0.0, 0.0, 0.0)
    several = paired_difference_over_seeds([rows] * 3, [rows] * 3, accuracy.value)
    assert (several.difference, several.low, several.high) == (0.0, 0.0, 0.0)


def test_exchanging_the_models_turns_the_interval_around():
    random = np.random.default_rng(3)
    first, second = answers(random, 503, 0.8), answers(random, 503, 0.75)
    one, other = (paired_difference(*pair, accuracy.value) for pair in ((first, second), (second, first)))
    assert one.difference == -other.difference
    # The kinds of examples are drawn in another order, so that the ends agree but for chance.
    assert one.low == pytest.approx(-other.high, abs=0.006)
    assert one.high == pytest.approx(-other.low, abs=0.006)


def test_one_seed_is_the_paired_difference():
    random = np.random.default_rng(4)
    first, second = answers(random, 997, 0.8), answers(random, 997, 0.7)
    single = paired_difference(first, second, accuracy.value, seed=7)
    assert paired_difference_over_seeds([first], [second], accuracy.value, seed=7) == single
    assert paired_difference(first, second, accuracy.value, seed=8) != single


def test_the_estimate_is_the_mean_over_seeds():
    rows = [np.stack((np.arange(7) < right, np.ones(7)), axis=1).astype(float) for right in (6, 5, 4, 3, 3, 3)]
    paired = paired_difference_over_seeds(rows[:3], rows[3:], accuracy.value)
    assert paired.difference == pytest.approx((3 + 2 + 1) / 7 / 3)


def test_seeds_that_differ_widen_the_interval():
    # Every example has the same fate within a run, so that all the spread is between seeds: +1, 0, 0 gives 0, 1/3, 2/3 or 1.
    right, wrong = np.array([[1.0, 1.0]] * 5), np.array([[0.0, 1.0]] * 5)
    paired = paired_difference_over_seeds([right, right, right], [wrong, right, right], accuracy.value)
    assert paired.difference == pytest.approx(1 / 3)
    # P(no +1 in three draws) = 8/27, P(three) = 1/27 = .037 > .025.
    assert (paired.low, paired.high) == (0.0, 1.0)


def test_examples_are_drawn_once_for_all_seeds():
    # Three seeds with the same predictions are no more evidence than one.
    random = np.random.default_rng(5)
    first, second = answers(random, 307, 0.8), answers(random, 307, 0.7)
    single = paired_difference(first, second, accuracy.value)
    several = paired_difference_over_seeds([first] * 3, [second] * 3, accuracy.value)
    assert several.high - several.low == pytest.approx(single.high - single.low, rel=0.1)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_the_order_of_the_examples_changes_nothing(seed):
    random = np.random.default_rng(seed)
    gold, first, second = random.integers(0, 3, size=(3, 37))
    order = random.permutation(37)
    rows = [macro_f1.statistics(gold, predicted) for predicted in (first, second)]
    straight = paired_difference(*rows, macro_f1.value, resamples=50)
    assert paired_difference(*(each[order] for each in rows), macro_f1.value, resamples=50) == straight
    interval = bootstrap_interval(rows[0], macro_f1.value, resamples=50)
    assert bootstrap_interval(rows[0][order], macro_f1.value, resamples=50) == interval


def test_against_resampling_example_by_example():
    # Numbers, none like another: the multinomial over kinds is then one over examples.
    random = np.random.default_rng(6)
    gold = random.normal(size=211)
    rows = pearson.statistics(gold, gold + random.normal(size=211))
    interval = bootstrap_interval(rows, pearson.value)
    drawn = [pearson.value(rows[random.integers(211, size=211)].sum(axis=0)) for _ in range(2000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert interval.low == pytest.approx(low, abs=0.015)
    assert interval.high == pytest.approx(high, abs=0.015)


def test_what_makes_no_interval_is_refused():
    rows = np.ones((3, 2))
    with pytest.raises(ValueError, match="no examples"):
        bootstrap_interval(np.empty((0, 2)), accuracy.value)
    with pytest.raises(ValueError, match=r"\[3, 2\] examples"):
        paired_difference(rows, rows[:2], accuracy.value)
    with pytest.raises(ValueError, match="2 runs can't be paired with 1"):
        paired_difference_over_seeds([rows, rows], [rows], accuracy.value)
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        bootstrap_interval(rows, accuracy.value, level=95)
    with pytest.raises(ValueError, match="resamples must be positive"):
        bootstrap_interval(rows, accuracy.value, resamples=0)


def test_pooling_over_sets():
    """One set is the set itself; two independent sets of equal spread: the mean, with an interval narrower by sqrt 2."""
    random = np.random.default_rng(0)
    sides = [[(random.random((400, 1)) < share).astype(float) for _ in range(2)] for share in (0.8, 0.7)]

    def value(total):
        return total[..., 0] / 400

    single = paired_difference_over_seeds(*sides, value, resamples=4000)
    one = Pairing(*sides, value)
    assert pooled_difference([one], resamples=4000) == single
    both = pooled_difference([one, one], resamples=4000)
    assert both.difference == pytest.approx(single.difference)
    width = (both.high - both.low) / (single.high - single.low)
    assert width == pytest.approx(1 / np.sqrt(2), abs=0.05)
    with pytest.raises(ValueError, match="can't be paired"):
        pooled_difference([Pairing(sides[0], sides[1][:1], value)])
