"""SQuAD's JSON, 1.1 and 2.0: articles of paragraphs of questions, as one row a question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillhouse.data.readers.table import Table
from stillhouse.errors import UserError


def parse_squad(document: Mapping[str, Any], source: str) -> Table:
    """Columns `id`, `question`, `context`, `answers` (a list of `{text, start}`, None if absent), `is_impossible`, as given."""
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "question", "context", "answers", "is_impossible")}
    reached = 0
    try:
        for article in document["data"]:
            reached += 1
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    answers = question.get("answers")
                    if answers is not None:
                        answers = [{"text": answer["text"], "start": answer["answer_start"]} for answer in answers]
                    columns["id"].append(str(question["id"]))
                    columns["question"].append(question["question"])
                    columns["context"].append(paragraph["context"])
                    columns["answers"].append(answers)
                    columns["is_impossible"].append(question.get("is_impossible", False))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{source} is not SQuAD's JSON: article {reached} breaks the form ({type(error).__name__}: {error})",
            expected="data > paragraphs (context) > qas (id, question) > answers (text, answer_start)",
        ) from None
    if not columns["id"]:
        raise UserError(f"{source} holds no questions", expected="at least one question")
    return Table(columns, source)
