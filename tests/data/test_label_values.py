from __future__ import annotations

from typing import Any

import pytest

from stillhouse.data.columns import Columns
from stillhouse.data.labels import label_names, read_labels, to_ids
from stillhouse.data.readers.table import Table
from stillhouse.errors import UserError
from stillhouse.task import Answer, load_kind
from stillhouse.tasks.qa import nearest_occurrence


def read(kind: str, labels: list[Any], texts: list[Any] | None = None, pair: list[str] | None = None) -> list[Any]:
    texts = ["text"] * len(labels) if texts is None else texts
    table = Table({"text": texts, "pair": pair or [], "label": labels}, "rows.tsv", range(2, 2 + len(labels)))
    return read_labels(table, Columns(load_kind(kind), "text", "pair" if pair else None, "label"), range(len(labels)))


def test_class_names_and_missing_labels() -> None:
    assert read("classification", ["a", " b ", "", None, -1, "-1"]) == ["a", "b", None, None, None, None]
    assert read("classification", ["1.0", "0.0", "", "-1.0"]) == ["1", "0", None, None]
    assert read("classification", [1.0, 0.0, True]) == ["1.0", "0.0", "True"]
    assert read("classification", ["1.0", "01"]) == ["1", "01"]


def test_names_are_sorted_and_integers_by_value() -> None:
    assert label_names(load_kind("classification"), ["10", None, "9", "10"]) == ("9", "10")
    assert label_names(load_kind("classification"), ["b", "10", "9"]) == ("10", "9", "b")
    assert label_names(load_kind("multilabel"), [("b",), (), None, ("a", "b")]) == ("a", "b")
    assert label_names(load_kind("regression"), [0.5]) == ()


def test_multilabel() -> None:
    assert read("multilabel", [["b", "a"], [], None, [3]]) == [("a", "b"), (), None, ("3",)]
    assert read("multilabel", ["b|a", "c", ""]) == [("a", "b"), ("c",), None]
    assert read("multilabel", ["x, y; z"]) == [("x, y", "z")]
    assert read("multilabel", ["x, y"]) == [("x", "y")]
    with pytest.raises(UserError, match=r"line 3: the label '0' stands twice in \[0, 1, 0\]\n.*not a vector"):
        read("multilabel", [["1"], [0, 1, 0]])


def test_regression() -> None:
    assert read("regression", ["4.75", 3, "", None, -1]) == [4.75, 3.0, None, None, -1.0]
    with pytest.raises(UserError, match=r"rows\.tsv, line 3: the label 'high' is not a number"):
        read("regression", ["1.5", "high"])
    with pytest.raises(UserError, match="line 2: the label 'nan' is not finite"):
        read("regression", ["nan"])
    with pytest.raises(UserError, match="line 2: the label inf is not finite"):
        read("classification", [float("inf")])


def test_a_list_is_not_one_class() -> None:
    with pytest.raises(UserError, match=r"line 2: the label \['a'\] is not one class"):
        read("classification", [["a"]])


def test_tags() -> None:
    assert read("tagging", [["B-X", "O"], None, "O I-X"], [["a", "b"], ["c"], "d e"]) == [
        ("B-X", "O"),
        None,
        ("O", "I-X"),
    ]
    with pytest.raises(UserError, match="line 3: 1 tags do not match 2 words"):
        read("tagging", [["O"], ["O"]], [["a"], ["b", "c"]])
    for bad in ("X", "B-", "b-PER", -3, 1.0, True):
        with pytest.raises(UserError, match=f"line 2: {bad!r} is not a BIO tag"):
            read("tagging", [[bad]], [["a"]])


def test_answers_in_every_form_are_found_in_the_context() -> None:
    context = "the cat and the dog and the cow"  # `the` at 0, 12, 24
    forms = [
        [{"text": "dog", "start": 16}, {"text": "the", "answer_start": 13}],
        {"text": ["cow"], "answer_start": [0]},
        "the cat",
        [{"text": "bird", "start": 0}],
        [],
        None,
    ]
    assert read("qa", forms, pair=[context] * 6) == [
        (Answer("dog", 16), Answer("the", 12)),
        (Answer("cow", 28),),
        (Answer("the cat", 0),),
        (),
        (),
        None,
    ]
    assert read("qa", [{"text": ["cow"], "answer_start": None}], pair=[context]) == [(Answer("cow", 28),)]
    for bad in (3, {"answer_start": [1]}, {"text": ["a", "b"], "answer_start": [1]}, [{"start": 1}]):
        with pytest.raises(UserError, match=r"line 2: .* are no answers"):
            read("qa", [bad], pair=[context])


def test_nearest_occurrence_sees_overlaps() -> None:
    assert nearest_occurrence("aaaa", "aa", 2) == 2
    assert nearest_occurrence("a.b", ".", 0) == 1
    assert nearest_occurrence("ab", "c", 0) == -1


def test_ids() -> None:
    ids = {"b": 0, "a": 1}
    assert to_ids(load_kind("classification"), ["a", None, "b"], ids) == [1, None, 0]
    assert to_ids(load_kind("multilabel"), [("a", "b"), ()], ids) == [(0, 1), ()]
    assert to_ids(load_kind("tagging"), [("a", "b", "a")], ids) == [(1, 0, 1)]
    assert to_ids(load_kind("regression"), [0.5], ids) == [0.5]
