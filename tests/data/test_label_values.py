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


@pytest.mark.parametrize(
    "labels",
    [
        [[1, 0], [0, 1]],
        [[0, 1, 0], [1, 0, 1]],
        ["[1 0]", "[0 1]"],
        ["[1.0, 0.0]", "[0.0, 1.0]"],
        [[True, False], None, [False, True]],
        ["1|0", "0|1"],
        ["1,0", "0,1"],
    ],
)
def test_vectors_of_zeros_and_ones_are_no_labels(labels: list[Any]) -> None:
    with pytest.raises(
        UserError, match=r"line 2: the labels of all rows are zeros and ones(?s:.*)names \(or ids\) of the labels"
    ):
        read("multilabel", labels)


def test_ids_of_labels_are_no_vector() -> None:
    assert read("multilabel", [[1, 0], [0], [1, 2]]) == [("0", "1"), ("0",), ("1", "2")]
    assert read("multilabel", ["[1, 0]", "[0]"]) == [("0", "1"), ("0",)]


@pytest.mark.parametrize("cell", [{"joy": 1}, "{'joy': 1}", [0.2, 0.8], [["a"]], [b"a"]])
def test_what_is_no_list_of_labels(cell: Any) -> None:
    with pytest.raises(UserError, match=r"line 2: .* is no list of labels"):
        read("multilabel", [cell, cell])


def test_lists_as_text_are_lists() -> None:
    assert read("multilabel", ["['b', 'a']", "[]", "", '["c"]']) == [("a", "b"), (), None, ("c",)]
    tags = ["['B-X' 'O']", '["O"]', "nan"]
    assert read("tagging", tags, ["['a' 'b c']", "['d']", "['e']"]) == [("B-X", "O"), ("O",), None]
    starts = ["{'text': array(['cow'], dtype=object), 'answer_start': array([4])}", "['the', 'cow']"]
    assert read("qa", starts, pair=["the cow"] * 2) == [(Answer("cow", 4),), (Answer("the", 0), Answer("cow", 4))]
    with pytest.raises(UserError, match=r"line 2: the label .* is a list as text"):
        read("classification", ["['a', 'b']", "c", "d"])
    with pytest.raises(UserError, match=r"line 2: the label \['a'\] is not one class"):
        read("classification", ["['a']", "['b']"])


def test_numbers_that_overflow_are_no_classes() -> None:
    for large in (10**400, "1" * 400, -(10**400)):
        with pytest.raises(UserError, match=r"line 2: the label .* is not finite, or too large") as caught:
            read("classification", [large])
        assert len(str(caught.value)) < 400
    assert read("classification", ["inf", "infinity"]) == ["inf", "infinity"]  # words


def test_regression() -> None:
    assert read("regression", ["4.75", 3, "", None, -1]) == [4.75, 3.0, None, None, -1.0]
    with pytest.raises(UserError, match=r"rows\.tsv, line 3: the label 'high' is not a number"):
        read("regression", ["1.5", "high"])
    assert read("regression", ["nan", float("nan"), "-", "None", "N/A"]) == [None] * 5
    for large in ("inf", "-inf", 1e19, 10**400, "1" * 400):
        with pytest.raises(UserError, match=r"line 2: the label .* is not finite, or too large"):
            read("regression", [large])
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
    whole = [{"text": "cow", "answer_start": 24.0}, {"text": ["cow"], "answer_start": [float("nan")]}, {"text": "cow"}]
    assert read("qa", whole, pair=[context] * 3) == [(Answer("cow", 28),)] * 3
    bad_starts = [{"text": ["cow"], "answer_start": [start]} for start in (2.5, float("inf"), True, "Infinity", 10**400, [1])]
    nothing = [{"text": [None], "answer_start": [1]}, [["cow"]]]
    for bad in (3, {"answer_start": [1]}, {"text": ["a", "b"], "answer_start": [1]}, [{"start": 1}], *bad_starts, *nothing):
        with pytest.raises(UserError, match=r"line 2: .* are no answers"):
            read("qa", [bad], pair=[context])


def test_a_missing_answer_is_told_from_no_answer() -> None:
    cells = [None, float("nan"), "nan", "-", "None", "", "None"]
    contexts = ["a cow"] * 6 + ["it returns None"]
    assert read("qa", cells, pair=contexts) == [None, None, None, None, None, (), (Answer("None", 11),)]


@pytest.mark.parametrize("said", [True, 1, 1.0, "true", "True", "1"])
def test_impossible_questions_have_no_answer(said: Any) -> None:
    assert answers_beside(said) == [()]


@pytest.mark.parametrize("said", [False, 0, 0.0, "false", "FALSE", " 0 ", None, "", float("nan")])
def test_possible_questions_keep_their_answers(said: Any) -> None:
    assert answers_beside(said) == [(Answer("cow", 2),)]


@pytest.mark.parametrize("said", ["no", "maybe", 2, [], {}, [True]])
def test_what_is_impossible_is_said_by_truth_values(said: Any) -> None:
    with pytest.raises(UserError, match=r"row 1: is_impossible is .*\n  expected: true or false, 1 or 0"):
        answers_beside(said)


def answers_beside(said: Any) -> list[Any]:
    table = Table({"text": ["?"], "pair": ["a cow"], "label": [["cow"]], "is_impossible": [said]}, "rows.jsonl")
    return read_labels(table, Columns(load_kind("qa"), "text", "pair", "label"), [0])


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
