"""Lists and dictionaries as text: what is parsed, what stays text, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from stillhouse.data.literals import check_no_lists, literal_values, parse_literal
from stillhouse.data.readers.table import Table
from stillhouse.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("['a', 'b']", ["a", "b"]),
        ('["a", "b\\u00e9"]', ["a", "bé"]),
        ("['a' 'b c']", ["a", "b c"]),
        ("['a'\n 'it\\'s' \"it's\"]", ["a", "it's", "it's"]),
        ("['' '']", ["", ""]),
        ("[1 0 1]", [1, 0, 1]),
        ("[ 0.  -1.5]", [0.0, -1.5]),
        ("[True False]", [True, False]),
        ("[['a' 'b']\n ['c']]", [["a", "b"], ["c"]]),
        ("[nan, None, null, true]", [None, None, None, True]),
        ("[np.str_('a'), np.int64(3)]", ["a", 3]),
        ("('a', 'b')", ["a", "b"]),
        ("{'a'}", ["a"]),
        ("set()", []),
        ("[]", []),
        ("{'text': ['Paris'], 'answer_start': [14]}", {"text": ["Paris"], "answer_start": [14]}),
        ("{'text': array(['a', 'b'], dtype=object), 'start': array([1, 2])}", {"text": ["a", "b"], "start": [1, 2]}),
        ("[{'text': 'a b', 'start': 1} {'text': 'c', 'start': 2}]", [{"text": "a b", "start": 1}, {"text": "c", "start": 2}]),
    ],
)
def test_spellings(text: str, value: Any) -> None:
    assert parse_literal(text) == value


@pytest.mark.parametrize(
    "text",
    """
    [a, b]; ['a' ... 'b']; ['a', ...]; ['a', 'b; 'a'; 3; (a); ('a'); ['a''b']; ['a']['b']; [1](2); [1 - 2];
    [__import__('os').getpid()]; [open('x')]; [x for x in 'ab']; ['a' + 'b']; [f'{1}']; [b'a']; {**{}}; {1: 2}; [*'a']; [1j]
    """.strip().split(";"),
)
def test_what_is_no_literal(text: str) -> None:
    assert parse_literal(text.strip()) is None


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 3_000 + "]" * 3_000,
        "[" + "1" * 5000 + "]",
        "['\x00']",
        "['\ud800']",
        "[" * 300 + "]" * 299,
        '{"a": 1, "a": 2}',
        "{'a': 1, 'a': 2}",
    ],
    ids=lambda text: text[:10] if text.isprintable() else None,
)
def test_hostile_text_is_no_literal(text: str) -> None:
    assert parse_literal(text) is None


def test_a_column_is_parsed_as_a_whole() -> None:
    cells = ["['a']", "['a', 'b']", "", "nan", None, ["c"]]
    table = Table({"labels": cells}, "rows.csv")
    assert literal_values(table, "labels") == [["a"], ["a", "b"], "", "nan", None, ["c"]]
    assert literal_values(table, "labels") is literal_values(table, "labels")
    assert table.columns["labels"] is cells


@pytest.mark.parametrize("cells", [["[CLS] a [SEP]", "[sic]"], ["a", "b", "['c']"], ["[other]", "[none]"], ["(a)", "(b)"]])
def test_a_column_of_text_stays_as_it_is(cells: list[Any]) -> None:
    assert literal_values(Table({"text": cells}, "rows.csv"), "text") is cells


def test_a_slip_in_a_column_of_lists_is_reported() -> None:
    table = Table({"tags": ["['O']"] * 9 + ["['O', 'B-X'"]}, "rows.csv", range(2, 12))
    with pytest.raises(UserError, match=r"rows\.csv, line 11: \"\['O', 'B-X'\" in column 'tags' is no list"):
        literal_values(table, "tags")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["joy", "anger", "['joy', 'anger']"], r"line 4: the label \"\['joy', 'anger'\]\" is a list as text, which other rows"),
        (["['joy']", "anger"], "line 2: the label .* which other rows of the column are not"),
        (["[joy]", "[joy, anger]"], r"line 3: the label '\[joy, anger\]' is a list as text, and cannot be read"),
        (["['a' ... 'b']", "['b' ... 'c']"], "line 2: .* and cannot be read"),
        (["joy", "anger", "joy", "{anger, joy}"], "line 5: .* and cannot be read"),
        (["['joy', 'ang", "['anger', 'j"], "line 2: .* and cannot be read"),
    ],
)
def test_lists_among_names_are_refused(cells: list[Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_no_lists(Table({"label": cells}, "rows.csv", range(2, 2 + len(cells))), "label")


@pytest.mark.parametrize("cells", [["[joy]", "[anger]"], ["(a, b)", "(c)"], ["a, b", "c"], ["[a] b, c [d]", "c"]])
def test_names_in_brackets_are_names(cells: list[Any]) -> None:
    check_no_lists(Table({"label": cells}, "rows.csv"), "label")
