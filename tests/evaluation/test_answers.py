"""Answers decoded from start and end logits: by hand, and against a search through every span."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.evaluation.answers import Window, best_answers, best_threshold

CONTEXT = "one two three four five"
WORDS = [(0, 3), (4, 7), (8, 13), (14, 18), (19, 23)]
OUTSIDE = (-1, -1)


def window(start, end, offsets=(OUTSIDE, *WORDS, OUTSIDE), question=0):
    return Window(question, np.array(offsets), np.array([start, end], dtype=np.float32).T)


def test_the_best_span_is_cut_out_of_the_context():
    # Highest pair start <= end: 3 + 4 from token 2 to 4 ("two" .. "four"); the highest start, at 5, has no end after it.
    answered = best_answers([window([1, 0, 3, 0, 0, 3.5, 9], [1, 0, 0, 0, 4, 0, 9])], [CONTEXT])
    assert answered.texts == ["two three four"]
    assert answered.spans.tolist() == [[4, 18]]
    assert answered.span_scores.tolist() == [7.0]
    assert answered.null_scores.tolist() == [2.0]
    assert answered.score_differences.tolist() == [-5.0]


def test_a_span_is_no_longer_than_allowed():
    logits = ([0, 5, 0, 0, 0, 1, 0], [0, 0, 2, 0, 0, 5, 0])
    assert best_answers([window(*logits)], [CONTEXT], max_answer_tokens=5).texts == [CONTEXT]
    assert best_answers([window(*logits)], [CONTEXT], max_answer_tokens=4).texts == ["one two"]
    assert best_answers([window(*logits)], [CONTEXT], max_answer_tokens=1).texts == ["five"]


def test_windows_of_one_question():
    # The second window, of the last three words, holds the best span; the null score is the lowest of both.
    first = window([4, 1, 0, 0], [4, 1, 0, 0], [OUTSIDE, *WORDS[:3]])
    second = window([2, 0, 0, 3], [1, 0, 0, 3], [OUTSIDE, *WORDS[2:]])
    answered = best_answers([second, first], [CONTEXT])
    assert answered.texts == ["five"]
    assert answered.null_scores.tolist() == [3.0]
    assert answered.score_differences.tolist() == [-3.0]


def test_confidence_counts_the_same_characters_once():
    # One word in each of two windows, the same: spans have scores {log 3}, the higher of log 3 and log 2, beside null log 1.
    windows = [window([0, np.log(score)], [0, 0], [OUTSIDE, (0, 3)]) for score in (3, 2)]
    answered = best_answers(windows, ["one"])
    assert answered.given_confidences(0.0).tolist() == pytest.approx([3 / 4])
    assert answered.given_confidences(np.inf).tolist() == pytest.approx([1.0])
    # At a threshold below log 1/3 no answer is given, with the rest of the probability.
    assert answered.given(-2.0) == [""]
    assert answered.given_confidences(-2.0).tolist() == pytest.approx([1 / 4])


def test_the_n_best_share_the_probability():
    # Single words with weights 4, 2, 1 (spans of two words are too long), null 1.
    logits = [0, np.log(4), np.log(2), 0]
    one = window(logits, [0, 0, 0, 0], [OUTSIDE, *WORDS[:3]])
    for n_best, total in ((3, 8), (2, 7), (1, 5)):
        answered = best_answers([one], [CONTEXT], max_answer_tokens=1, n_best=n_best)
        assert answered.given_confidences(0.0).tolist() == pytest.approx([4 / total])
        assert answered.given_confidences(np.inf).tolist() == pytest.approx([4 / (total - 1)])


def test_threshold_decides_between_answer_and_none():
    answered = best_answers([window([0, 1, 0], [0, 1, 0], [OUTSIDE, *WORDS[:2]])], [CONTEXT])
    assert answered.score_differences.tolist() == [-2.0]
    assert answered.given(-2.0) == ["one"]  # not above the threshold
    assert answered.given(-2.1) == [""]
    assert answered.given_spans(-2.0).tolist() == [[0, 3]]
    assert answered.given_spans(-2.1).tolist() == [[-1, -1]]


def test_a_threshold_is_found_on_the_questions():
    # Differences -2, 0, 1: the right answers are the first and (none) the last; the second F1 is 1 as well.
    windows = [window([null, 1], [null, 1], [OUTSIDE, WORDS[0]], row) for row, null in enumerate((0, 1, 1.5))]
    answered = best_answers(windows, [CONTEXT] * 3)
    assert best_threshold(answered, [["one"], ["one"], []]) == 0.0
    assert best_threshold(answered, [["one"], [], []]) == -2.0


def test_a_question_whose_windows_hold_no_context_gets_no_answer():
    empty = window([0, 5], [0, 5], [OUTSIDE, OUTSIDE])
    answered = best_answers([empty, window([0, 1], [0, 1], [OUTSIDE, WORDS[0]], 1)], ["", CONTEXT])
    assert answered.given(np.inf) == ["", "one"]
    assert answered.given_confidences(np.inf).tolist() == [0.0, 1.0]
    assert answered.given_confidences(0.0)[0] == pytest.approx(1.0)
    assert np.isposinf(answered.score_differences[0])


def test_tokens_of_no_characters_bound_no_answer():
    answered = best_answers([window([0, 9, 1], [0, 9, 1], [OUTSIDE, (4, 4), (4, 7)])], [CONTEXT])
    assert answered.texts == ["two"]


def test_no_questions():
    answered = best_answers([], [])
    assert answered.given(0.0) == []
    assert answered.given_confidences(0.0).shape == (0,)


def test_a_question_without_windows_is_refused():
    with pytest.raises(ValueError, match="question 1 has no window"):
        best_answers([window([0, 1], [0, 1], [OUTSIDE, WORDS[0]])], [CONTEXT, CONTEXT])
    with pytest.raises(ValueError, match="must be positive"):
        best_answers([], [], n_best=0)


def search(windows, questions, max_answer_tokens, n_best):
    """Every span of every window, one by one."""
    scores = [{} for _ in range(questions)]
    for each in windows:
        for first in range(len(each.logits)):
            for last in range(first, min(len(each.logits), first + max_answer_tokens)):
                if min(each.offsets[first, 0], each.offsets[last, 0]) >= 0:
                    span = (each.offsets[first, 0], each.offsets[last, 1])
                    score = float(each.logits[first, 0]) + float(each.logits[last, 1])
                    scores[each.question][span] = max(score, scores[each.question].get(span, -np.inf))
    return [sorted(spans.items(), key=lambda item: -item[1])[:n_best] for spans in scores]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 13), st.integers(1, 5), st.integers(1, 23))
def test_against_a_search_through_every_span(seed, max_answer_tokens, n_best, tokens):
    random = np.random.default_rng(seed)
    context = "".join(random.choice(list("abc"), 200))
    windows = []
    for question in (2, 0, 1, 0, 2, 0):
        length = tokens + int(random.integers(3))
        shift = 3 * int(random.integers(4))
        inside = np.stack((3 * np.arange(length) + shift, 3 * np.arange(length) + shift + 2), axis=1)
        offsets = np.concatenate((np.full((3, 2), -1), inside, np.full((1, 2), -1)))
        windows.append(Window(question, offsets, random.normal(scale=3, size=(len(offsets), 2))))
    answered = best_answers(windows, [context] * 3, max_answer_tokens=max_answer_tokens, n_best=n_best)
    for question, spans in enumerate(search(windows, 3, max_answer_tokens, n_best)):
        (first, last), best = spans[0]
        assert answered.spans[question].tolist() == [first, last]
        assert answered.texts[question] == context[first:last]
        assert answered.span_scores[question] == pytest.approx(best)
        assert answered.span_log_sums[question] == pytest.approx(np.logaddexp.reduce([score for _, score in spans]))
    shuffled = best_answers(
        [windows[row] for row in random.permutation(6)],
        [context] * 3,
        max_answer_tokens=max_answer_tokens,
        n_best=n_best,
    )
    assert shuffled.texts == answered.texts
    assert np.allclose(shuffled.given_confidences(0.0), answered.given_confidences(0.0))
