"""The rows on which student and teacher disagree most, laid out for reading."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillhouse.report.svg import printable

MOST_CHARACTERS = 300
_MOST_WORDS_LISTED = 12


@dataclass(frozen=True)
class Said:
    """What one model (or the gold label) said of a row.

    Attributes:
        right: None where that can't be told by equality.
        next: What it takes for less likely, in words.
    """

    who: str
    what: str
    confidence: float | None = None
    right: bool | None = None
    next: str = ""


@dataclass(frozen=True)
class Word:
    """A word of a tagged sentence; `differs` where student and teacher tag it differently."""

    text: str
    differs: bool = False


@dataclass(frozen=True)
class TaggedWord:
    """A word on which student and teacher differ, with every tag it was given."""

    text: str
    tags: tuple[Said, ...]


@dataclass(frozen=True)
class Example:
    """One row.

    Attributes:
        kl: The student's divergence from the teacher.
        text: The text or the question; empty for tagging.
        text_pair: The second text, or the context around the answer.
        words: Tagging: the sentence.
        said: Gold label and predictions.
        differing: Tagging: the words tagged differently, with their tags.
        more: Tagging: how many more such words there are.
    """

    id: str
    kl: float
    text: str
    text_pair: str
    words: tuple[Word, ...]
    said: tuple[Said, ...]
    differing: tuple[TaggedWord, ...]
    more: int


def most_disagreed(task: str, predictions: Sequence[Mapping[str, Any]], limit: int = 20) -> list[Example]:
    """The rows of largest divergence between student and teacher, largest first; none where there is no teacher."""
    compared = [row for row in predictions if row.get("teacher") is not None and _is_finite(row.get("kl"))]
    # Equal predictions are no disagreement, however few rows there are.
    compared = [row for row in compared if row["kl"] > 0 or row["teacher"] != row["student"]]
    worst = sorted(compared, key=lambda row: -row["kl"])[:limit]
    return [_example(task, row) for row in worst]


def _example(task: str, row: Mapping[str, Any]) -> Example:
    shared: dict[str, Any] = {"id": printable(row["id"], 40), "kl": float(row["kl"])}
    if task == "tagging":
        words, differing = _tagged(row)
        return Example(
            **shared,
            text="",
            text_pair="",
            words=words,
            said=(),
            differing=tuple(differing[:_MOST_WORDS_LISTED]),
            more=max(0, len(differing) - _MOST_WORDS_LISTED),
        )
    text_pair = row.get("text_pair") or ""
    return Example(
        **shared,
        text=printable(row["text"], MOST_CHARACTERS),
        text_pair=_around_answer(text_pair, row)
        if task == "qa"
        else printable(text_pair, MOST_CHARACTERS)
        if text_pair
        else "",
        words=(),
        said=_SAID[task](row),
        differing=(),
        more=0,
    )


def _models(row: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    shown = (("teacher", "teacher"), ("student", "student"), ("baseline", "without teacher"))
    return [(name, row[role]) for role, name in shown if row.get(role) is not None]


def _said_class(row: Mapping[str, Any]) -> tuple[Said, ...]:
    gold = str(row["gold"])
    said = [Said("gold", printable(gold, 60))]
    for name, model in _models(row):
        confidence = max((share for share in model.get("probabilities") or () if _is_finite(share)), default=None)
        said.append(Said(name, printable(model["label"], 60), confidence, str(model["label"]) == gold))
    return tuple(said)


def _said_labels(row: Mapping[str, Any]) -> tuple[Said, ...]:
    gold = {str(label) for label in row["gold"]}
    said = [Said("gold", _listed(row["gold"]))]
    for name, model in _models(row):
        said.append(Said(name, _listed(model["labels"]), right={str(label) for label in model["labels"]} == gold))
    return tuple(said)


def _said_value(row: Mapping[str, Any]) -> tuple[Said, ...]:
    return (
        Said("gold", _number(row["gold"])),
        *(Said(name, _number(model["value"])) for name, model in _models(row)),
    )


def _said_answer(row: Mapping[str, Any]) -> tuple[Said, ...]:
    answers = list(dict.fromkeys(str(answer) for answer in row["gold"]))
    folded = {answer.casefold().strip() for answer in answers} or {""}
    said = [Said("gold", " / ".join(printable(answer, 120) for answer in answers[:3]) or "(no answer)")]
    for name, model in _models(row):
        answer = str(model["answer"])
        # Whether an answer that differs in words is still right is the scorer's business: only sure cases are marked.
        sure = answer.casefold().strip() in folded or answer == "" or not answers
        right = answer.casefold().strip() in folded if sure else None
        said.append(Said(name, printable(answer, 120) if answer else "(no answer)", model.get("confidence"), right))
    return tuple(said)


_SAID: dict[str, Callable[[Mapping[str, Any]], tuple[Said, ...]]] = {
    "classification": _said_class,
    "multilabel": _said_labels,
    "regression": _said_value,
    "qa": _said_answer,
}


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _number(value: Any) -> str:
    return f"{value:.3f}" if _is_finite(value) else "(not a number)"


def _listed(labels: Sequence[Any]) -> str:
    return ", ".join(printable(label, 40) for label in labels) or "(none)"


def _tagged(row: Mapping[str, Any]) -> tuple[tuple[Word, ...], list[TaggedWord]]:
    teacher, student = row["teacher"]["tags"], row["student"]["tags"]
    words: list[Word] = []
    differing: list[TaggedWord] = []
    length = 0
    for place, (text, gold) in enumerate(zip(row["text"], row["gold"], strict=False)):
        theirs, ours = (tags[place] if place < len(tags) else "" for tags in (teacher, student))
        length += len(str(text)) + 1
        if length <= MOST_CHARACTERS:
            words.append(Word(printable(text, 60), theirs != ours))
        elif not words or words[-1].text != "…":
            words.append(Word("…"))
        if theirs != ours:
            said = [Said("gold", str(gold))]
            for name, model in _models(row):
                tag = model["tags"][place] if place < len(model["tags"]) else ""
                said.append(Said(name, str(tag) or "(none)", right=tag == gold))
            differing.append(TaggedWord(printable(text, 60), tuple(said)))
    return tuple(words), differing


def _around_answer(context: str, row: Mapping[str, Any]) -> str:
    """The part of the context that holds an answer: gold, else the teacher's, else its beginning."""
    answers = [*row["gold"], row["teacher"]["answer"], row["student"]["answer"]]
    places = [context.find(answer) for answer in answers if answer]
    start = max(0, next((place for place in places if place >= 0), 0) - MOST_CHARACTERS // 3)
    if start:
        start = context.find(" ", start) + 1 or start
    return ("… " if start else "") + printable(context[start:], MOST_CHARACTERS)
