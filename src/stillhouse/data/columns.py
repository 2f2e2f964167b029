"""Which columns hold the texts and the label, and which task they make: by usual names, by content, or as told."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from stillhouse.config import DataConfig
from stillhouse.data.literals import literal_values
from stillhouse.data.missing import missing_mark
from stillhouse.data.pairs import PAIRS, pattern_pair
from stillhouse.data.readers.table import Table
from stillhouse.errors import UserError, listed, option_name
from stillhouse.task import Kind, load_kind

# In the order in which they are tried; names are compared without case.
TEXTS = (
    "sentence", "text", "review", "content", "body", "comment", "tweet", "message", "document", "utterance", "question",
)  # fmt: skip
WORDS = ("tokens", "words")
TAGS = ("ner_tags", "tags", "labels", "ner", "bio_tags")
ANSWERS = ("answers", "answer")
QUESTIONS = ("question", "query")
CONTEXTS = ("context", "passage", "paragraph")
LABELS = (
    "label", "labels", "score", "target", "class", "category", "sentiment", "tags", "ner_tags", "gold_label", "rating",
    "stars", "polarity", "emotion", "emotions", "intent", "topic", "similarity", "similarity_score", "grade", "y",
)  # fmt: skip

_ID = re.compile(r"|index|uuid|guid|unnamed: \d+|(.*[_-])?idx?\d*", re.IGNORECASE)
TAG = re.compile(r"O|[BIESLUMW](-.+)?")
_LOOKED_AT = 1000  # rows, where a look at all of them would say no more


@dataclass(frozen=True)
class Columns:
    """The columns of a task.

    Attributes:
        kind: What task they make.
        text: Sentences, lists of words, or questions.
        text_pair: Second sentences, or contexts.
        label: Labels, tags or answers; None where only text is wanted.
        classes: Labels that are classes here, though they often say that there is none: -1, `None`.
    """

    kind: Kind
    text: str
    text_pair: str | None = None
    label: str | None = None
    classes: frozenset[str] = frozenset()


def built_in_columns() -> Columns:
    """Of the data set of ours."""
    return Columns(load_kind("classification"), "text", label="label")


def find_columns(table: Table, config: DataConfig) -> Columns:
    """Finds the columns and the task; what the configuration names comes first.

    Raises:
        UserError: If a named column is missing, or none looks like a text or a label.
    """
    for given in (config.text, config.text_pair, config.label):
        if given is not None:
            table.column(given)
    named = [name for name in (config.text, config.text_pair, config.label) if name is not None]
    if len(set(named)) < len(named):
        raise UserError(
            f"one column is named twice: {', '.join(named)}",
            expected="a column of its own for each of --text, --text-pair, --label",
        )
    if config.task == "qa" or (config.task is None and _is_qa(table, config)):
        columns = find_texts(table, config, load_kind("qa"), pair=True)
        label = config.label or first_column(table, ANSWERS) or _no_label(table, ANSWERS)
        return Columns(columns.kind, columns.text, columns.text_pair, label)
    words = first_column(table, WORDS)
    texts = (config.text, config.text_pair)
    usual = [name for name in (*(TAGS if words else ()), *LABELS) if first_column(table, (name,)) not in texts]
    label = config.label or first_column(table, usual) or _no_label(table, LABELS)
    if config.task is None and config.label is None:
        _check_no_answers(table, label)
    kind = load_kind(config.task or _kind_name(table, config.text or words, label))
    columns = find_texts(table, config, kind, pair=None, label=label)
    return Columns(kind, columns.text, columns.text_pair, label)


def find_texts(table: Table, config: DataConfig, kind: Kind, *, pair: bool | None, label: str | None = None) -> Columns:
    """Finds the text columns alone.

    Args:
        table: Where to look.
        config: May name them.
        kind: The task.
        pair: Whether the task has a second text; None = if one is found by its usual name. A text column that is named
            without a second one stands alone.
        label: The label column, which is no text.
    """
    if kind.name == "tagging":
        return Columns(kind, config.text or first_column(table, WORDS) or _longest_text(table, label))
    if kind.name == "qa":
        question = config.text or first_column(table, QUESTIONS) or _missing(table, "question", "text")
        context = config.text_pair or first_column(table, CONTEXTS) or _missing(table, "context", "text_pair")
        return Columns(kind, question, context)
    text, text_pair = config.text, config.text_pair
    if pair is not False and text_pair is None and (text is None or pair):
        text, text_pair = _pair(table, text, label) or (text, None)
    if pair is False:
        text_pair = None
    elif pair and text_pair is None:
        text_pair = _missing(table, "second text", "text_pair")
    if text is None:
        text = _usual_text(table, label, text_pair) or _longest_text(table, label, text_pair)
    return Columns(kind, text, text_pair)


def _pair(table: Table, text: str | None, label: str | None) -> tuple[str, str] | None:
    """Two texts that belong together, the first of them `text` where it is known: by usual names, else by a pattern."""
    for names in PAIRS:
        first, second = (first_column(table, (name,)) for name in names)
        if first and second and label not in (first, second) and text in (None, first):
            return first, second
    found = pattern_pair(table, label)
    known = text or _usual_text(table, label)
    return found if found and known in (None, found[0]) else None


def _usual_text(table: Table, *taken: str | None) -> str | None:
    folded = [str(name).casefold() for name in taken]
    return first_column(table, [name for name in TEXTS if name not in folded])


def first_column(table: Table, names: Sequence[str]) -> str | None:
    """The first of these names that is a column of the table, in the table's own case."""
    by_folded = {name.casefold(): name for name in reversed(table.columns)}
    return next((by_folded[name] for name in names if name in by_folded), None)


def number(value: Any) -> float | None:
    """The value as a number, NaN and infinities included; None where it is none."""
    if isinstance(value, (bool, list, dict, tuple)) or value is None:
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number with hundreds of digits
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        return None


def _is_qa(table: Table, config: DataConfig) -> bool:
    found = (first_column(table, ("question",)), first_column(table, CONTEXTS), first_column(table, ANSWERS))
    given = (config.text, config.text_pair, config.label)
    if not all(found) or any(name not in (None, usual) for name, usual in zip(given, found, strict=True)):
        return False
    return any(isinstance(value, (list, dict)) for value in literal_values(table, str(found[2]))[:_LOOKED_AT])


def _check_no_answers(table: Table, label: str) -> None:
    """Refuses to choose between a class and an answer beside it that stands in a context."""
    names = first_column(table, QUESTIONS), first_column(table, CONTEXTS), first_column(table, ANSWERS)
    if None in names or label in names:
        return
    _, contexts, answers = (table.columns[str(name)][:_LOOKED_AT] for name in names)
    pairs = [pair for pair in zip(contexts, answers, strict=True) if all(isinstance(one, str) and one.strip() for one in pair)]
    if pairs and 2 * sum(answer in context for context, answer in pairs) > len(pairs):
        raise UserError(
            f"{table.source} has questions, contexts and answers that stand in these, and the column {label!r} besides",
            expected="one thing to learn",
            fix=f"give --task qa to find the answers, or --label {label} for classes",
        )


def _kind_name(table: Table, text: str | None, label: str) -> str:
    present = [value for value in literal_values(table, label) if missing_mark(value) is None]
    lists = [value for value in present[:_LOOKED_AT] if isinstance(value, list)]
    # Half of them, as of numbers below: one slip of the pen is reported, and decides nothing.
    if lists and len(lists) * 2 >= len(present[:_LOOKED_AT]):
        words = [] if text is None else literal_values(table, text)[:_LOOKED_AT]
        is_tagging = any(isinstance(value, list) for value in words) or _are_tags([tag for tags in lists for tag in tags])
        return "tagging" if is_tagging else "multilabel"
    if text and text.casefold() in WORDS and present and all(_is_tag_line(value) for value in present[:_LOOKED_AT]):
        return "tagging"
    numbers = [value for value in map(number, present) if value is not None]
    if len(numbers) * 2 > len(present) and not all(value.is_integer() for value in numbers):
        return "regression"
    return "classification"


def _are_tags(values: Sequence[Any]) -> bool:
    return "O" in values and all(isinstance(value, str) and TAG.fullmatch(value) for value in values)


def _is_tag_line(value: Any) -> bool:
    return isinstance(value, str) and all(TAG.fullmatch(tag) for tag in value.split())


def _longest_text(table: Table, *taken: str | None) -> str:
    lengths = {}
    for name, values in table.columns.items():
        texts = [value for value in values[:_LOOKED_AT] if isinstance(value, str)]
        if name not in taken and texts and not _ID.fullmatch(name):
            lengths[name] = sum(map(len, texts)) / len(texts)
    if not lengths:
        _missing(table, "text", "text", beside=[name for name in taken if name is not None])
    return max(lengths, key=lambda name: lengths[name])


def _no_label(table: Table, usual: Sequence[str]) -> NoReturn:
    raise UserError(
        f"{table.source} has no column that is known as a label; its columns are {listed(table.columns)}",
        expected=f"a column such as {', '.join(usual[:5])}",
        fix=_way_to_labels(table, usual),
    )


def _way_to_labels(table: Table, usual: Sequence[str]) -> str:
    if len(table.columns) == 1:
        return "give a file with two columns (in .csv a comma is between them, in .tsv a tab; .txt holds texts alone)"
    if any(_are_single_tags(values[:_LOOKED_AT]) for values in table.columns.values()):
        return "write a word and its tag on each line, a blank line after each sentence and no header, in a file .conll"
    if usual is not ANSWERS and first_column(table, QUESTIONS) and first_column(table, CONTEXTS):
        return "give --task qa if answers are to be found in the context, or name the column with --label"
    has_header = any(end in table.source for end in (".csv", ".tsv"))
    return "name the column with --label" + (", and all columns in the first line of the file" if has_header else "")


def _are_single_tags(values: Sequence[Any]) -> bool:
    """Whether each of these cells is the tag of a word."""
    return "O" in values and len({*map(str, values)}) > 1 and all(_is_tag_line(value) and " " not in value for value in values)


def _missing(table: Table, what: str, option: str, beside: Sequence[str] = ()) -> NoReturn:
    others = f" beside {listed(map(repr, beside))}" if beside else ""
    raise UserError(
        f"{table.source} has no column{others} that is known as the {what}; its columns are {listed(table.columns)}",
        fix=f"name the column with {option_name(option)}",
    )
