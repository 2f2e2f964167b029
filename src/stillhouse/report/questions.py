"""Question answering by kind of question: exact match and F1 where there is an answer, and where there is none."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.report import words
from stillhouse.report.classes import roles_in
from stillhouse.report.plots import NAMES
from stillhouse.report.tables import Cell, Row, Table

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def question_table(predictions: Sequence[Mapping[str, Any]]) -> Table | None:
    """Exact match and F1 of each model on answerable and on unanswerable questions; None without predictions.

    Reference: the scoring script of SQuAD 2.0 (Rajpurkar et al., 2018): the best over the gold answers, averaged over questions.
    """
    roles = roles_in(predictions)
    kinds = {
        "answerable": [row for row in predictions if _accepted(row)],
        "unanswerable": [row for row in predictions if not _accepted(row)],
    }
    rows = []
    for kind, of_kind in kinds.items():
        if not of_kind:
            continue
        rows.append(Row(f"{kind} questions ({len(of_kind):,})", head=True))
        scored = {role: [_scores(row, row[role]["answer"]) for row in of_kind] for role in roles}
        for place, metric in enumerate(("em", "f1")):
            means = [sum(pair[place] for pair in scored[role]) / len(of_kind) for role in roles]
            rows.append(Row(words.metric_name(metric), tuple(Cell(words.score(mean)) for mean in means)))
    names = tuple(NAMES[role] if len(roles) > 1 else "model" for role in roles)
    return Table(("", *names), tuple(rows)) if rows else None


def _accepted(row: Mapping[str, Any]) -> list[str]:
    """The gold answers that are more than articles and punctuation."""
    return [answer for answer in row["gold"] if _normalised(answer)]


def _scores(row: Mapping[str, Any], answer: str) -> tuple[float, float]:
    """(exact match, F1) of one answer."""
    gold_answers = _accepted(row) or [""]
    given = _normalised(answer)
    exact = max(float(_normalised(gold) == given) for gold in gold_answers)
    return exact, max(_token_f1(_normalised(gold).split(), given.split()) for gold in gold_answers)


def _normalised(answer: str) -> str:
    """Lower case, no punctuation, no articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def _token_f1(gold: Sequence[str], given: Sequence[str]) -> float:
    if not gold or not given:
        return float(gold == given)
    shared = sum((Counter(gold) & Counter(given)).values())
    return 2 * shared / (len(gold) + len(given))
