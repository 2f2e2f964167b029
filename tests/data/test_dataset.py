from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.data.dataset_files import WORDS, folder, lines, reviews, sentence, split_texts

from stillhouse.config import DataConfig
from stillhouse.data.alignment import align_labels
from stillhouse.data.dataset import load_dataset, load_evaluation, read_texts
from stillhouse.data.examples import Examples
from stillhouse.errors import UserError
from stillhouse.task import Answer, Task, load_kind


def test_folder_with_all_splits(tmp_path: Path) -> None:
    files = {"train.tsv": reviews(0, 100), "dev.tsv": reviews(100, 20), "test.tsv": reviews(200, 30)}
    data = load_dataset(DataConfig(source=folder(tmp_path, files)))
    assert data.task == Task("reviews", load_kind("classification"), ("bad", "good"))
    assert data.test is not None
    assert [len(rows) for rows in (data.train, data.selection, data.validation, data.test)] == [90, 10, 20, 30]
    assert Counter(data.selection.labels) == {0: 4, 1: 6}  # stratified: two fifths bad
    assert set(data.train.text) | set(data.selection.text) == set(map(sentence, range(100)))
    assert list(data.train.ids) == sorted(data.train.ids, key=int)
    assert [data.train.labels[row] for row in range(3)] == [int(int(data.train.ids[row]) % 5 not in (0, 3)) for row in range(3)]
    assert data.notes[:2] == ("task: classification with 2 labels (column `label`)", "text: column `text`")
    assert data.notes[-1] == "rows: train 90, selection 10, validation 20, test 30"


def test_single_file_gives_a_seeded_stratified_validation_split(tmp_path: Path) -> None:
    path = tmp_path / "reviews.tsv"
    path.write_text(reviews(0, 200))
    data = load_dataset(DataConfig(source=str(path)))
    # 10 % of 200, then 10 % of the other 180.
    assert [len(rows) for rows in (data.validation, data.selection, data.train)] == [20, 18, 162]
    assert Counter(data.validation.labels) == {0: 8, 1: 12}
    assert sorted(text for split in split_texts(data) for text in split) == sorted(map(sentence, range(200)))
    assert any("validation: 20 of the training rows (10%, seed 0)" in note for note in data.notes)
    assert split_texts(load_dataset(DataConfig(source=str(path)))) == split_texts(data)
    other = load_dataset(DataConfig(source=str(path), seed=1))
    assert other.validation.text != data.validation.text
    half = load_dataset(DataConfig(source=str(path), validation_share=0.5, selection_share=0.2))
    assert [len(rows) for rows in (half.validation, half.selection, half.train)] == [100, 20, 80]


def test_unlabelled_rows_come_last_and_are_never_evaluated_on(tmp_path: Path) -> None:
    rows = [{"text": sentence(number), "label": None if number % 3 else number % 2} for number in range(90)]
    path = tmp_path / "rows.jsonl"
    path.write_text(lines(*rows))
    data = load_dataset(DataConfig(source=str(path)))
    # 30 labelled rows: 3 for validation, 3 of the other 27 for selection.
    assert [len(split) for split in (data.validation, data.selection, data.train)] == [3, 3, 84]
    assert data.train.labelled == list(range(24))
    assert not any("label -1" in note for note in data.notes)
    assert None not in (*data.validation.labels, *data.selection.labels)
    assert data.notes[-1] == "rows: train 84 (60 without a label), selection 3, validation 3"


def test_max_train_and_max_labels(tmp_path: Path) -> None:
    source = folder(tmp_path, {"train.tsv": reviews(0, 300), "dev.tsv": reviews(300, 7)})
    data = load_dataset(DataConfig(source=source, max_train=200, max_labels=50))
    # 50 gold labels altogether: 5 of them choose checkpoints, 45 train; 150 rows are text alone.
    assert (len(data.train), len(data.train.labelled), len(data.selection)) == (195, 45, 5)
    bad = sum(int(name) % 5 in (0, 3) for name in (*data.train.ids, *data.selection.ids))  # of the 200 rows
    gold = Counter([*data.train.labels[:45], *data.selection.labels])
    assert gold[0] == pytest.approx(50 * bad / 200, abs=1)
    fewer = load_dataset(DataConfig(source=source, max_train=200, max_labels=20))
    assert set(fewer.train.text) | set(fewer.selection.text) == set(data.train.text) | set(data.selection.text)
    plenty = load_dataset(DataConfig(source=source, max_train=1000, max_labels=1000))
    assert (len(plenty.train), len(plenty.train.labelled)) == (270, 270)
    with pytest.raises(UserError, match=r"1 labelled training rows are left\n.*at least 2.*\n.*--max-labels"):
        load_dataset(DataConfig(source=source, max_labels=1))


def test_evaluation_texts_are_dropped_from_train_and_transfer(tmp_path: Path) -> None:
    train = reviews(0, 50) + f"{sentence(60).upper()}\tgood\n{sentence(70)} \t\n"
    source = folder(tmp_path, {"train.tsv": train, "dev.tsv": reviews(60, 5), "test.tsv": reviews(70, 5)})
    more = tmp_path / "more.txt"
    more.write_text("\n".join([sentence(62), sentence(73), sentence(800), sentence(801), sentence(802)]) + "\n")
    csv = tmp_path / "more.csv"
    csv.write_text(f"label,text\nbad,{sentence(803)}\n")
    data = load_dataset(DataConfig(source=source, transfer=(str(more), str(csv))))
    assert len(data.train.labelled) == 45
    assert data.train.text[45:] == [sentence(number) for number in (800, 801, 802, 803)]
    assert data.train.labels[45:] == [None] * 4
    assert len(set(data.train.ids)) == len(data.train)
    # Labelled: one of dev. Without a label: one of test in train, and one of each in transfer.
    assert any("train: 1 labelled rows and 3 without a label were dropped" in note for note in data.notes)
    assert f"transfer: 5 texts of {more} (column `text`)" in data.notes


def test_rows_equal_to_selection_rows_leave_train(tmp_path: Path) -> None:
    text = "text\tlabel\n" + "".join(f"{sentence(number % 20)}\t{number % 20 % 2}\n" for number in range(60))
    data = load_dataset(DataConfig(source=folder(tmp_path, {"train.tsv": text, "dev.tsv": "text\tlabel\nother\t1\n"})))
    assert len(data.selection) == 6
    assert len(data.train) == 60 - 3 * len(set(data.selection.text))
    assert not set(data.train.text) & set(data.selection.text)


def test_the_same_file_twice_leaves_nothing_to_train_on(tmp_path: Path) -> None:
    source = folder(tmp_path, {"train.tsv": reviews(0, 10), "dev.tsv": reviews(0, 10)})
    with pytest.raises(UserError, match="no labelled training row is left"):
        load_dataset(DataConfig(source=source))
    text = "text\tlabel\nsame\tgood\nsame\tbad\nsame\tgood\nsame\tbad\n"
    (Path(source) / "train.tsv").write_text(text)
    with pytest.raises(UserError, match="no labelled training row is left"):
        load_dataset(DataConfig(source=source))


@pytest.mark.parametrize("hidden", ["text\tlabel\nx\t-1\ny\t-1\n", "text\nx\ny\n", "text\tlabel\nx\t\n"])
def test_test_split_without_labels_is_ignored(tmp_path: Path, hidden: str) -> None:
    files = {"train.tsv": reviews(0, 20), "dev.tsv": reviews(100, 5), "test.tsv": hidden}
    data = load_dataset(DataConfig(source=folder(tmp_path, files)))
    assert data.test is None
    assert "test: not used, because its rows have no labels" in data.notes


def test_regression(tmp_path: Path) -> None:
    rows = "".join(f"{sentence(number)}\t{sentence(number + 500)}\t{number / 4}\n" for number in range(40))
    header = "sentence1\tsentence2\tscore\n"
    files = {"train.tsv": header + rows, "dev.tsv": header + "a\tb\t2.5\nc\td\t\n", "test.tsv": header + "a\tb\t-1\n"}
    data = load_dataset(DataConfig(source=folder(tmp_path, files)))
    assert data.task == Task("reviews", load_kind("regression"))
    assert data.validation == Examples(["a"], [2.5], ["b"], ["0"])
    assert data.test is None
    assert "validation: 1 rows without a label were left out" in data.notes
    assert all(data.train.labels[row] == int(data.train.ids[row]) / 4 for row in range(len(data.train)))


def test_multilabel(tmp_path: Path) -> None:
    path = tmp_path / "topics.csv"
    path.write_text("text,label\n" + "".join(f"{sentence(n)},{'|'.join('abc'[: n % 4])}\n" for n in range(40)))
    data = load_dataset(DataConfig(source=str(path), task="multilabel"))
    assert (data.task.kind.name, data.task.labels) == ("multilabel", ("a", "b", "c"))
    expected = {0: None, 1: (0,), 2: (0, 1), 3: (0, 1, 2)}
    assert all(data.train.labels[row] == expected[int(name) % 4] for row, name in enumerate(data.train.ids))


def test_tagging_with_transfer_of_raw_text(tmp_path: Path) -> None:
    names = ["Ann", "Bob", "Cid", "Dan", "Eve", "Fay", "Gus"]
    train = "".join(f"{name} B-PER\nFoe I-PER\nsaw O\n{other} B-PER\n\n" for name in names for other in names)
    source = folder(tmp_path, {"train.txt": train, "valid.txt": "Ann B-PER\nran O\n"})
    more = tmp_path / "more.txt"
    more.write_text("Ann ran\nGus  swam home\n")
    data = load_dataset(DataConfig(source=source, transfer=(str(more),)))
    assert data.task == Task("reviews", load_kind("tagging"), ("B-PER", "I-PER", "O"))
    assert data.validation.labels == [(0, 2)]
    by_id = dict(zip(data.train.ids, data.train.text, strict=True))
    assert all(by_id[name] == [names[int(name) // 7], "Foe", "saw", names[int(name) % 7]] for name in by_id if name.isdigit())
    assert data.train.labels[0] == (0, 1, 2, 0)
    assert (data.train.text[-1], data.train.labels[-1]) == (["Gus", "swam", "home"], None)


def squad(*questions: tuple[str, str, list[tuple[str, int]] | None]) -> str:
    qas = [
        {"id": name, "question": text}
        | ({} if answers is None else {"answers": [{"text": one, "answer_start": start} for one, start in answers]})
        for name, text, answers in questions
    ]
    return json.dumps({"data": [{"paragraphs": [{"context": "Paris is in France.", "qas": qas}]}]})


def test_question_answering(tmp_path: Path) -> None:
    rows = [(f"q{number}", f"{sentence(number)}?", [("Paris", 3)]) for number in range(20)]
    files = {
        "train.json": squad(*rows, ("lost", "lost?", [("London", 0)]), ("open", "open?", None)),
        "dev.json": squad(("v0", "where?", [("France", 12)]), ("v1", "when?", [])),
    }
    data = load_dataset(DataConfig(source=folder(tmp_path, files)))
    assert (data.task.kind.name, data.task.unanswerable) == ("qa", True)
    assert data.validation == Examples(
        ["where?", "when?"], [(Answer("France", 12),), ()], ["Paris is in France."] * 2, ["v0", "v1"]
    )
    assert data.train.labels[0] == (Answer("Paris", 0),)
    assert (data.train.ids[-1], data.train.labels[-1]) == ("open", None)
    assert "lost" not in data.train.ids
    assert any("1 questions were left out, whose answer is not in their context" in note for note in data.notes)
    (tmp_path / "reviews" / "dev.json").write_text(squad(("v0", "where?", [("France", 12)])))
    assert not load_dataset(DataConfig(source=str(tmp_path / "reviews"))).task.unanswerable


def test_transfer_for_question_answering_needs_a_context(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(squad(*[(f"q{number}", f"{sentence(number)}?", [("Paris", 0)]) for number in range(20)]))
    (tmp_path / "more.txt").write_text("Where is it?\n")
    with pytest.raises(UserError, match="known as the question; its columns are text"):
        load_dataset(DataConfig(source=str(path), transfer=(str(tmp_path / "more.txt"),)))
    (tmp_path / "more.jsonl").write_text(lines({"question": "What?", "context": "That."}))
    data = load_dataset(DataConfig(source=str(path), transfer=(str(tmp_path / "more.jsonl"),)))
    assert (data.train.text[-1], data.train.labels[-1]) == ("What?", None)
    assert data.train.text_pair is not None
    assert data.train.text_pair[-1] == "That."


def test_rows_without_text_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": sentence(number), "label": number % 2} for number in range(20)]
    path.write_text(lines(*rows, {"text": " ", "label": 0}, {"text": None, "label": 1}, {"text": 17, "label": 1}))
    data = load_dataset(DataConfig(source=str(path)))
    assert sum(map(len, split_texts(data))) == 21
    assert f"{path}: 2 rows without text were left out" in data.notes


@pytest.mark.parametrize("mark", ["nan", "-", "None", "N/A", " NaN ", "null", "NA", "<NA>", "#N/A", float("nan")])
def test_marks_of_missing_values_are_no_texts(tmp_path: Path, mark: Any) -> None:
    path, more = tmp_path / "a.jsonl", tmp_path / "more.jsonl"
    rows = [{"text": sentence(number), "label": number % 2} for number in range(20)]
    path.write_text(lines(*rows, {"text": mark, "label": 0}, {"text": "na", "label": 0}, {"text": "none", "label": 1}))
    more.write_text(lines({"text": mark}, {"text": "more"}))
    data = load_dataset(DataConfig(source=str(path), transfer=(str(more),)))
    assert sum(map(len, split_texts(data))) == 23
    for file in (path, more):
        assert f"{file}: 1 rows without text were left out" in data.notes
        said = f"{file}: 1 rows have the text {str(mark).strip()}, which means no text"
        assert (said in data.notes) == isinstance(mark, str)
    given = read_texts(DataConfig(source=str(path)), load_kind("classification"), []).text
    assert (len(given), given[20]) == (23, mark if isinstance(mark, str) else "")  # what is typed is answered
    pairs = [{"sentence1": sentence(number), "sentence2": sentence(number + 50), "label": number % 2} for number in range(20)]
    path.write_text(lines(*pairs, {"sentence1": "one", "sentence2": mark, "label": 1}))
    assert sum(map(len, split_texts(load_dataset(DataConfig(source=str(path)))))) == 20


def test_marks_of_missing_values_are_words(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    words = ["nan", "-", "None", "N/A"]
    tags = ["O", "O", "B-X", "O"]
    rows = [{"tokens": [*words, sentence(number)], "ner_tags": [*tags, "O"]} for number in range(20)]
    path.write_text(lines(*rows, {"tokens": float("nan"), "ner_tags": ["O"]}))
    data = load_dataset(DataConfig(source=str(path)))
    assert sum(map(len, split_texts(data))) == 20
    assert data.train.text[0][:4] == words
    for missing in (None, float("nan"), ["a"], {"a": 1}):
        path.write_text(lines(*rows, {"tokens": ["a", missing], "ner_tags": tags[:2]}))
        with pytest.raises(UserError, match=r"line 21: .* stands among the words"):
            load_dataset(DataConfig(source=str(path)))


def test_lists_in_the_cells_of_csv_files(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    cells = ["['joy']", "['anger' 'joy']", '[""anger""]']
    path.write_text("text,labels\n" + "".join(f'{sentence(row)},"{cells[row % 3]}"\n' for row in range(30)))
    data = load_dataset(DataConfig(source=str(path)))
    assert (data.task.kind.name, data.task.labels) == ("multilabel", ("anger", "joy"))
    tagged = [f"\"['Ann', '{sentence(row)}']\",\"['B-PER' 'O']\"\n" for row in range(30)]
    for names in ("tokens,ner_tags", "sentence,labels"):
        path.write_text(f"{names}\n" + "".join(tagged))
        data = load_dataset(DataConfig(source=str(path), transfer=(str(path),)))
        assert (data.task.kind.name, data.task.labels) == ("tagging", ("B-PER", "O"))
        assert data.train.text[0] == ["Ann", sentence(int(data.train.ids[0]))]
        assert read_texts(DataConfig(source=str(path)), data.task.kind, []).text[1] == ["Ann", sentence(1)]
    answer = "{'text': array(['Ann'], dtype=object), 'answer_start': array([3])}"
    asked = [f'who {sentence(row)}?,"In {sentence(row)}, Ann.","{answer}"\n' for row in range(30)]
    path.write_text("question,context,answers\n" + "".join(asked))
    data = load_dataset(DataConfig(source=str(path)))
    assert (data.task.kind.name, {labels[0].text for labels in data.train.labels}) == ("qa", {"Ann"})


def test_texts_that_are_lists_stay_texts_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"\"['{sentence(row)}', 'x']\",{row % 2}\n" for row in range(20)))
    data = load_dataset(DataConfig(source=str(path)))
    assert data.train.text[0].startswith("['")
    assert f"{path}: the texts in column 'text' are lists as text, and are read as they stand" in data.notes


def test_answers_that_are_all_lost_or_all_impossible(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(squad(*[(f"q{number}", f"{sentence(number)}?", [("London", 3)]) for number in range(20)]))
    for read in (load_dataset, load_evaluation):
        with pytest.raises(
            UserError, match=r"20 questions were left out, whose answer is not in their context.*\n.*\n.*London"
        ):
            read(DataConfig(source=str(path)))
    path.write_text(squad(*[(f"q{number}", f"{sentence(number)}?", []) for number in range(20)]))
    with pytest.raises(UserError, match="all 20 questions are said to have no answer"):
        load_dataset(DataConfig(source=str(path)))


SIDES = "".join(f"good movie {row},pos\nbad movie {row},neg\n" for row in range(20))


@pytest.mark.parametrize(
    ("name", "content", "labels"),
    [
        ("bom.csv", f"\ufefftext,label\n{SIDES}", ("neg", "pos")),
        ("windows.csv", f"text,label\n{SIDES}".replace("\n", "\r\n"), ("neg", "pos")),
        ("windows.tsv", f"text,label\n{SIDES}".replace(",", "\t").replace("\n", "\r\n"), ("neg", "pos")),
        ("gaps.csv", f"text,label\n,pos\n{SIDES}", ("neg", "pos")),
        ("floats.csv", f"text,label\n{SIDES}".replace("pos", "1.0").replace("neg", "0.0"), ("0", "1")),
    ],
)
def test_files_of_other_programs_are_read(tmp_path: Path, name: str, content: str, labels: tuple[str, ...]) -> None:
    (tmp_path / name).write_bytes(content.encode())
    data = load_dataset(DataConfig(source=str(tmp_path / name)))
    assert data.task.labels == labels
    given = [line.split(",")[0] for line in SIDES.splitlines()]
    assert sorted(text for split in split_texts(data) for text in split) == sorted(given)


@pytest.mark.parametrize(
    ("train", "validation", "options", "message"),
    [
        ("text\tlabel\na\t1\nb\t1\n", None, {}, "all 2 labels are '1' (column 'label'"),
        ("text\tlabel\na\t-1\nb\t\n", None, {}, "no row has a label (column 'label'"),
        ("text\tlabel\na\t1\nb\t0\n", None, {}, "2 labelled rows and no validation split"),
        (reviews(0, 9), "text\tlabel\na\tgood\nb\tugly\nc\tawful\n", {}, "training rows lack: 'awful', 'ugly'\n"),
        (reviews(0, 9), "sentence\tlabel\na\tgood\n", {}, "dev.tsv has no column 'text'\n  expected: one of sentence"),
        (reviews(0, 9), None, {"task": "regression"}, "train.tsv, line 2: the label 'bad' is not a number"),
        (reviews(0, 9), None, {"label": "stars"}, "no column 'stars'\n  expected: one of text, label"),
        ("text\tscore\na\t0.5\nb\t0.5\nc\t0.5\n", None, {}, "all 3 labels are '0.5'"),
        ("text\tscore\na\t0.5\nb\t1\nc\tinf\n", None, {}, "line 4: the label 'inf' is not finite"),
        ("text\tlabel\n \t1\n \t0\n", None, {}, "no row has a text in column 'text'"),
        ("words\ttags\na b\tO O\nc\tO B-X\n", None, {}, "line 3: 2 tags do not match 1 words"),
        ("words\ttags\na b\tO O\nc\tO\n", None, {}, "all 2 labels are 'O'"),
    ],
)
def test_data_that_cannot_be_used(
    tmp_path: Path, train: str, validation: str | None, options: dict[str, Any], message: str
) -> None:
    source = folder(tmp_path, {"train.tsv": train} | ({} if validation is None else {"dev.tsv": validation}))
    with pytest.raises(UserError) as caught:
        load_dataset(DataConfig(source=source, **options))
    assert message in str(caught.value)


def test_multilabel_with_empty_lists_only(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines({"text": "a", "labels": []}, {"text": "b", "labels": []}))
    with pytest.raises(UserError, match="the lists of labels are all empty"):
        load_dataset(DataConfig(source=str(path)))


def test_evaluation_of_a_file_or_folder(tmp_path: Path) -> None:
    path = tmp_path / "some.tsv"
    path.write_text("text\tlabel\na\tgood\nb\tgood\nc\t\n")
    data = load_evaluation(DataConfig(source=str(path)))
    assert (data.validation.text, data.validation.labels, data.task.labels) == (["a", "b"], [0, 0], ("good",))
    assert len(data.train) == len(data.selection) == 0
    assert data.notes[-1] == "evaluated on: 2 rows of train"
    files = {"train.tsv": reviews(0, 5), "dev.tsv": "text\tlabel\na\tgood\n"}
    data = load_evaluation(DataConfig(source=folder(tmp_path, files)))
    assert (data.validation.text, data.validation.labels, data.task.labels) == (["a"], [1], ("bad", "good"))
    path.write_text("text\tlabel\na\t\n")
    with pytest.raises(UserError, match="no row has a label"):
        load_evaluation(DataConfig(source=str(path)))


def test_texts_to_predict(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text("id,text,sentence1,sentence2\n7,plain,left,\n8,,a,b\n")
    some = DataConfig(source=str(path))
    single = read_texts(some, load_kind("classification"), [], {"text": "text", "text_pair": None})
    assert single == Examples(["plain", ""], [None, None], None, ["0", "1"])
    pair = read_texts(some, load_kind("regression"), [])  # a model from elsewhere: what is found
    assert (pair.text, pair.text_pair) == (["left", "a"], ["", "b"])
    reversed_ = read_texts(
        some, load_kind("classification"), [], {"text": "sentence2", "text_pair": "sentence1", "label": "id"}
    )
    assert (reversed_.text, reversed_.text_pair) == (["", "b"], ["left", "a"])
    absent = read_texts(some, load_kind("classification"), [], {"text": "opinion", "text_pair": None})
    assert (absent.text, absent.text_pair) == (["plain", ""], None)
    words = tmp_path / "lines.txt"
    words.write_text("Ann ran\n")
    assert read_texts(DataConfig(source=str(words)), load_kind("tagging"), []).text == [["Ann", "ran"]]
    questions = tmp_path / "q.json"
    questions.write_text(squad(("a", "where?", None)))
    found = read_texts(DataConfig(source=str(questions)), load_kind("qa"), [])
    assert (found.text, found.text_pair, found.ids) == (["where?"], ["Paris is in France."], ["a"])


def test_columns_of_the_training_data_are_evaluated_where_they_are_there(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text("text,opinion,label,verdict\nlong,short,a,c\nlonger,shorter,b,d\n")
    usual = {"text": "opinion", "text_pair": None, "label": "verdict"}
    data = load_evaluation(DataConfig(source=str(path)), usual)
    assert (data.validation.text, data.task.labels) == (["short", "shorter"], ("c", "d"))
    given = load_evaluation(DataConfig(source=str(path), text="text", label="label"), usual)
    assert (given.validation.text, given.task.labels) == (["long", "longer"], ("a", "b"))
    absent = load_evaluation(DataConfig(source=str(path)), {"text": "nope", "label": "none"})
    assert (absent.validation.text, absent.task.labels) == (["long", "longer"], ("a", "b"))


def test_half_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine", "label": "a"}\n{"text": "broken \\ud800", "label": "b"}\n')
    with pytest.raises(UserError, match=r"line 2.*half of a surrogate pair, '\\ud800'"):
        load_dataset(DataConfig(source=str(path)))


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([{"text": "one", "label": "a"}, {"text": "two", "label": "b \ud800"}], "label"),
        ([{"tokens": ["one"], "tags": ["O"]}, {"tokens": ["two"], "tags": ["B-\ud800"]}], "tag"),
    ],
)
def test_half_a_surrogate_pair_is_no_label(tmp_path: Path, rows: list[dict[str, Any]], what: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(lines(*rows))
    with pytest.raises(UserError, match=rf"line 2: the {what} holds half of a surrogate pair"):
        load_dataset(DataConfig(source=str(path)))


def passages(contexts: int, unlabelled: int = 0) -> str:
    """Three questions on each context; those of the last `unlabelled` contexts have no answers key."""
    paragraphs = []
    for number in range(contexts):
        answers = {} if number >= contexts - unlabelled else {"answers": [{"text": "amber", "answer_start": 0}]}
        asked = [{"id": f"{number}-{one}", "question": f"What is {sentence(3 * number + one)}?", **answers} for one in range(3)]
        paragraphs.append({"context": f"amber {sentence(number)}", "qas": asked})
    return json.dumps({"data": [{"paragraphs": paragraphs}]})


def test_questions_are_held_out_with_their_contexts(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text(passages(40, unlabelled=4))
    data = load_dataset(DataConfig(source=str(path)))
    contexts = [set(rows.text_pair or ()) for rows in (data.train, data.selection, data.validation)]
    assert not contexts[0] & contexts[1]
    assert not contexts[0] & contexts[2]
    assert not contexts[1] & contexts[2]
    # A tenth of 108 labelled questions are 11, so 4 contexts of 3; a tenth of the 96 that are left are 10, again 4.
    assert [len(rows) for rows in (data.validation, data.selection, data.train)] == [12, 12, 96]
    assert any("whole contexts, 4 of them" in note for note in data.notes)


def test_text_of_unlabelled_test_rows_is_dropped_from_transfer(tmp_path: Path) -> None:
    hidden = "text\tlabel\n" + "".join(f"{sentence(number)}\t-1\n" for number in range(200, 208))
    files = {"train.tsv": reviews(0, 100), "dev.tsv": reviews(100, 20), "test.tsv": hidden}
    more = tmp_path / "more.txt"
    more.write_text("".join(f"{sentence(number)}\n" for number in range(200, 212)))
    data = load_dataset(DataConfig(source=folder(tmp_path, files), transfer=(str(more),)))
    assert data.test is None
    assert len(data.train) - len(data.train.labelled) == 4
    assert any("8 without a label were dropped" in note for note in data.notes)


def test_empty_cells_of_multilabel_data_are_said(tmp_path: Path) -> None:
    path = tmp_path / "topics.csv"
    cells = ["sport|news", "news", "", "sport", "art|news"]
    path.write_text("text,labels\n" + "".join(f"{sentence(row)},{cells[row % 5]}\n" for row in range(50)))
    data = load_dataset(DataConfig(source=str(path), task="multilabel"))
    assert any("10 rows have an empty cell in `labels`" in note for note in data.notes)


@pytest.mark.parametrize("kind", ["classification", "tagging", "qa"])
@pytest.mark.parametrize(("texts", "pairs"), [(["fine", "broken \udcff"], ["a", "b"]), (["a", "b"], ["fine", "\ud800"])])
def test_typed_texts_are_text(kind: str, texts: list[str], pairs: list[str]) -> None:
    with pytest.raises(UserError, match=r"--text(-pair)? 2: the text holds half of a surrogate pair"):
        load_kind(kind).given_texts(texts, pairs)


def test_every_decision_about_columns_and_lines_is_said(tmp_path: Path) -> None:
    rows = "".join(f"{sentence(number)}\ta title of {sentence(number)}\t{number % 2}\n" for number in range(30))
    path = tmp_path / "news.tsv"
    path.write_text("body\ttitle\tlabel\n" + rows)
    notes = load_dataset(DataConfig(source=str(path))).notes
    assert "text that is not read: column `title`; if one belongs to the text, name it with --text-pair" in notes
    assert not any(
        "not read" in note for note in load_dataset(DataConfig(source=str(path), text_pair="title", text="body")).notes
    )
    tagged = tmp_path / "tagged.conll"
    tagged.write_text("".join(f"# id {number}\n{WORDS[number % 10]}{number} B-X\nb O\n\n" for number in range(20)))
    assert (
        f"{tagged}: 20 comment lines, which begin with #, were left out" in load_dataset(DataConfig(source=str(tagged))).notes
    )
    config = DataConfig(source=str(path), text="body", transfer=(str(tmp_path / "more.tsv"),))
    (tmp_path / "more.tsv").write_text("body,n\nsome new text,1\n")
    assert f"{tmp_path / 'more.tsv'}: read as CSV, because there is no tab in it" in load_dataset(config).notes


def tagged_rows(path: Path, *tags: Any) -> str:
    path.write_text(lines(*({"tokens": [f"w{row}", "b"], "ner_tags": [tags[row % len(tags)], tags[0]]} for row in range(30))))
    return str(path)


@pytest.mark.parametrize(
    "tags",
    [
        ("O", "B-X", "I-X", "L-X", "U-X"),
        ("O", "B-X", "M-X", "E-X", "W-X"),
        ("O", "B-X", "M-X", "E-X", "S-X"),
        ("O", "B-X", "I-X", "E-X", "S-X"),
        ("O", "B", "I"),
        ("O", "I-X", "I-Y"),
        (0, 1, 2),
    ],
)
def test_tags_of_every_scheme_are_read(tmp_path: Path, tags: tuple[Any, ...]) -> None:
    data = load_dataset(DataConfig(source=tagged_rows(tmp_path / "a.jsonl", *tags)))
    assert data.task.kind.name == "tagging"
    assert data.task.labels == tuple(sorted(map(str, tags)))


@pytest.mark.parametrize("tags", [("O", "L-X", "E-X"), ("O", "U-X", "S-X"), ("O", "M-X", "I-X"), ("O", "B", "B-X"), ("O", 1)])
def test_tags_of_several_schemes_are_refused(tmp_path: Path, tags: tuple[Any, ...]) -> None:
    with pytest.raises(UserError, match=r"the tags are of several schemes(?s:.*)BILOU"):
        load_dataset(DataConfig(source=tagged_rows(tmp_path / "a.jsonl", *tags)))


def test_tags_that_are_numbers_are_those_of_the_teacher(tmp_path: Path) -> None:
    data = load_dataset(DataConfig(source=tagged_rows(tmp_path / "a.jsonl", 0, 1, 2)))
    assert align_labels(data, ("O", "B-X", "I-X"), {}).task.labels == ("O", "B-X", "I-X")
    with pytest.raises(UserError, match=r"the tags are numbers, '0', '1', '2'"):
        data.task.kind.check_own_names(data.task.labels, "a.jsonl")
