"""A handful of rows for every kind of task, tokenized: what objectives and stages are given."""

from __future__ import annotations

from typing import Any

from stillhouse.data.examples import Examples
from stillhouse.data.tokenize import encode
from stillhouse.data.tokenized_split import TokenizedSplit, tokenized_split
from stillhouse.task import Answer, Task, load_kind
from tests.tiny_models import make_tokenizer

TEXTS = (
    "a good movie",
    "the film was dull and very long",
    "nice",
    "john went to paris by train",
    "the worst story of the year",
    "we loved the music and the actor was great",
    "a sad day in london",
)
CONTEXTS = tuple(f"{text} and then mary went to rome" for text in TEXTS)
MARY = tuple((Answer("mary", context.index("mary")),) for context in CONTEXTS)
PLACES = ("paris", "london")

# Of each the second row has no label.
TOY_TASKS: dict[str, tuple[Task, dict[str, Any]]] = {
    "classification": (
        Task("toy", load_kind("classification"), ("no", "yes", "maybe")),
        {"text": TEXTS, "labels": (1, None, 0, 2, 0, 1, 0)},
    ),
    "multilabel": (
        Task("toy", load_kind("multilabel"), ("praise", "blame", "place")),
        {"text": TEXTS, "labels": ((0,), None, (), (2,), (1,), (0, 1), (1, 2))},
    ),
    "regression": (
        Task("toy", load_kind("regression")),
        {"text": TEXTS, "labels": (1.0, None, 0.5, 0.0, -1.0, 2.0, 0.25)},
    ),
    "tagging": (
        Task("toy", load_kind("tagging"), ("O", "B-LOC", "I-LOC")),
        {
            "text": [text.split() for text in TEXTS],
            "labels": [
                None if row == 1 else tuple(int(word in PLACES) for word in text.split()) for row, text in enumerate(TEXTS)
            ],
        },
    ),
    "qa": (
        Task("toy", load_kind("qa"), unanswerable=True),
        {"text": TEXTS, "text_pair": CONTEXTS, "labels": [None if row == 1 else answer for row, answer in enumerate(MARY)]},
    ),
}


def toy_rows(kind: str, family: str = "bert", times: int = 1) -> TokenizedSplit:
    """The rows of a kind of task, in a family's tokens."""
    task, columns = TOY_TASKS[kind]
    examples = Examples(**{name: list(values) * times for name, values in columns.items()})
    return tokenized_split(examples, task, encode(examples, task, make_tokenizer(family), max_length=48))
