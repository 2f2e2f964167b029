"""Examples -> token ids, once: every epoch, and the teacher where it shares the tokenizer, reads the same arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.data.examples import Examples
from stillhouse.data.ragged import Ragged
from stillhouse.documents import read_json
from stillhouse.task import Task

Array = NDArray[Any]
MAX_QUESTION_TOKENS = 64
PART = 2048  # examples tokenized at once: the tokenizer's own lists take far more memory than what is kept of them
# Segments are asked for: not every tokenizer gives them unasked, and a teacher may read them where the student doesn't.
OUTPUTS = {"return_attention_mask": False, "return_token_type_ids": True}


@dataclass(frozen=True)
class Encoded:
    """Tokenized rows. A row is an example or, in question answering, one window of an example's context.

    Attributes:
        input_ids: Token ids, special tokens included.
        token_type_ids: Segment ids, aligned with `input_ids`.
        example: Number of the example that each row comes from, `(rows,)`.
        pad_token_id: The id that fills a batch up.
        words: Tagging: position of the first sub-word of each word; -1 where the word was cut off or has no token.
        characters: Question answering: for each token its first and last+1 character in the context; -1 outside of it.
    """

    input_ids: Ragged
    token_type_ids: Ragged
    example: NDArray[np.int64]
    pad_token_id: int
    words: Ragged | None = None
    characters: Ragged | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.input_ids.lengths

    def tokens(self) -> NDArray[np.int64]:
        """The ids that its batches have, in order, each once."""
        return np.union1d(np.flatnonzero(np.bincount(self.input_ids.values)), self.pad_token_id)

    def select(self, rows: NDArray[np.int64]) -> Encoded:
        """The given rows alone, in that order."""
        return Encoded(
            self.input_ids.select(rows),
            self.token_type_ids.select(rows),
            self.example[rows],
            self.pad_token_id,
            None if self.words is None else self.words.select(rows),
            None if self.characters is None else self.characters.select(rows),
        )

    def fingerprint(self) -> str:
        """SHA-256 of what a model would be given: ids, segments, row boundaries, word and character positions."""
        digest = hashlib.sha256()
        for part in (self.input_ids, self.token_type_ids, self.words, self.characters):
            if part is not None:
                digest.update(np.ascontiguousarray(part.values).tobytes())
                digest.update(part.offsets.tobytes())
        return digest.hexdigest()


def encode(examples: Examples, task: Task, tokenizer: Any, *, max_length: int, stride: int = 128) -> Encoded:
    """Tokenizes all rows.

    Args:
        examples: What to tokenize.
        task: Its kind says whether rows are sentences, pairs, lists of words, or questions with a context.
        tokenizer: A fast tokenizer of transformers.
        max_length: Longest row in tokens, special tokens included.
        stride: Question answering: tokens that neighbouring windows of a long context share.
    """
    if len(examples) == 0:
        empty = Ragged(np.empty(0, np.int32), np.zeros(1, np.int64))
        return Encoded(empty, empty, np.empty(0, np.int64), tokenizer.pad_token_id, empty, None)
    starts = range(0, len(examples), PART)
    chunks = [examples.select(range(start, min(start + PART, len(examples)))) for start in starts]
    limits = {"max_length": max_length, "stride": stride}
    return _joined([task.kind.tokenize(chunk, start, tokenizer, **limits) for start, chunk in zip(starts, chunks, strict=True)])


def encode_texts(examples: Examples, first: int, tokenizer: Any, max_length: int) -> Encoded:
    """Texts or pairs of texts, cut at `max_length`; the first is number `first` of its split."""
    pair = None if examples.text_pair is None else list(examples.text_pair)
    batch = tokenizer(list(examples.text), pair, truncation=True, max_length=max_length, **OUTPUTS)
    return _encoded(batch, tokenizer, np.arange(first, first + len(examples)))


def encode_words(examples: Examples, first: int, tokenizer: Any, max_length: int) -> Encoded:
    """Lists of words, with the position of each word's first sub-word."""
    options = {"truncation": True, "max_length": max_length} | OUTPUTS
    with _space_before_words(tokenizer):
        batch = tokenizer([list(words) for words in examples.text], is_split_into_words=True, **options)
    positions = [_first_subwords(batch.word_ids(row), len(text)) for row, text in enumerate(examples.text)]
    rows = np.arange(first, first + len(examples))
    return _encoded(batch, tokenizer, rows, words=Ragged.from_rows(positions, np.int64))


def _encoded(batch: Any, tokenizer: Any, example: NDArray[np.int64], **extra: Ragged) -> Encoded:
    input_ids = Ragged.from_rows(batch["input_ids"], np.int32)
    token_type_ids = Ragged.from_rows(batch["token_type_ids"], np.int32)
    return Encoded(input_ids, token_type_ids, example, tokenizer.pad_token_id, **extra)


def _joined(parts: list[Encoded]) -> Encoded:
    def column(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else Ragged.joined(values)

    example = np.concatenate([part.example for part in parts])
    names = ("input_ids", "token_type_ids", "words", "characters")
    return Encoded(**{name: column(name) for name in names}, example=example, pad_token_id=parts[0].pad_token_id)


@contextmanager
def _space_before_words(tokenizer: Any) -> Iterator[None]:
    """Lets a byte-level tokenizer see a space before every word, as in running text; others are left alone.

    Without it each word of a list would be cut like the first word of a text. Not all such tokenizers take
    `add_prefix_space`, so that the rule itself is changed, and put back.
    """
    backend = tokenizer.backend_tokenizer
    before = backend.pre_tokenizer
    state = read_json(backend.to_str(), "the tokenizer")["pre_tokenizer"]
    if state is None or '"ByteLevel"' not in json.dumps(state):
        yield
        return
    for rule in [state, *state.get("pretokenizers", ())]:
        if rule["type"] == "ByteLevel":
            rule["add_prefix_space"] = True
    content = read_json(backend.to_str(), "the tokenizer") | {"pre_tokenizer": state}
    backend.pre_tokenizer = type(backend).from_str(json.dumps(content)).pre_tokenizer
    try:
        yield
    finally:
        backend.pre_tokenizer = before


def _first_subwords(word_ids: list[int | None], words: int) -> list[int]:
    positions = [-1] * words
    for position in range(len(word_ids) - 1, -1, -1):
        word = word_ids[position]
        if word is not None:
            positions[word] = position
    return positions


def encode_questions(examples: Examples, first: int, tokenizer: Any, max_length: int, stride: int) -> Encoded:
    """Questions with their contexts, in windows that share `stride` tokens, and each token's place in the context."""
    assert examples.text_pair is not None
    questions = [question.lstrip() for question in examples.text]
    # A question longer than a window would leave no room for the context.
    longest_question = min(MAX_QUESTION_TOKENS, max_length // 2)
    cut = tokenizer(
        questions,
        truncation=True,
        max_length=longest_question,
        add_special_tokens=False,
        return_offsets_mapping=True,
        **OUTPUTS,
    )
    questions = [
        question[: offsets[-1][1]] if offsets else question
        for question, offsets in zip(questions, cut["offset_mapping"], strict=True)
    ]
    room = max_length - longest_question - 4
    batch = tokenizer(
        questions,
        list(examples.text_pair),
        truncation="only_second",
        max_length=max_length,
        stride=max(0, min(stride, room // 2)),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        **OUTPUTS,
    )
    example = np.asarray(batch["overflow_to_sample_mapping"], dtype=np.int64)
    spans = []
    for row, offsets in enumerate(batch["offset_mapping"]):
        in_context = np.fromiter((sequence == 1 for sequence in batch.sequence_ids(row)), bool, count=len(offsets))
        span = np.asarray(offsets, dtype=np.int32).reshape(-1, 2)
        context = examples.text_pair[example[row]]
        span[~in_context] = -1
        # Some byte-level tokenizers count the space before a word to it.
        span[:, 0] += [0 <= start < end and context[start].isspace() for start, end in span.tolist()]
        spans.append(span)
    return _encoded(batch, tokenizer, example + first, characters=Ragged.from_rows(spans, np.int32))
