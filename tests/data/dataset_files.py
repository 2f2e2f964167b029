"""Small files of many forms, and what of them stands in which split."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhouse.data.examples import Dataset

WORDS = ["amber", "brass", "cedar", "delta", "ember", "flint", "grove", "haven", "inlet", "jetty"]


def sentence(number: int) -> str:
    """A text of its own for each number below 1000."""
    return f"{WORDS[number // 100]} {WORDS[number // 10 % 10]} {WORDS[number % 10]}"


def reviews(first: int, count: int) -> str:
    """Texts `first`.. with labels `bad`, `good`, `good`, `bad`, `good`, ... (two fifths bad)."""
    rows = [f"{sentence(number)}\t{'bad' if number % 5 in (0, 3) else 'good'}\n" for number in range(first, first + count)]
    return "text\tlabel\n" + "".join(rows)


def folder(path: Path, files: Mapping[str, str]) -> str:
    target = path / "reviews"
    target.mkdir()
    for name, content in files.items():
        (target / name).write_text(content)
    return str(target)


def split_texts(data: Dataset) -> list[list[str]]:
    splits = [data.train, data.selection, data.validation] + ([data.test] if data.test else [])
    return [list(map(str, rows.text)) for rows in splits]


def lines(*objects: Mapping[str, Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in objects)


def labelled(tmp_path: Path, labels: list[Any], rows: int = 210) -> str:
    path = tmp_path / "labelled.jsonl"
    path.write_text(lines(*({"text": sentence(row), "label": labels[row % len(labels)]} for row in range(rows))))
    return str(path)
