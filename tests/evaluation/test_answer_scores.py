"""SQuAD's exact match and F1: published examples, values worked by hand, and the no-answer threshold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.evaluation.answer_scores import (
    exact_match,
    find_threshold,
    normalise_answer,
    question_scores,
    token_f1,
    total_scores,
)

# Questions of SQuAD's development set on Super Bowl 50, each with its crowd workers' references.
SUPER_BOWL = [
    ["Denver Broncos", "Denver Broncos", "Denver Broncos"],
    ["Santa Clara, California", "Levi's Stadium", "Levi's Stadium in the San Francisco Bay Area at Santa Clara, California."],
    ["gold", "gold", "gold"],
    ["February 7, 2016", "February 7", "February 7, 2016"],
]


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The  Denver\tBroncos!", "denver broncos"),
        ("Levi's Stadium", "levis stadium"),
        ("an A-Team, a theatre", "ateam theatre"),  # punctuation goes first: A-Team is no article
        ("Beyoncé", "beyoncé"),
        ("the", ""),
        ("«quoted» – dash", "«quoted» – dash"),  # only ASCII punctuation goes
    ],
)
def test_normalisation(text, normalised):
    assert normalise_answer(text) == normalised


def test_super_bowl_questions():
    answers = ["the Denver Broncos", "Levi's Stadium in Santa Clara, California", "golden", "February 7th, 2016"]
    scores = question_scores(SUPER_BOWL, answers)
    assert scores.exact.tolist() == [1, 0, 0, 0]
    # 2: against "santa clara california" 3 shared of 6 given and 3 expected, 2*3/9; against "levis stadium" 2*2/8;
    # against the long one (11 words without its article) all 6 shared, 2*6/17: the highest is 12/17.
    # 4: 2 shared of 3 and 3 with the full date, 4/6.
    assert scores.f1.tolist() == pytest.approx([1, 12 / 17, 0, 2 / 3])
    assert scores.has_answer.all()


def test_published_examples_of_the_metric_cards():
    # From the cards of the squad and squad_v2 metrics: full match, no match, and two of three right (66.67 both).
    one = total_scores(question_scores([["1976"]], ["1976"]))
    assert one == {"exact": 1.0, "f1": 1.0, "HasAns_exact": 1.0, "HasAns_f1": 1.0}
    none = total_scores(question_scores([["1976"]], ["1999"]))
    assert none["exact"] == none["f1"] == 0.0
    references = [["1976"], ["Beyoncé and Bruno Mars"], ["climate change"]]
    two = total_scores(question_scores(references, ["1976", "Beyonce", "climate change"]))
    assert two["exact"] == two["f1"] == pytest.approx(2 / 3)


def test_token_f1_counts_words_as_often_as_both_have_them():
    # Shared: new twice, york once; 3 of 4 given, 3 of 3 expected.
    assert token_f1("new new york", "new york new new") == pytest.approx(2 * 3 / 7)
    assert token_f1("2 時間", "2 時間 21 分") == pytest.approx(2 / 3)  # published example of torchmetrics' tests
    assert token_f1("red fox", "blue whale") == 0.0


def test_no_answer_is_right_only_where_there_is_none():
    scores = question_scores([[], [], ["gold"], ["gold"]], ["", "gold", "", "gold"])
    assert scores.exact.tolist() == scores.f1.tolist() == [1, 0, 0, 1]
    assert scores.has_answer.tolist() == [False, False, True, True]
    # An answer of which nothing is left is as good as none.
    assert question_scores([[], []], ["the", "."]).f1.tolist() == [1, 1]


def test_references_of_nothing_but_articles_do_not_count():
    assert question_scores([["the", "gold"]], ["a"]).exact.tolist() == [0]
    assert question_scores([["the"]], [""]).exact.tolist() == [1]


def test_totals_are_kept_apart_for_questions_with_and_without_an_answer():
    references = [["red fox"], ["gold"], ["one"], [], []]
    totals = total_scores(question_scores(references, ["fox", "gold", "", "", "word"]))
    assert totals == pytest.approx(
        {
            "exact": 2 / 5,
            "f1": (2 / 3 + 1 + 0 + 1 + 0) / 5,
            "HasAns_exact": 1 / 3,
            "HasAns_f1": (2 / 3 + 1) / 3,
            "NoAns_exact": 1 / 2,
            "NoAns_f1": 1 / 2,
        }
    )
    assert set(total_scores(question_scores([[]], [""]))) == {"exact", "f1", "NoAns_exact", "NoAns_f1"}


def test_threshold_by_hand():
    # By no-answer score: 0.1 right (+1), 0.2 an answer where there is none (-1), 0.3 F1 0.5, 0.4 F1 0.75, 0.5 again -1.
    # From 2 questions without an answer: 3, 2, 2.5, 3.25, 2.25. Best after 0.4.
    scores = np.array([0.75, 0.0, 1.0, 0.0, 0.5])
    has_answer = np.array([True, False, True, False, True])
    no_answer_scores = np.array([0.4, 0.5, 0.1, 0.2, 0.3])
    best = find_threshold(scores, has_answer, np.ones(5, dtype=bool), no_answer_scores)
    assert (best.value, best.score) == (0.4, 3.25 / 5)
    # Exact match sees only the answer at 0.1: 3 of 5.
    best = find_threshold(np.floor(scores), has_answer, np.ones(5, dtype=bool), no_answer_scores)
    assert (best.value, best.score) == (0.1, 3 / 5)


def test_threshold_where_it_is_best_to_answer_nothing():
    has_answer, is_answered = np.array([False, True]), np.ones(2, dtype=bool)
    best = find_threshold(np.zeros(2), has_answer, is_answered, np.array([0.2, 0.7]))
    assert (best.value, best.score) == (0.0, 0.5)
    # Differences of logits may be negative: 0 would answer both.
    best = find_threshold(np.zeros(2), has_answer, is_answered, np.array([-3.0, -1.0]))
    assert best.score == 0.5
    assert -3.0 > best.value > -3.001


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 13))
def test_threshold_is_the_best_of_all_and_reaches_what_it_says(seed, questions):
    random = np.random.default_rng(seed)
    has_answer, is_answered = random.random((2, questions)) < 0.6
    # What an answer is worth: F1 where there is a reference, else 1 for none.
    scores = np.where(has_answer, random.random(questions) * is_answered, ~is_answered)
    no_answer_scores = random.normal(size=questions)
    best = find_threshold(scores, has_answer, is_answered, no_answer_scores)

    def mean_at(threshold):
        return np.where(no_answer_scores > threshold, ~has_answer, scores).mean()

    assert mean_at(best.value) == pytest.approx(best.score)
    assert best.score == pytest.approx(max(mean_at(value) for value in (-np.inf, *no_answer_scores)))


words = st.lists(st.sampled_from(["the", "fox", "Fox,", "red", "a"]), max_size=5).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(words, words)
def test_f1_is_symmetric_and_at_least_exact_match(one, other):
    assert token_f1(one, other) == pytest.approx(token_f1(other, one))
    assert exact_match(one, other) <= token_f1(one, other) <= 1


def test_questions_without_an_answer_given_are_refused():
    with pytest.raises(ValueError, match="zip"):
        question_scores([["gold"], ["red"]], ["gold"])
    with pytest.raises(ValueError, match="no questions"):
        find_threshold(np.empty(0), np.empty(0, bool), np.empty(0, bool), np.empty(0))
