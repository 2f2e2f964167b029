"""Where student and teacher differ, class by class: F1 of each class, and what is taken for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.evaluation.spans import entity_spans
from stillhouse.report.words import ROLES

OUTSIDE = "O"
Decisions = Iterable[Hashable]


@dataclass(frozen=True)
class ClassScores:
    """One class: how often it is in the gold labels, and each model's F1 on it (None = neither gold nor predicted)."""

    name: str
    rows: int
    f1: Mapping[str, float | None]

    @property
    def gap(self) -> float | None:
        """Student minus teacher."""
        student, teacher = self.f1.get("student"), self.f1.get("teacher")
        return None if student is None or teacher is None else student - teacher


@dataclass(frozen=True)
class Confusion:
    """How often each gold class (row) was predicted as each class (column)."""

    labels: tuple[str, ...]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class ConfusedPair:
    """One confusion: rows of class `gold` that the student takes for `predicted`, and how many the teacher does."""

    gold: str
    predicted: str
    student: int
    teacher: int | None
    share: float


def roles_in(predictions: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Which of teacher, student and baseline predicted these rows."""
    return tuple(role for role in ROLES if predictions and predictions[0].get(role) is not None)


def class_scores(task: str, predictions: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[ClassScores]:
    """F1 of each class (classification), label (multilabel) or entity type (tagging: whole spans), in the labels' order.

    F1 = 2 TP / (2 TP + FP + FN), pooled over rows.
    """
    read, class_of = _READERS[task]
    scores: dict[str, Mapping[str, tuple[float | None, int]]] = {}
    for role in roles_in(predictions):
        hits: Counter[str] = Counter()
        gold_count: Counter[str] = Counter()
        predicted_count: Counter[str] = Counter()
        for row in predictions:
            gold, predicted = set(read(row["gold"], True)), set(read(row[role], False))
            hits.update(class_of(decision) for decision in gold & predicted)
            gold_count.update(class_of(decision) for decision in gold)
            predicted_count.update(class_of(decision) for decision in predicted)
        scores[role] = {
            name: (2 * hits[name] / total if (total := gold_count[name] + predicted_count[name]) else None, gold_count[name])
            for name in {*gold_count, *predicted_count}
        }
    known = _class_names(task, labels)
    met = {name for by_class in scores.values() for name in by_class}
    names = [name for name in known if name in met] + sorted(met - set(known))
    return [
        ClassScores(
            name,
            max(by_class.get(name, (None, 0))[1] for by_class in scores.values()),
            {role: by_class.get(name, (None, 0))[0] for role, by_class in scores.items()},
        )
        for name in names
    ]


def confusion(task: str, predictions: Sequence[Mapping[str, Any]], labels: Sequence[str], role: str) -> Confusion:
    """Counts of gold against predicted classes: rows for classification, words by entity type for tagging."""
    pairs: Counter[tuple[str, str]] = Counter()
    for row in predictions:
        if task == "tagging":
            pairs.update((_entity(gold), _entity(tag)) for gold, tag in zip(row["gold"], row[role]["tags"], strict=False))
        else:
            pairs[str(row["gold"]), str(row[role]["label"])] += 1
    known = ([OUTSIDE] if task == "tagging" else []) + _class_names(task, labels)
    met = {name for pair in pairs for name in pair}
    names = [name for name in known if name in met or task == "classification"] + sorted(met - set(known))
    index = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    for (gold, predicted), number in pairs.items():
        counts[index[gold], index[predicted]] = number
    return Confusion(tuple(names), counts)


def shared_confusions(
    task: str, predictions: Sequence[Mapping[str, Any]], labels: Sequence[str], roles: Iterable[str]
) -> dict[str, Confusion]:
    """Each model's confusions over the same classes, so that they can be read side by side."""
    found = {role: confusion(task, predictions, labels, role) for role in roles}
    names: list[str] = []
    for one in found.values():
        names += [name for name in one.labels if name not in names]
    return {role: _widen(one, tuple(names)) for role, one in found.items()}


def most_confused(confusions: Mapping[str, Confusion], limit: int = 20) -> list[ConfusedPair]:
    """The student's most frequent confusions, most frequent first."""
    student = confusions["student"]
    counts = student.counts.copy()
    np.fill_diagonal(counts, 0)
    gold_rows = student.counts.sum(axis=1)
    pairs = []
    for place in np.argsort(-counts, axis=None, kind="stable")[:limit]:
        gold, predicted = (int(axis) for axis in np.unravel_index(int(place), counts.shape))
        number = int(counts[gold, predicted])
        if number == 0:
            break
        teacher = confusions.get("teacher")
        pairs.append(
            ConfusedPair(
                student.labels[gold],
                student.labels[predicted],
                number,
                None if teacher is None else int(teacher.counts[gold, predicted]),
                number / int(gold_rows[gold]),
            )
        )
    return pairs


def _entity(tag: str) -> str:
    """The entity type of a BIO, IOBES or BILOU tag."""
    prefix, _, kind = tag.partition("-")
    return kind if kind and prefix in ("B", "I", "E", "S", "L", "U") else tag


def _class_names(task: str, labels: Sequence[str]) -> list[str]:
    if task != "tagging":
        return list(labels)
    return list(dict.fromkeys(_entity(tag) for tag in labels if tag != OUTSIDE))


def _widen(one: Confusion, names: tuple[str, ...]) -> Confusion:
    places = [names.index(name) for name in one.labels]
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    counts[np.ix_(places, places)] = one.counts
    return Confusion(names, counts)


def _read_class(value: Any, is_gold: bool) -> Decisions:
    return [str(value if is_gold else value["label"])]


def _read_labels(value: Any, is_gold: bool) -> Decisions:
    return [str(label) for label in (value if is_gold else value["labels"])]


def _read_spans(value: Any, is_gold: bool) -> Decisions:
    return entity_spans(value if is_gold else value["tags"])


def _itself(decision: Any) -> str:
    return str(decision)


def _span_type(decision: Any) -> str:
    return str(decision[0])


# Per task: how a row's gold or predicted value becomes a set of decisions, and which class a decision counts for.
_READERS: dict[str, tuple[Callable[[Any, bool], Decisions], Callable[[Any], str]]] = {
    "classification": (_read_class, _itself),
    "multilabel": (_read_labels, _itself),
    "tagging": (_read_spans, _span_type),
}
