"""Published sets, at `STILLHOUSE_DATA` or beside the repository.

Row counts are those of their papers; qqp_lite and squad2 are parts cut out of other splits and have the counts of the cut.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stillhouse.config import DataConfig
from stillhouse.data.dataset import load_dataset
from stillhouse.data.examples import Dataset

SHARED = Path(os.environ.get("STILLHOUSE_DATA") or Path(__file__).parents[2].parent / "shared" / "data")


def place(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"the data set {name} is not at {SHARED}; STILLHOUSE_DATA may name another folder")
    return SHARED / name


def load(name: str, **options: object) -> Dataset:
    return load_dataset(DataConfig(source=str(place(name)), **options))


def dropped(data: Dataset) -> int:
    """Labelled training rows that were dropped, from the note that says so."""
    note = next((note for note in data.notes if "labelled rows and" in note), "train: 0 ")
    return int(note.split()[1].replace(",", ""))


@pytest.mark.parametrize(
    ("name", "kind", "labels", "pair", "train", "validation", "test"),
    [
        ("sst2", "classification", 2, False, 67_349, 872, None),
        ("mrpc", "classification", 2, True, 3_668, 408, None),
        ("rte", "classification", 2, True, 2_490, 277, None),
        ("qqp_lite", "classification", 2, True, 16_212, 4_000, None),
        ("stsb", "regression", 0, True, 5_749, 1_500, None),
        ("chnsenticorp", "classification", 2, False, 9_600, 1_200, 1_200),
        ("conll2003", "tagging", 9, False, 14_041, 3_250, 3_453),
        ("squad2", "qa", 0, True, 10_299, 5_795, None),
    ],
)
def test_counts(name: str, kind: str, labels: int, pair: bool, train: int, validation: int, test: int | None) -> None:
    data = load(name)
    found = data.task.name, data.task.kind.name, len(data.task.labels), data.train.text_pair is not None
    assert found == (name, kind, labels, pair)
    assert len(data.train) + len(data.selection) + dropped(data) == train
    assert len(data.validation) == validation
    assert (data.test and len(data.test)) == test


def test_unanswerable_questions_of_squad() -> None:
    data = load("squad2")
    assert data.task.unanswerable
    assert sum(label == () for label in data.validation.labels) == 2_777
    assert sum(label == () for label in (*data.train.labels, *data.selection.labels)) == 3_168
    contexts = data.validation.text_pair or []
    for context, label in zip(contexts, data.validation.labels, strict=True):
        assert all(context[answer.start : answer.start + len(answer.text)] == answer.text for answer in label)
    assert len(set(data.validation.ids)) == len(data.validation)


def test_wikipedia_as_transfer_text() -> None:
    data = load("mrpc", text="sentence1", transfer=(str(place("wikitext2") / "test.txt.gz"),))
    assert data.train.text_pair is None
    assert len(data.train) > len(data.train.labelled) > 3_000
