"""Question answering by kind of question: exact match and F1 where there is an answer, and where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stillhouse.evaluation.answer_scores import question_scores
from stillhouse.report import words
from stillhouse.report.classes import roles_in
from stillhouse.report.plots import NAMES
from stillhouse.report.tables import Cell, TextRow, TextTable


def question_table(predictions: Sequence[Mapping[str, Any]]) -> TextTable | None:
    """Exact match and F1 of each model on answerable and on unanswerable questions; None where all are of one kind."""
    roles = roles_in(predictions)
    references = [row["gold"] for row in predictions]
    scored = {role: question_scores(references, [row[role]["answer"] for row in predictions]) for role in roles}
    has_answer = np.array([len(texts) > 0 for texts in references], dtype=bool)
    if has_answer.all() or not has_answer.any():
        return None
    rows = []
    for kind, chosen in (("answerable", has_answer), ("unanswerable", ~has_answer)):
        rows.append(TextRow(f"{kind} questions ({int(chosen.sum()):,})", head=True))
        rows.append(_means("exact", [scored[role].exact[chosen] for role in roles]))
        # Without an answer both scores are the same.
        if kind == "answerable":
            rows.append(_means("f1", [scored[role].f1[chosen] for role in roles]))
    names = tuple(NAMES[role] if len(roles) > 1 else "model" for role in roles)
    return TextTable(("", *names), tuple(rows))


def _means(metric: str, by_role: Sequence[Any]) -> TextRow:
    return TextRow(words.metric_name(metric), tuple(Cell(words.score(float(values.mean()))) for values in by_role))
