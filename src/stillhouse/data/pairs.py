"""Two columns of text that belong together, told by their names; and columns of text that nobody reads."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import permutations

from stillhouse.data.readers.table import Table

# In the order in which they are tried; names are compared without case.
PAIRS = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("question", "context"),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "passage"),
    ("query", "document"),
)
# What stands in the place of one another in the names of a pair: `sentence_A`, `sentence_B`; `title`, `title_2`.
_COUNTERPARTS = (
    ("1", "2"), ("0", "1"), ("a", "b"), ("x", "y"), ("i", "ii"), ("one", "two"), ("first", "second"), ("left", "right"),
    ("", "2"), ("", "b"), ("", "pair"), ("anchor", "positive"), ("query", "positive"), ("premise", "hypothesis"),
    ("text", "hypothesis"), ("source", "target"), ("src", "tgt"), ("question", "answer"), ("query", "answer"),
    ("claim", "evidence"), ("context", "response"), ("utterance", "response"), ("headline", "body"),
)  # fmt: skip
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+")
_MANY = re.compile(r"\d+|[a-z]")  # a part of a name of which there may be more than two
_LETTER = re.compile(r"[^\W\d_]")
_WITHOUT_SPACES = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]{4}")
_ROWS, _CHARACTERS, _COLUMNS = 1000, 1000, 200  # that are looked at


def pattern_pair(table: Table, label: str | None) -> tuple[str, str] | None:
    """The first two columns of text whose names differ in a counterpart alone; None where there are none, or a third such."""
    texts = [name for name in table.columns if name != label and is_text(table, name)][:_COLUMNS]
    for first, second in permutations(texts, 2):
        if _are_counterparts(_parts(first), _parts(second)):
            has_third = any(_differ(_parts(first), _parts(name), _parts(second)) for name in texts if name != second)
            return None if has_third else (first, second)
    return None


def unread_texts(table: Table, read: Collection[str | None]) -> list[str]:
    """Columns of text beside those that are read."""
    return [name for name in table.columns if name not in read and is_text(table, name)]


def is_text(table: Table, name: str) -> bool:
    """Whether most values of a column have more than one word, and they are not the same few again and again."""
    values = [value[:_CHARACTERS] for value in table.columns[name][:_ROWS] if isinstance(value, str) and value.strip()]
    return 2 * sum(map(_has_words, values)) > len(values) and 10 * len({*values}) > len(values)


def _has_words(value: str) -> bool:
    return sum(bool(_LETTER.search(word)) for word in value.split()) > 1 or bool(_WITHOUT_SPACES.search(value))


def _parts(name: str) -> list[str]:
    return [part.casefold() for part in _PARTS.findall(name)]


def _are_counterparts(first: list[str], second: list[str]) -> bool:
    if len(second) == len(first) + 1:
        return second[:-1] == first and ("", second[-1]) in _COUNTERPARTS
    differing = [pair for pair in zip(first, second, strict=False) if len(set(pair)) > 1]
    if len(second) != len(first) or len(differing) != 1:
        return False
    one, other = differing[0]
    return (one, other) in _COUNTERPARTS or (one[:-1] == other[:-1] and (one[-1], other[-1]) == ("a", "b"))


def _differ(first: list[str], name: list[str], second: list[str]) -> bool:
    """Whether a name is that of a third beside two counterparts: `text_3` beside `text_1` and `text_2`."""
    if not len(first) == len(name) == len(second) or first == name:
        return False
    place = next(place for place, part in enumerate(first) if part != second[place])
    rest = slice(place + 1, None)
    return name[:place] == first[:place] and name[rest] == first[rest] and bool(_MANY.fullmatch(name[place]))
