from __future__ import annotations

from typing import Any

import pytest

from stillhouse.config import DataConfig
from stillhouse.data.columns import Columns, find_columns, find_texts
from stillhouse.data.pairs import unread_texts
from stillhouse.data.readers.table import Table
from stillhouse.errors import UserError
from stillhouse.task import load_kind


def table(**columns: list[Any]) -> Table:
    return Table(columns, "rows.csv")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"sentence": ["a b"], "label": ["1"]}, Columns(load_kind("classification"), "sentence", None, "label")),
        ({"Review": ["a b"], "Stars": ["1"]}, Columns(load_kind("classification"), "Review", None, "Stars")),
        (
            {"question1": ["a"], "question2": ["b"], "label": [0], "id1": [7]},
            Columns(load_kind("classification"), "question1", "question2", "label"),
        ),
        (
            {"sentence1": ["a"], "sentence2": ["b"], "score": ["4.5"]},
            Columns(load_kind("regression"), "sentence1", "sentence2", "score"),
        ),
        (
            {"question": ["q"], "sentence": ["s"], "label": ["x"]},
            Columns(load_kind("classification"), "question", "sentence", "label"),
        ),
        (
            {"idx": ["a very long identifier of this row"], "title": ["short"], "abstract": ["a longer one"], "y": [1]},
            Columns(load_kind("classification"), "abstract", None, "y"),
        ),
        (
            {"tokens": [["a"]], "pos_tags": [["N"]], "ner_tags": [["O"]]},
            Columns(load_kind("tagging"), "tokens", None, "ner_tags"),
        ),
        ({"words": ["a b"], "tags": ["O B-X"]}, Columns(load_kind("tagging"), "words", None, "tags")),
        ({"text": ["a", "b"], "labels": [None, ["x", "y"]]}, Columns(load_kind("multilabel"), "text", None, "labels")),
        (
            {"id": ["1"], "question": ["q"], "context": ["c"], "answers": [[]]},
            Columns(load_kind("qa"), "question", "context", "answers"),
        ),
        # A yes/no answer to a question about a passage is a class, not a span.
        (
            {"question": ["q"], "passage": ["p"], "answers": ["yes"], "label": ["1"]},
            Columns(load_kind("classification"), "question", "passage", "label"),
        ),
    ],
)
def test_found_by_usual_names(columns: dict[str, list[Any]], expected: Columns) -> None:
    assert find_columns(table(**columns), DataConfig()) == expected


TEXT = [f"some words {number}" for number in range(20)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("sentence_A", "sentence_B"),
        ("sentenceA", "sentenceB"),
        ("texta", "textb"),
        ("Sentence 1", "Sentence 2"),
        ("sentence0", "sentence1"),
        ("q1_text", "q2_text"),
        ("left_text", "right_text"),
        ("first_sentence", "second_sentence"),
        ("text", "text2"),
        ("sentence", "sentence_pair"),
        ("anchor", "positive"),
        ("claim", "evidence"),
        ("question", "answer"),
        ("source", "target"),
    ],
)
def test_pairs_are_found_by_the_pattern_of_their_names(first: str, second: str) -> None:
    for names in ((first, second), (second, first)):
        rows = table(**dict.fromkeys(names, TEXT), label=["1"] * 20, id=TEXT)
        assert find_columns(rows, DataConfig()) == Columns(load_kind("classification"), first, second, "label")
    assert find_texts(rows, DataConfig(text=first), load_kind("classification"), pair=True).text_pair == second
    assert find_columns(rows, DataConfig(text=first)).text_pair is None


@pytest.mark.parametrize(
    "columns",
    [
        {"text": TEXT, "score_1": ["0.5"] * 20, "score_2": ["1.5"] * 20},
        {"text": TEXT, "annotator_a": ["ann lee", "bob ray"] * 10, "annotator_b": ["ann lee", "bob ray"] * 10},
        {"text": TEXT, "option_1": TEXT, "option_2": TEXT},
        {"option_1": TEXT[:10] * 2, "option_2": TEXT, "option_3": TEXT},
        {"sentence_a": TEXT, "sentence_b": TEXT, "sentence_c": TEXT},
        {"title": TEXT, "abstract": TEXT},
    ],
)
def test_what_only_looks_like_a_pair_is_none(columns: dict[str, list[Any]]) -> None:
    assert find_columns(table(**columns, label=["1"] * 20), DataConfig()).text_pair is None


def test_texts_that_nobody_reads() -> None:
    columns: dict[str, list[Any]] = {"title": TEXT, "day": ["2020-01-02 10:00:00"] * 20, "url": ["https://a.b/c"] * 20}
    columns |= {
        "topic": ["home and garden", "cars"] * 10,
        "n": list(range(20)),
        "chinese": [f"\u6211\u559c\u6b22\u4f60{n}" for n in range(20)],
    }
    columns["long"] = ["x" * 100_000] * 20
    assert unread_texts(table(text=TEXT, **columns), ["text"]) == ["title", "chinese"]


def test_questions_answers_and_contexts_untold_are_told_of() -> None:
    rows = table(question=["q"], context=["the answer"], solution=["answer"])
    with pytest.raises(UserError, match="fix: give --task qa if"):
        find_columns(rows, DataConfig())
    with pytest.raises(UserError, match="fix: name the column with --label"):
        find_columns(rows, DataConfig(task="qa"))


def test_answers_beside_a_class_are_not_chosen_between() -> None:
    columns = {"question": ["q"] * 3, "context": ["the answer"] * 3, "topic": ["a", "b", "a"]}
    rows = table(**columns, answer=["answer", "the", ""])
    with pytest.raises(UserError, match=r"column 'topic' besides\n.*\n  fix: give --task qa to .* or --label topic for"):
        find_columns(rows, DataConfig())
    assert find_columns(rows, DataConfig(label="topic")).kind.name == "classification"
    assert find_columns(rows, DataConfig(task="classification")).label == "topic"
    assert find_columns(rows, DataConfig(task="qa")).label == "answer"
    assert find_columns(table(**columns, answer=["yes", "no", "yes"]), DataConfig()).label == "topic"


def test_messages_with_many_columns_are_cut() -> None:
    many = table(**{f"column {number}": ["a"] for number in range(10_000)})
    for config in (DataConfig(), DataConfig(label="x"), DataConfig(task="qa", label="column 1")):
        with pytest.raises(UserError) as caught:
            find_columns(many, config)
        assert len(str(caught.value)) < 500
        assert "and 9,990 more" in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["0", "1", "2"], "classification"),
        (["0.0", "1.0", ""], "classification"),
        ([1, 2.5, None], "regression"),
        (["0.5", "high", "1.5"], "regression"),
        (["0", "1", "nan"], "classification"),
        (["0.5", "None", "nan", "-"], "regression"),
        ([0.0, 1.0, float("nan")], "classification"),
        ([1, 10**400], "regression"),
        (["a", "b", "1.5"], "classification"),
        ([True, False, True], "classification"),
        (["a", "b", ["c"]], "classification"),  # which is then refused, and decides nothing
        ([["a"], ["b", "c"], "a; b"], "multilabel"),
    ],
)
def test_kind_by_labels(labels: list[Any], kind: str) -> None:
    assert find_columns(table(text=["a", "b", "c"], label=labels), DataConfig()).kind.name == kind


def test_what_is_given_wins() -> None:
    rows = table(sentence1=["a"], sentence2=["b"], topic=["t"], label=["1"], mine=["0.5"])
    assert find_columns(rows, DataConfig(label="mine")) == Columns(load_kind("regression"), "sentence1", "sentence2", "mine")
    assert find_columns(rows, DataConfig(text="sentence2")) == Columns(load_kind("classification"), "sentence2", None, "label")
    assert find_columns(rows, DataConfig(text="topic", text_pair="sentence1")).text_pair == "sentence1"
    assert find_columns(rows, DataConfig(task="regression")).kind.name == "regression"
    assert find_columns(rows, DataConfig(text="label")).label == "topic"


def test_question_answering_as_told() -> None:
    rows = table(query=["q"], paragraph=["c"], answer=["a"])
    assert find_columns(rows, DataConfig(task="qa")) == Columns(load_kind("qa"), "query", "paragraph", "answer")
    with pytest.raises(UserError, match=r"known as the context; its columns are question, answers\n  fix: .*--text-pair"):
        find_columns(table(question=["q"], answers=[[]]), DataConfig(task="qa"))


@pytest.mark.parametrize("option", ["text", "text_pair", "label"])
def test_named_column_that_is_not_there(option: str) -> None:
    with pytest.raises(UserError, match=r"no column 'sentense'\n  expected: one of sentence, label\n  fix: .*'sentence'"):
        find_columns(table(sentence=["a"], label=["1"]), DataConfig(**{option: "sentense"}))


def test_no_label_column() -> None:
    with pytest.raises(
        UserError, match=r"known as a label; its columns are text, extra\n.*\n  fix: .*--label, and all columns in"
    ):
        find_columns(table(text=["a"], extra=["b"]), DataConfig())
    with pytest.raises(UserError, match=r"its columns are text\|label\n.*\n  fix: give a file with two columns"):
        find_columns(table(**{"text|label": ["a|b"]}), DataConfig())
    with pytest.raises(UserError, match=r"its columns are Word, Tag\n.*\n  fix: write a word and its tag on each line"):
        find_columns(table(Word=["John", "sleeps"], Tag=["B-PER", "O"]), DataConfig())


def test_no_text_column() -> None:
    with pytest.raises(UserError, match=r"known as the text; its columns are id, label"):
        find_columns(table(id=["some text"], label=[1]), DataConfig())


def test_texts_alone() -> None:
    rows = table(premise=["a"], hypothesis=["b"], body=["c"])
    assert find_texts(rows, DataConfig(), load_kind("classification"), pair=False) == Columns(
        load_kind("classification"), "body"
    )
    assert find_texts(rows, DataConfig(), load_kind("classification"), pair=True) == Columns(
        load_kind("classification"), "premise", "hypothesis"
    )
    assert find_texts(rows, DataConfig(text="premise"), load_kind("regression"), pair=True).text_pair == "hypothesis"
    with pytest.raises(UserError, match="known as the second text"):
        find_texts(table(text=["a"]), DataConfig(), load_kind("classification"), pair=True)


def test_one_column_is_not_text_and_label() -> None:
    table = Table({"text": ["a"], "label": ["b"]}, "rows.csv")
    for named in ({"text": "text", "text_pair": "text"}, {"text": "label", "label": "label"}):
        with pytest.raises(UserError, match="one column is named twice"):
            find_columns(table, DataConfig(**named))
