"""Extractive question answering: the span of a context that answers a question, or that there is none (SQuAD 1.1, 2.0).

A long context is read in overlapping windows. In each one the start and the end of the answer are chosen among its tokens; an
answer outside of a window is its first token, CLS.

hard loss   -(log softmax(s)[first] + log softmax(e)[last]) / 2           s, e: start and end logits of a window's tokens
soft loss   (T^2 KL of the starts + T^2 KL of the ends) / 2
decoding    the span with the highest s[first] + e[last] in any window; no answer where CLS exceeds it by a threshold
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.data.batch import Batch, Inputs
from stillhouse.data.columns import Columns
from stillhouse.data.examples import Examples
from stillhouse.data.ragged import Ragged
from stillhouse.data.read_examples import read_string
from stillhouse.data.readers.table import Table
from stillhouse.data.text import Rows
from stillhouse.data.tokenize import Encoded, encode_questions
from stillhouse.data.tokenized_split import TokenizedSplit
from stillhouse.errors import UserError
from stillhouse.evaluation.answer_scores import question_scores, total_scores
from stillhouse.evaluation.answers import Window, best_answers, best_threshold
from stillhouse.evaluation.evaluate import Predictions, Split
from stillhouse.evaluation.fidelity import mean_by_group, share_equal, span_kl
from stillhouse.evaluation.metrics import Metric, answer_exact, answer_f1
from stillhouse.objectives.hard_labels import span_cross_entropy
from stillhouse.objectives.soft_labels import SoftLabels, span_soft_labels
from stillhouse.task import Answer, Kind, Task


class QuestionAnswering(Kind):
    """A label is a tuple of `Answer`, any of which is right; () where the question has none."""

    head: ClassVar[str] = "QuestionAnswering"
    has_classes: ClassVar[bool] = False
    needs_pair: ClassVar[bool] = True
    can_abstain: ClassVar[bool] = True
    needs_one_tokenizer: ClassVar[str] = "question answering, whose answers are positions of tokens"
    id_column: ClassVar[str] = "id"
    max_length: ClassVar[int] = 384
    has_token_logits: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (answer_f1, answer_exact)
    value_key: ClassVar[str] = "answer"

    def width(self, task: Task) -> int:
        return 2

    # Questions and answers, in SQuAD's form, that of `datasets`, or plain text.

    def read_text(self, value: Any, table: Table, row: int) -> str:
        return read_string(value, table, row)

    def given_texts(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Examples:
        if pairs is None:
            raise UserError("questions need a context", fix="give --text-pair once for each --text")
        return Examples(list(texts), [None] * len(texts), list(pairs))

    def read_labels(self, table: Table, columns: Columns, rows: Sequence[int]) -> list[tuple[Answer, ...] | None]:
        """Answers that are not in the context are left out, see `lost_labels`."""
        values, contexts = table.columns[str(columns.label)], table.columns[str(columns.text_pair)]
        return [_answers(values[row], str(contexts[row]), table, row) for row in rows]

    def lost_labels(
        self, table: Table, columns: Columns, rows: Sequence[int], labels: Sequence[tuple[Answer, ...] | None]
    ) -> tuple[set[int], str]:
        values = table.columns.get(str(columns.label), [])
        pairs = enumerate(zip(rows, labels, strict=True))
        lost = {position for position, (row, label) in pairs if label == () and _given_answers(values[row], table, row)}
        return lost, "questions were left out, whose answer is not in their context"

    def names_of(self, label: tuple[Answer, ...]) -> Iterable[str]:
        return ()

    def to_ids(self, label: tuple[Answer, ...], ids: Mapping[str, int]) -> tuple[Answer, ...]:
        return label

    def to_names(self, label: tuple[Answer, ...], task: Task) -> list[str]:
        return [answer.text for answer in label]

    def strata(self, labels: Sequence[Any]) -> list[Any]:
        return [label == () for label in labels]

    def groups(self, examples: Examples) -> Sequence[Any] | None:
        return examples.text_pair  # a model knows the answers of a passage that it was trained on

    # Tokens: a row is a window.

    def tokenize(self, examples: Examples, first: int, tokenizer: Any, *, max_length: int, stride: int) -> Encoded:
        return encode_questions(examples, first, tokenizer, max_length, stride)

    def cut_note(self, encoded: Encoded, max_length: int) -> str:
        return ""  # windows overlap: nothing is lost

    def label_array(self, examples: Examples, task: Task, encoded: Encoded) -> NDArray[np.int64]:
        """First and last token of the first answer, `(windows, 2)`; 0 where it is not wholly in the window."""
        places = np.zeros((len(encoded), 2), dtype=np.int64)
        for row, example in enumerate(encoded.example):
            answers = examples.labels[example]
            if not answers:
                continue
            # Spaces around an answer belong to no token.
            text = answers[0].text
            first = answers[0].start + len(text) - len(text.lstrip())
            behind = first + len(text.strip())
            starts, ends = _characters(encoded)[row].T
            inside = np.flatnonzero((starts >= 0) & (starts < behind) & (ends > first))
            context = np.flatnonzero(starts >= 0)
            if len(inside) and starts[context[0]] <= first and ends[context[-1]] >= behind:
                places[row] = inside[0], inside[-1]
        return places

    def targets(self, split: TokenizedSplit, rows: Rows, inputs: Inputs) -> dict[str, Tensor]:
        assert isinstance(split.labels, np.ndarray)
        return {"labels": torch.from_numpy(split.labels[rows]), "positions": inputs.mask.bool()}

    def scored(self, encoded: Encoded) -> Ragged:
        return encoded.input_ids

    def identity(self, examples: Examples) -> str:
        return repr((examples.text_pair, examples.labels))  # answers are compared as text

    # Losses.

    def hard_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        # Labels of unlabelled rows point at CLS; the mask takes them out.
        return span_cross_entropy(logits, batch.labels, batch.positions, batch.has_label)

    def soft_loss(self, student: Tensor, teacher: Tensor, batch: Batch, objective: SoftLabels) -> Tensor:
        value = span_soft_labels(student, teacher, batch.positions, objective.temperature, objective.divergence)
        return objective.scaled(value)

    # Scores: of texts, with the official names.

    def measured(self, split: Split, decoded: Sequence[str]) -> tuple[list[list[str]], Sequence[str]]:
        return _references(split.examples), decoded

    def more_scores(self, split: Split, decoded: Sequence[str]) -> dict[str, float]:
        """SQuAD's totals, which also tell answerable questions from the others."""
        totals = total_scores(question_scores(*self.measured(split, decoded)))
        return {name: value for name, value in totals.items() if split.task.unanswerable or "_" not in name}

    def floor(self, labels: Sequence[tuple[Answer, ...]], task: Task) -> float:
        return sum(not answers for answers in labels) / len(labels)

    def compared(self, split: Split, predictions: Predictions) -> NDArray[np.int64]:
        return predictions.spans

    def agreement(self, teacher: Any, student: Any) -> float:
        """Share of questions with the same first and last character."""
        same = (np.asarray(teacher) == np.asarray(student)).all(axis=1)
        return share_equal(same, np.ones_like(same))

    def divergence(
        self, split: Split, teacher: Predictions, student: Predictions
    ) -> tuple[float, NDArray[np.float64]] | tuple[None, None]:
        """Of a question the mean over its windows; none where both cut text into different tokens."""
        assert isinstance(teacher.logits, Ragged)
        assert isinstance(student.logits, Ragged)
        if teacher.view != student.view:
            return None, None
        by_window = span_kl(teacher.logits.values, student.logits.values, student.logits.offsets)
        by_question = mean_by_group(by_window, split.tokens.views[student.view].example, len(split))
        return float(by_question.mean()), by_question

    def decisions(self, split: Split, predictions: Predictions) -> tuple[NDArray[Any], NDArray[Any]]:
        return predictions.confidences, question_scores(*self.measured(split, predictions.decoded)).exact

    # Decoding.

    def decode(self, split: Split, logits: Ragged, view: int) -> Predictions:
        encoded, contexts = split.tokens.views[view], split.examples.text_pair
        assert contexts is not None
        characters = _characters(encoded)
        windows = [Window(int(question), characters[row], logits[row]) for row, question in enumerate(encoded.example)]
        answers = best_answers(windows, list(contexts))
        threshold = np.inf
        if split.task.unanswerable and len(split.examples.labelled) == len(split):
            threshold = best_threshold(answers, _references(split.examples))
        return Predictions(logits, answers.given(threshold), view, threshold, answers)

    def written(self, split: Split, predictions: Predictions, row: int) -> dict[str, Any]:
        start, end = predictions.spans[row].tolist()
        span = {"start": start, "end": end} if start >= 0 else {"start": None, "end": None}
        confidence = round(float(predictions.confidences[row]), 6)
        return {"answer": predictions.decoded[row], **span, "confidence": confidence}

    def read(self, values: Sequence[Any], labels: Sequence[str]) -> Sequence[Any]:
        return values

    def read_compared(self, entries: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> NDArray[np.int64]:
        spans = [(entry["start"], entry["end"]) for entry in entries]
        return np.array([[-1 if end is None else end for end in span] for span in spans])


def _characters(encoded: Encoded) -> Ragged:
    assert encoded.characters is not None
    return encoded.characters


def _references(examples: Examples) -> list[list[str]]:
    """The texts of the gold answers of every question; empty = it has none."""
    return [[answer.text for answer in answers or ()] for answers in examples.labels]


def _given_answers(value: Any, table: Table, row: int) -> list[tuple[str, int]]:
    """Answers as (text, start), -1 if not given."""
    if isinstance(value, str):
        value = [{"text": value}] if value.strip() else []
    try:
        if isinstance(value, dict):
            starts = value.get("answer_start") or [-1] * len(value["text"])
            value = [{"text": text, "start": start} for text, start in zip(value["text"], starts, strict=True)]
        answers = [(str(answer["text"]), int(answer.get("start", answer.get("answer_start", -1)))) for answer in value]
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        raise UserError(
            f"{table.where(row)}: {value!r} are no answers", expected="a list of answers with text and start"
        ) from None
    return [(text, start) for text, start in answers if text.strip()]


def _answers(value: Any, context: str, table: Table, row: int) -> tuple[Answer, ...] | None:
    if value is None:
        return None
    found = []
    for text, start in _given_answers(value, table, row):
        if start < 0 or context[start : start + len(text)] != text:
            start = nearest_occurrence(context, text, start)
        if start >= 0:
            found.append(Answer(text, start))
    return tuple(found)


def nearest_occurrence(context: str, text: str, start: int) -> int:
    """Where `text` stands in `context`, nearest to where it was said to start; -1 if nowhere."""
    places = [match.start() for match in re.finditer(f"(?={re.escape(text)})", context)]
    return min(places, key=lambda place: abs(place - start), default=-1)
