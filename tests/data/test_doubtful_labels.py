"""Labels that may mean that there is none, one class under several names, or none at all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.data.dataset_files import folder, labelled, lines, sentence

from stillhouse.config import DataConfig
from stillhouse.data.dataset import load_dataset, load_evaluation
from stillhouse.errors import UserError


def test_minus_one_is_no_class_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "topics.tsv"
    path.write_text("text\tlabel\n" + "".join(f"{sentence(number)}\t{number % 4 - 1}\n" for number in range(40)))
    data = load_dataset(DataConfig(source=str(path)))
    assert data.task.labels == ("0", "1", "2")
    assert "train: 10 rows have the label -1, which means no label" in data.notes


def test_minus_one_beside_one_alone_is_a_class(tmp_path: Path) -> None:
    path = tmp_path / "polarity.tsv"
    path.write_text("text\tlabel\n" + "".join(f"{sentence(number)}\t{'' if number % 3 else -1}\n" for number in range(30)))
    with pytest.raises(UserError, match="no row has a label"):
        load_dataset(DataConfig(source=str(path)))
    path.write_text(path.read_text() + "".join(f"{sentence(number)}\t1\n" for number in range(30, 40)))
    data = load_dataset(DataConfig(source=str(path)))
    assert data.task.labels == ("-1", "1")
    assert not any("no label" in note for note in data.notes)
    assert Counter(data.validation.labels + data.selection.labels + data.train.labels) == {None: 20, 0: 10, 1: 10}


def test_minus_one_beside_zero_and_one_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "polarity.tsv"
    path.write_text("text\tlabel\n" + "".join(f"{sentence(number)}\t{number % 3 - 1}\n" for number in range(30)))
    with pytest.raises(UserError, match=r"-1, 0 and 1 \(column 'label'\), and -1 may be a class(?s:.*)fix: write words"):
        load_dataset(DataConfig(source=str(path)))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["-2", "-1", "0", "1", "2"], ("-2", "-1", "0", "1", "2")),
        ([-2, -1, 0, 1, 2], ("-2", "-1", "0", "1", "2")),
        ([-2.0, -1.0, 0.0], ("-2", "-1", "0")),
        (["-1", "+1"], ("+1", "-1")),
        (["-1", "0", "+1"], ("+1", "-1", "0")),
        (["-1.0", "1.0"], ("-1", "1")),
        (["-1", "a", "b"], ("a", "b")),
        (["-", "a", "b"], ("a", "b")),
        (["-", "+"], ("+", "-")),
        (["nan", "NaN", "<NA>", "#N/A", float("nan"), "a", "b"], ("a", "b")),
        (["None", "a"], ("None", "a")),
        (["a", "b"] * 10 + ["None"], ("a", "b")),  # 1 of 21 is less than 5 %
        (["a", "b"] * 9 + ["None"], ("None", "a", "b")),
        (["none", "a"], ("a", "none")),
    ],
)
def test_what_may_mean_no_label_is_a_class_where_the_data_say_so(tmp_path: Path, labels: list[Any], names: tuple[str]) -> None:
    source = labelled(tmp_path, labels)
    data = load_dataset(DataConfig(source=source))
    assert data.task.labels == names
    marks = {str(label) for label in labels} & {"nan", "-", "None"}
    assert all(any(f"rows have the label {mark}" in note.replace("NaN", "nan") for note in data.notes) for mark in marks)


@pytest.mark.parametrize("named", ["text", "id", "number"])
def test_a_label_of_its_own_for_each_row_is_no_class(tmp_path: Path, named: str) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": sentence(row), "mood": ("good", "bad")[row % 2], "id": f"r{row}", "number": row} for row in range(40)]
    path.write_text(lines(*rows, rows[0]))
    with pytest.raises(UserError, match=r"every row has a label of its own, 40 in 41 rows") as caught:
        load_dataset(DataConfig(source=str(path), label=named))
    assert ("--task regression" in caught.value.fix) == (named == "number")
    known = {str(row[named]) for row in rows}
    if named != "text":  # a teacher with as many classes, and one row of each
        assert len(load_dataset(DataConfig(source=str(path), label=named, text="text"), known=known).task.labels) == 40


@pytest.mark.parametrize("mark", ["None", "N/A", "nan", "-", "-1"])
def test_what_the_teacher_or_the_map_names_is_a_class(tmp_path: Path, mark: str) -> None:
    source = labelled(tmp_path, ["0", "1", "2"] * 10 + [mark])
    assert mark not in load_dataset(DataConfig(source=source)).task.labels
    assert mark in load_dataset(DataConfig(source=source), known=["0", mark.lower()]).task.labels
    assert mark in load_dataset(DataConfig(source=source, label_map={mark: "other"})).task.labels
    assert mark in load_evaluation(DataConfig(source=source), known=["0", mark]).task.labels
    multi = labelled(tmp_path, [["0"], ["1", "2"]] * 10 + [[mark]])
    assert mark not in load_dataset(DataConfig(source=multi)).task.labels
    assert mark in load_dataset(DataConfig(source=multi), known=[mark]).task.labels


def test_frequent_marks_are_no_classes_of_a_model_that_does_not_know_them(tmp_path: Path) -> None:
    data = load_evaluation(DataConfig(source=labelled(tmp_path, ["a", "None"])), known=["a", "b"])
    assert (data.task.labels, len(data.validation)) == (("a",), 105)
    assert any(note.startswith("train: 105 rows have the label None, which means no label") for note in data.notes)


def test_every_split_reads_labels_as_the_training_rows_do(tmp_path: Path) -> None:
    header = "text\tlabel\n"
    train = header + "".join(f"{sentence(row)}\t{('None', 'a', -1, -2)[row % 4]}\n" for row in range(80))
    dev = header + "".join(f"{sentence(row)}\t{('a', 'a', -1)[row % 3]}\n" for row in range(100, 130)) + "x\tNone\n"
    data = load_dataset(DataConfig(source=folder(tmp_path, {"train.tsv": train, "dev.tsv": dev})))
    assert data.task.labels == ("-1", "-2", "None", "a")
    assert Counter(data.validation.labels) == {0: 10, 2: 1, 3: 20}


def test_a_split_of_minus_one_alone_is_hidden_where_it_is_a_class_too(tmp_path: Path) -> None:
    header = "text\tlabel\n"
    train = header + "".join(f"{sentence(row)}\t{row % 3 - 2}\n" for row in range(60))
    hidden = header + "".join(f"{sentence(row)}\t-1\n" for row in range(100, 110))
    data = load_dataset(DataConfig(source=folder(tmp_path, {"train.tsv": train, "test.tsv": hidden})))
    assert (data.task.labels, data.test) == (("-2", "-1", "0"), None)
    assert "test: not used, because its rows have no labels" in data.notes


@pytest.mark.parametrize("labels", [[-1, 0, 1], ["-1", "0", "1"], [-1, 0], [-1.0, 0.0, 1.0]])
def test_the_map_says_what_minus_one_is(tmp_path: Path, labels: list[Any]) -> None:
    source = labelled(tmp_path, labels)
    for read in (load_dataset, load_evaluation):
        with pytest.raises(UserError, match="-1 may be a class or mean no label"):
            read(DataConfig(source=source))
    assert "-1" in load_dataset(DataConfig(source=source, label_map={"-1": "bad"})).task.labels
    assert load_evaluation(DataConfig(source=source), known=["0", "1"]).task.labels == ("0", "1")[: len(labels) - 1]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["nan"], "no row has a label (column 'label': 9 are 'nan')"),
        (["", "None", "-1"], "all 3 labels are 'None' (column 'label'; of the others 3 are empty, 3 are '-1', which means"),
        (["", "-1", "nan"], "no row has a label (column 'label': 3 are empty, 3 are '-1', 3 are 'nan')"),
        (["a", "", "-1"], "all 3 labels are 'a' (column 'label'; of the others 3 are empty, 3 are '-1', which means no label"),
        (["0.5", "nan"], "all 5 labels are '0.5' (column 'label'; of the others 4 are 'nan', which means no label"),
    ],
)
def test_the_cause_is_named_where_labels_are_missing(tmp_path: Path, labels: list[Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        load_dataset(DataConfig(source=labelled(tmp_path, labels, rows=9)))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([f"{row},{row % 10}" for row in range(60)] + ["5,0"] * 20, True),
        ([f"{row}%" for row in range(60)] + ["x"] * 20, True),
        ([f"c{row}" for row in range(19)] + ["other"] * 61, False),
        ([f"c{row // 2}" for row in range(80)], False),
    ],
)
def test_labels_of_one_row_each_are_counted(tmp_path: Path, labels: list[Any], said: bool) -> None:
    notes = load_dataset(DataConfig(source=labelled(tmp_path, labels, rows=80))).notes
    assert any("60 of 61 labels in `label` stand in one row alone" in note for note in notes) is said


def test_labels_that_look_alike_are_named(tmp_path: Path) -> None:
    notes = load_dataset(DataConfig(source=labelled(tmp_path, ["Good", "good", "caf\u00e9", "cafe\u0301", "+1", "1"]))).notes
    said = "the labels 'Good', 'good' differ only in case, spaces, plus sign or Unicode form; if they mean the same, write"
    assert f"{said} them alike" in notes
    assert any(r"the labels 'cafe\u0301', 'caf\u00e9' differ" in note.replace("\u00e9", r"\u00e9") for note in notes)
    assert any("labels '+1', '1' differ" in note for note in notes)
    assert not any("differ only" in note for note in load_dataset(DataConfig(source=labelled(tmp_path, ["a", "b"]))).notes)
    files = {"train.tsv": "text\tlabel\nx\tGood\ny\tbad\nz\tbad\n", "dev.tsv": "text\tlabel\nw\tgood\n"}
    with pytest.raises(UserError, match=r"lack: 'good'\n(?s:.*)fix: the labels 'Good', 'good' differ only in case"):
        load_dataset(DataConfig(source=folder(tmp_path, files)))
