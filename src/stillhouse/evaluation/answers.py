"""Extractive question answering: answers out of span logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.evaluation.answer_scores import find_threshold, question_scores

Array = NDArray[np.float64]
NULL_TOKEN = 0  # the position, that of CLS or <s>, at which a model points to say that there is no answer
CHUNK = 512  # windows decoded at once


@dataclass(frozen=True)
class Window:
    """One window of a question's context.

    Attributes:
        question: Number of its question.
        offsets: First and last+1 character in the context of each token, `(tokens, 2)`; -1 for tokens outside of it.
        logits: Start and end logits, `(tokens, 2)`.
    """

    question: int
    offsets: NDArray[Any]
    logits: NDArray[Any]


@dataclass(frozen=True)
class Answered:
    """The best span of each question beside the score of having none.

    Attributes:
        texts: The best span's text, cut out of the context; "" where no window holds any context.
        spans: Its first and last+1 character, `(questions, 2)`; -1 where there is none.
        span_scores: Its start logit plus its end logit, `(questions,)`; -inf where there is none.
        null_scores: Start plus end logit of the null token, the lowest of the question's windows, `(questions,)`.
        span_log_sums: Log of the sum of exp(score) over the n best spans, `(questions,)`.
    """

    texts: list[str]
    spans: NDArray[np.int64]
    span_scores: Array
    null_scores: Array
    span_log_sums: Array

    @property
    def score_differences(self) -> Array:
        """Null minus best span: the no-answer score that a threshold is set on."""
        differences: Array = self.null_scores - self.span_scores
        return differences

    def is_answered(self, threshold: float) -> NDArray[np.bool_]:
        """Which questions get their best span; with an infinite threshold every question that has one (SQuAD 1.1)."""
        answered: NDArray[np.bool_] = (self.spans[:, 0] >= 0) & (self.score_differences <= threshold)
        return answered

    def given(self, threshold: float) -> list[str]:
        """The answers given at a threshold: "" where the score difference is above it."""
        chosen = self.is_answered(threshold)
        return [text if answered else "" for text, answered in zip(self.texts, chosen, strict=True)]

    def given_spans(self, threshold: float) -> NDArray[np.int64]:
        """The character spans given at a threshold, `(questions, 2)`; -1 for no answer."""
        return np.where(self.is_answered(threshold)[:, None], self.spans, -1)

    def given_confidences(self, threshold: float) -> Array:
        """Probability of what is given at a threshold, an answer or none.

        By softmax over the n best spans and no answer; with an infinite threshold no answer is no choice, and the softmax
        is over spans alone.
        """
        answered = self.is_answered(threshold)
        if np.isposinf(threshold):
            chosen = np.flatnonzero(answered)
            confidences = np.zeros(len(answered))
            confidences[chosen] = np.exp(self.span_scores[chosen] - self.span_log_sums[chosen])
            return confidences
        total = np.logaddexp(self.span_log_sums, self.null_scores)
        probabilities: Array = np.exp(np.where(answered, self.span_scores, self.null_scores) - total)
        return probabilities


def best_threshold(answered: Answered, references: Sequence[Sequence[str]]) -> float:
    """The threshold on score differences with the highest F1 on these questions; see `find_threshold`."""
    scores = question_scores(references, answered.texts)
    is_answered = np.fromiter((text != "" for text in answered.texts), bool, count=len(answered.texts))
    return find_threshold(scores.f1, scores.has_answer, is_answered, answered.score_differences).value


def best_answers(
    windows: Sequence[Window], contexts: Sequence[str], *, max_answer_tokens: int = 30, n_best: int = 20
) -> Answered:
    """The best span of each question over all of its windows.

    A span starts and ends in context tokens of one window, in that order, and has at most `max_answer_tokens` tokens.
    The same characters in two windows are one span, with the higher score. Of equal scores the earlier span is best,
    then the shorter.

    Args:
        windows: At least one for each question, in any order.
        contexts: The context of each question, in the order of `Window.question`.
        max_answer_tokens: Longest answer in tokens.
        n_best: Spans a question that share the probability.
    """
    if max_answer_tokens < 1 or n_best < 1:
        raise ValueError(f"max_answer_tokens ({max_answer_tokens}) and n_best ({n_best}) must be positive")
    null_scores = np.full(len(contexts), np.inf)
    parts: list[tuple[NDArray[np.int64], Array]] = []
    for first in range(0, len(windows), CHUNK):
        chunk = windows[first : first + CHUNK]
        candidates, scores, null = _candidates(chunk, max_answer_tokens, n_best)
        np.minimum.at(null_scores, [window.question for window in chunk], null)
        parts.append((candidates, scores))
    if np.isinf(null_scores).any():
        raise ValueError(f"question {int(np.flatnonzero(np.isinf(null_scores))[0])} has no window")
    if not parts:
        return Answered([], np.empty((0, 2), np.int64), *np.empty((3, 0)))
    candidates = np.concatenate([part for part, _ in parts])
    scores = np.concatenate([part for _, part in parts])
    candidates, scores, rank = _ranked(candidates, scores)
    candidates, scores, rank = candidates[rank < n_best], scores[rank < n_best], rank[rank < n_best]

    questions = candidates[:, 0]
    found = questions[rank == 0]
    spans = np.full((len(contexts), 2), -1, dtype=np.int64)
    spans[found] = candidates[rank == 0, 1:]
    span_scores = np.full(len(contexts), -np.inf)
    span_scores[found] = scores[rank == 0]
    log_sums = np.full(len(contexts), -np.inf)
    relative = np.bincount(questions, weights=np.exp(scores - span_scores[questions]), minlength=len(contexts))
    log_sums[found] = span_scores[found] + np.log(relative[found])
    texts = [context[first:last] if first >= 0 else "" for context, (first, last) in zip(contexts, spans, strict=True)]
    return Answered(texts, spans, span_scores, null_scores, log_sums)


def _candidates(windows: Sequence[Window], max_answer_tokens: int, n_best: int) -> tuple[NDArray[np.int64], Array, Array]:
    """The n best spans of each window as (question, first, last+1 character), their scores, and the null scores."""
    lengths = np.array([len(window.logits) for window in windows])
    longest = int(lengths.max())
    real = np.arange(longest) < lengths[:, None]
    characters = np.full((len(windows), longest, 2), -1, dtype=np.int64)
    characters[real] = np.concatenate([window.offsets for window in windows])
    logits = np.full((len(windows), longest, 2), -np.inf)
    logits[real] = np.concatenate([window.logits for window in windows])
    null = logits[:, NULL_TOKEN].sum(axis=-1)

    # A token of no characters cannot bound an answer: its text might be empty, which means something else.
    in_context = (characters[..., 0] >= 0) & (characters[..., 1] > characters[..., 0])
    starts = np.where(in_context, logits[..., 0], -np.inf)
    ends = np.where(in_context, logits[..., 1], -np.inf)
    # A start of the n best spans is among the n best starts by the best end in their reach: every better start brings a
    # better span. So few pairs have to be looked at.
    reach = starts + _sliding_max(ends, max_answer_tokens)
    first = _top(reach, n_best)
    last = first[..., None] + np.arange(max_answer_tokens)
    row = np.arange(len(windows))[:, None, None]
    scores = starts[row, first[..., None]] + np.where(last < longest, ends[row, np.minimum(last, longest - 1)], -np.inf)
    scores = scores.reshape(len(windows), -1)
    best = _top(scores, n_best)
    window, _ = np.nonzero(np.isfinite(np.take_along_axis(scores, best, axis=1)))
    best = best[np.isfinite(np.take_along_axis(scores, best, axis=1))]
    first_token = first[window, best // max_answer_tokens]
    last_token = first_token + best % max_answer_tokens
    question = np.array([each.question for each in windows], dtype=np.int64)[window]
    first_character, last_character = characters[window, first_token, 0], characters[window, last_token, 1]
    return np.stack((question, first_character, last_character), axis=1), scores[window, best], null


def _sliding_max(values: Array, reach: int) -> Array:
    """Highest of the `reach` values from each position on, along the last axis; by doubling the width."""
    width = 1
    while width < min(reach, values.shape[1]):
        step = min(width, reach - width)
        shifted = np.full_like(values, -np.inf)
        shifted[:, : values.shape[1] - step] = values[:, step:]
        values = np.maximum(values, shifted)
        width += step
    return values


def _top(scores: Array, count: int) -> NDArray[np.int64]:
    """Columns of the `count` highest scores of each row, in any order; all columns where there are no more."""
    if scores.shape[1] <= count:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.argpartition(scores, -count, axis=1)[:, -count:]


def _ranked(candidates: NDArray[np.int64], scores: Array) -> tuple[NDArray[np.int64], Array, NDArray[np.int64]]:
    """Candidates without repetitions, best first within each question, and their rank in it."""
    question, first, last = candidates.T
    order = np.lexsort((-scores, last, first, question))
    candidates, scores = candidates[order], scores[order]
    is_new = np.ones(len(candidates), dtype=bool)
    is_new[1:] = (candidates[1:] != candidates[:-1]).any(axis=1)
    candidates, scores = candidates[is_new], scores[is_new]
    question, first, last = candidates.T
    order = np.lexsort((last, first, -scores, question))
    candidates, scores = candidates[order], scores[order]
    rank = np.arange(len(candidates)) - np.searchsorted(candidates[:, 0], candidates[:, 0], side="left")
    return candidates, scores, rank
