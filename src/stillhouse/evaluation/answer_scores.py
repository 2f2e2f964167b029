"""SQuAD's scores of answers (Rajpurkar et al. 2016, 2018).

Exact match and F1 are those of SQuAD 2.0's official script, evaluate-v2.0.py, and on answerable questions those of
SQuAD 1.1's. Scores are shares 0..1, where the scripts print percent.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@lru_cache(maxsize=65536)
def normalise_answer(text: str) -> str:
    """Lower case, then without ASCII punctuation, then without English articles, words parted by single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(reference: str, answer: str) -> float:
    """1 where both are the same after normalisation, else 0."""
    return float(normalise_answer(reference) == normalise_answer(answer))


def token_f1(reference: str, answer: str) -> float:
    """F1 of the answer's bag of normalised words; where one side has no words, 1 if neither has any, else 0."""
    expected, given = normalise_answer(reference).split(), normalise_answer(answer).split()
    if not expected or not given:
        return float(expected == given)
    shared = sum((Counter(expected) & Counter(given)).values())
    return 2 * shared / (len(expected) + len(given))


@dataclass(frozen=True)
class QuestionScores:
    """Scores of each question, `(questions,)`: `exact` and `f1` in 0..1, and whether the question has an answer."""

    exact: Array
    f1: Array
    has_answer: NDArray[np.bool_]


def question_scores(references: Sequence[Sequence[str]], answers: Sequence[str]) -> QuestionScores:
    """Scores each answer against the best of its references.

    Args:
        references: The right answers of each question; none = the question has no answer. A reference of which
            normalisation leaves nothing does not count, unless all of them are such.
        answers: The answer given to each question; "" = none.
    """
    exact, f1 = np.zeros(len(references)), np.zeros(len(references))
    for row, (texts, answer) in enumerate(zip(references, answers, strict=True)):
        valid = [text for text in texts if normalise_answer(text)] or [""]
        exact[row] = max(exact_match(text, answer) for text in valid)
        f1[row] = max(token_f1(text, answer) for text in valid)
    return QuestionScores(exact, f1, np.fromiter((len(texts) > 0 for texts in references), bool, count=len(references)))


def total_scores(scores: QuestionScores) -> dict[str, float]:
    """Means over all questions, over those with an answer (`HasAns_`) and over those without (`NoAns_`).

    Keys are `exact` and `f1` after these prefixes, as the script names them; a mean over no questions is left out.
    """
    groups = {"": np.ones_like(scores.has_answer), "HasAns_": scores.has_answer, "NoAns_": ~scores.has_answer}
    return {
        f"{prefix}{name}": float(values[chosen].mean())
        for prefix, chosen in groups.items()
        for name, values in (("exact", scores.exact), ("f1", scores.f1))
        if chosen.any()
    }


@dataclass(frozen=True)
class Threshold:
    """Questions with a no-answer score above `value` are answered with ""; then the mean score is `score`."""

    value: float
    score: float


def find_threshold(
    scores: Array, has_answer: NDArray[np.bool_], is_answered: NDArray[np.bool_], no_answer_scores: Array
) -> Threshold:
    """The no-answer threshold with the highest mean score, found as the official script finds it.

    Questions are answered one after the other, from the lowest no-answer score on; the first best state is kept. Equal
    no-answer scores are taken in the order given, although no threshold parts them.

    Args:
        scores: Exact match or F1 of each question's text, as if no threshold took any back.
        has_answer: Which questions have an answer.
        is_answered: For which questions the text is not "".
        no_answer_scores: Higher = rather no answer; probabilities or differences of logits.

    Returns:
        The threshold and its score. Where it is best to answer nothing, 0 as in the script if all no-answer scores are
        above it, else a number just below the lowest.
    """
    if len(scores) == 0:
        raise ValueError("there are no questions to find a threshold on")
    order = np.argsort(no_answer_scores, kind="stable")
    gains = np.where(has_answer, scores, np.where(is_answered, -1.0, 0.0))[order]
    nothing_answered = float((~has_answer).sum())
    totals = nothing_answered + np.cumsum(gains)
    best = int(np.argmax(totals))
    if totals[best] > nothing_answered:
        return Threshold(float(no_answer_scores[order[best]]), float(totals[best]) / len(scores))
    lowest = float(no_answer_scores[order[0]])
    return Threshold(0.0 if lowest > 0 else float(np.nextafter(lowest, -np.inf)), nothing_answered / len(scores))
