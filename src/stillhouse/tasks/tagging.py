"""Tagging: a tag for each word of a sentence; the tags of a run of words make an entity.

The logits of a word are those of its first sub-word. A word that no model sees, because the sentence was cut before it, is
tagged as outside of every entity.

hard loss   -log softmax(z)[y], mean over the words of the batch          z: logits of a word, y: its gold tag
soft loss   T^2 KL(softmax(z_teacher / T) || softmax(z / T)), the same mean
decoding    argmax z
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.data.batch import IGNORED, Batch, Inputs
from stillhouse.data.columns import TAG, Columns
from stillhouse.data.examples import Examples
from stillhouse.data.labels import is_missing, one_label, quoted
from stillhouse.data.literals import literal_values, looks_like_list
from stillhouse.data.missing import missing_mark
from stillhouse.data.ragged import Ragged
from stillhouse.data.read_examples import check_given, read_string
from stillhouse.data.readers.table import Table, check_surrogates
from stillhouse.data.text import Rows
from stillhouse.data.tokenize import Encoded, encode_words
from stillhouse.data.tokenized_split import TokenizedSplit
from stillhouse.errors import UserError, shown
from stillhouse.evaluation.evaluate import Predictions, Split
from stillhouse.evaluation.fidelity import mean_by_group, softmax_confidence, softmax_kl
from stillhouse.evaluation.metrics import Metric, span_f1, token_accuracy
from stillhouse.objectives.hard_labels import tagging_cross_entropy
from stillhouse.objectives.soft_labels import SoftLabels, tagging_soft_labels
from stillhouse.task import Kind, Task

_SCHEMES = ("BIO", "BIOES", "BIOLU", "BMOES", "BMOEW")


class Tagging(Kind):
    """A text is a list of words; a label by name is a tuple of tags, by id one of their numbers, one for each word."""

    head: ClassVar[str] = "TokenClassification"
    class_word: ClassVar[str] = "tags"
    has_token_logits: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (span_f1, token_accuracy)
    value_key: ClassVar[str] = "tags"

    # Words and their tags, as lists or with spaces between them.

    def read_text(self, value: Any, table: Table, row: int) -> list[str]:
        if isinstance(value, str) and looks_like_list(value):
            raise UserError(
                f"{table.where(row)}: {shown(value)} is a list as text, and cannot be read",
                expected="words with spaces between them; or in all rows whole lists, such as ['a', 'b']",
            )
        if not isinstance(value, list):
            return read_string(value, table, row).split()
        return [_word(word, table, row) for word in value]

    def text_values(self, table: Table, column: str) -> list[Any]:
        return literal_values(table, column)

    def given_texts(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Examples:
        check_given(texts, pairs)
        return Examples([text.split() for text in texts], [None] * len(texts), None if pairs is None else list(pairs))

    def read_labels(self, table: Table, columns: Columns, rows: Sequence[int]) -> list[tuple[str, ...] | None]:
        values, texts = literal_values(table, str(columns.label)), literal_values(table, columns.text)
        return [_tags(values[row], texts[row], table, row) for row in rows]

    def names_of(self, label: tuple[str, ...]) -> Iterable[str]:
        return label

    def to_ids(self, label: Sequence[str], ids: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(ids[tag] for tag in label)

    def to_names(self, label: Sequence[int], task: Task) -> list[str]:
        return [task.labels[tag] for tag in label]

    def check_labels(self, names: Sequence[str], labels: Sequence[Any], source: str, column: str) -> None:
        if len(names) == 1:
            raise one_label(names[0], len(labels), source, column)
        _check_scheme(names, source, column)

    def check_own_names(self, names: Sequence[str], source: str) -> None:
        if all(map(str.isdecimal, names)):
            raise UserError(
                f"{source}: the tags are numbers, {quoted(names)}, and nothing says what they mean",
                expected="names such as B-PER, or a teacher with a head for tagging, whose tags they number",
                fix="write the names (a Parquet file that `datasets` wrote keeps them)",
            )

    # Tokens, and where in them the words are.

    def tokenize(self, examples: Examples, first: int, tokenizer: Any, *, max_length: int, stride: int) -> Encoded:
        return encode_words(examples, first, tokenizer, max_length)

    def cut_note(self, encoded: Encoded, max_length: int) -> str:
        missing = int((_words(encoded).values < 0).sum())
        note = f"{missing:,} words lie beyond {max_length} tokens or have none; they are tagged as outside"
        return note if missing else ""

    def label_array(self, examples: Examples, task: Task, encoded: Encoded) -> Ragged:
        missing = [[IGNORED] * len(words) for words in examples.text]
        tags = [missing[row] if label is None else label for row, label in enumerate(examples.labels)]
        return Ragged.from_rows(tags, np.int64)

    def targets(self, split: TokenizedSplit, rows: Rows, inputs: Inputs) -> dict[str, Tensor]:
        assert isinstance(split.labels, Ragged)
        tags, _ = split.labels.padded(rows, IGNORED)
        seen = _seen_by_all(_words(view).select(rows) for view in split.views.values())
        is_word, _ = seen.padded(np.arange(len(rows)), False)
        return {
            "labels": torch.from_numpy(np.where(is_word & split.has_label[rows][:, None], tags, IGNORED)),
            "positions": torch.from_numpy(is_word),
        }

    def count_targets(self, split: TokenizedSplit, rows: Rows) -> int:
        return int(_seen_by_all(_words(view).select(rows) for view in split.views.values()).values.sum())

    def scored(self, encoded: Encoded) -> Ragged:
        return _words(encoded)

    # Losses.

    def hard_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return tagging_cross_entropy(logits, batch.labels, batch.positions)

    def soft_loss(self, student: Tensor, teacher: Tensor, batch: Batch, objective: SoftLabels) -> Tensor:
        value = tagging_soft_labels(student, teacher, batch.positions, objective.temperature, objective.divergence)
        return objective.scaled(value, student.shape[-1])

    # Scores: of entities, and of words. No entity anywhere scores 0.

    def measured(self, split: Split, decoded: Sequence[Sequence[int]]) -> tuple[list[list[str]], list[list[str]]]:
        gold = [self.to_names(tags, split.task) for tags in split.examples.labels]
        return gold, [self.to_names(tags, split.task) for tags in decoded]

    def compared(self, split: Split, predictions: Predictions) -> Any:
        return predictions.decoded

    def agreement(self, teacher: Any, student: Any) -> float:
        pairs = [pair for one, other in zip(teacher, student, strict=True) for pair in zip(one, other, strict=True)]
        return float(sum(one == other for one, other in pairs)) / max(1, len(pairs))

    def divergence(self, split: Split, teacher: Predictions, student: Predictions) -> tuple[float, NDArray[np.float64]]:
        """The mean over all words that neither model cut off, and over each sentence's words."""
        assert isinstance(teacher.logits, Ragged)
        assert isinstance(student.logits, Ragged)
        words = _seen_by_all(_words(split.tokens.views[one.view]) for one in (teacher, student))
        is_word = words.values
        by_word = softmax_kl(teacher.logits.values[is_word], student.logits.values[is_word])
        sentence = np.repeat(np.arange(len(split)), words.lengths)[is_word]
        return float(by_word.mean()), mean_by_group(by_word, sentence, len(split))

    def decisions(self, split: Split, predictions: Predictions) -> tuple[NDArray[Any], NDArray[Any]]:
        assert isinstance(predictions.logits, Ragged)
        gold = split.examples.labels
        right = np.concatenate([np.equal(tags, given) for tags, given in zip(gold, predictions.decoded, strict=True)])
        is_word = _words(split.tokens.views[predictions.view]).values >= 0
        return softmax_confidence(predictions.logits.values)[is_word], right[is_word]

    # Decoding.

    def decode(self, split: Split, logits: Ragged, view: int) -> Predictions:
        words, labels = _words(split.tokens.views[view]), split.task.labels
        outside = labels.index("O") if "O" in labels else 0
        tags = np.where(words.values >= 0, logits.values.argmax(axis=1), outside)
        start = words.offsets
        return Predictions(logits, [tuple(tags[start[row] : start[row + 1]].tolist()) for row in range(len(words))], view)

    def written(self, split: Split, predictions: Predictions, row: int) -> dict[str, Any]:
        return {"tags": self.to_names(predictions.decoded[row], split.task)}

    def read(self, values: Sequence[list[str]], labels: Sequence[str]) -> Sequence[list[str]]:
        return values


def _words(encoded: Encoded) -> Ragged:
    assert encoded.words is not None
    return encoded.words


def _seen_by_all(words: Iterable[Ragged]) -> Ragged:
    """Which words have a token, by row, in every one of several views of the same rows."""
    views = list(words)
    return Ragged(np.logical_and.reduce([view.values >= 0 for view in views]), views[0].offsets)


def _word(value: Any, table: Table, row: int) -> str:
    """One of a list of words; "nan" and "None" are words, but nothing at all is none."""
    if isinstance(value, (list, dict, bytes)) or (missing_mark(value) is not None and not isinstance(value, str)):
        raise UserError(
            f"{table.where(row)}: {shown(value)} stands among the words",
            expected="a list of words",
            fix="correct that row: a word that is missing moves the tags of all others",
        )
    return check_surrogates(str(value), table.where(row), "text")


def _tags(value: Any, words: Any, table: Table, row: int) -> tuple[str, ...] | None:
    if is_missing(value):
        return None
    tags = value.split() if isinstance(value, str) else value
    words = words.split() if isinstance(words, str) else words
    if not isinstance(tags, list) or not isinstance(words, list) or len(tags) != len(words):
        raise UserError(
            f"{table.where(row)}: {len(tags) if isinstance(tags, list) else 1} tags do not match "
            f"{len(words) if isinstance(words, list) else 1} words",
            expected="one tag for each word",
        )
    return tuple(_tag(tag, table, row) for tag in tags)


def _tag(tag: Any, table: Table, row: int) -> str:
    """A tag's name; a number is the name of a tag that a teacher knows."""
    if isinstance(tag, int) and not isinstance(tag, bool) and tag >= 0:
        return str(tag)
    if not isinstance(tag, str) or not (TAG.fullmatch(tag) or (tag.isascii() and tag.isdecimal())):
        raise UserError(
            f"{table.where(row)}: {shown(tag)} is not a BIO tag",
            expected="O, or B-, I-, E- (or L-) or S- (or U-) and a type, such as B-PER",
        )
    return check_surrogates(tag, table.where(row), "tag")


def _check_scheme(names: Sequence[str], source: str, column: str) -> None:
    """Refuses tags of several schemes: spans would be read that nobody meant."""
    numbers = [name for name in names if name.isdecimal()]
    if numbers:
        mixed = len(numbers) < len(names)
    else:
        letters, is_bare = {name[0] for name in names}, {len(name) == 1 for name in names if name != "O"}
        mixed = len(is_bare) > 1 or not any(letters <= set(scheme) for scheme in _SCHEMES)
    if mixed:
        raise UserError(
            f"{source}: the tags are of several schemes: {quoted(names)} ({column})",
            expected="one of BIO, IOBES (E- ends, S- is single), BILOU (L- ends, U- is single), BMES and BMEWO (M- is inside)",
            fix="correct the tags that do not belong there",
        )
