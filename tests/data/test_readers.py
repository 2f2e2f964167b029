from __future__ import annotations

import gzip
import json
import os
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stillhouse.data.readers.formats import read_table
from stillhouse.data.readers.records import name_classes
from stillhouse.errors import UserError

SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "t",
            "paragraphs": [
                {
                    "context": "Paris is in France.",
                    "qas": [
                        {"id": "a", "question": "Where?", "answers": [{"text": "France", "answer_start": 12}]},
                        {"id": "b", "question": "When?", "answers": [], "is_impossible": True},
                        {"id": "c", "question": "Why?"},
                    ],
                }
            ],
        }
    ],
}


def write(folder: Path, name: str, content: str | bytes) -> Path:
    data = content if isinstance(content, bytes) else content.encode()
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_csv_quotes_and_line_numbers(tmp_path: Path, ending: str) -> None:
    # The first row spans lines 2 and 3, so the second one starts on line 4; blank line 5 is no row.
    table = read_table(write(tmp_path, f"a.csv{ending}", 'text,label\r\n"one,\ntwo ""x""",1\r\nthree,0\r\n\r\nfour,1\r\n'))
    assert table.columns == {"text": ['one,\ntwo "x"', "three", "four"], "label": ["1", "0", "1"]}
    assert list(table.lines) == [2, 4, 6]
    assert table.where(1).endswith(f"a.csv{ending}, line 4")


def test_csv_with_semicolons_and_byte_order_mark(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.csv", b"\xef\xbb\xbftext;label\na, b;1\n"))
    assert table.columns == {"text": ["a, b"], "label": ["1"]}


@pytest.mark.parametrize(
    ("header", "row", "columns"),
    [
        ("text\tlabel", "a, b\t1", {"text": ["a, b"], "label": ["1"]}),
        ('"text"\t"label"', '"a\tb"\t"1"', {"text": ["a\tb"], "label": ["1"]}),
        ('"text, as written"\tlabel', "a\t1", {"text, as written": ["a"], "label": ["1"]}),
        ("text|label", "a, b|1", {"text": ["a, b"], "label": ["1"]}),
        ("text;label", "a\tb;1", {"text": ["a\tb"], "label": ["1"]}),
        ("text,label;x", "a;b,1", {"text": ["a;b"], "label;x": ["1"]}),
        ("sep=;\ntext;label", "a, b;1", {"text": ["a, b"], "label": ["1"]}),
        ('"sep=|"\r\ntext, or so|label', "a|1", {"text, or so": ["a"], "label": ["1"]}),
        ("\ufeff\ufefftext,label", "a,1", {"text": ["a"], "label": ["1"]}),
        ("text", "a\tb", {"text": ["a\tb"]}),
    ],
)
def test_csv_with_other_delimiters(tmp_path: Path, header: str, row: str, columns: object) -> None:
    table = read_table(write(tmp_path, "a.csv", f"{header}\n{row}\n"))
    assert table.columns == columns
    assert table.where(0).endswith(f"line {2 + header.count('sep=')}")


def test_tsv_without_tabs_is_read_as_csv_where_that_makes_columns(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.tsv", 'text,label\n"a, b",1\n'))
    assert table.columns == {"text": ["a, b"], "label": ["1"]}
    assert table.notes == ("read as CSV, because there is no tab in it",)
    for text in ("text\na, b\nc\n", "one, two\na, b\nc\n"):
        assert len(read_table(write(tmp_path, "a.tsv", text)).columns) == 1


def test_tsv_that_excel_names_the_delimiter_of(tmp_path: Path) -> None:
    assert read_table(write(tmp_path, "a.tsv", "sep=\t\ntext\tlabel\na\t1\n")).columns == {"text": ["a"], "label": ["1"]}


def test_columns_without_a_name_and_without_content_do_not_count(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.csv", "v1,v2,,,\nspam,win,,,\nham,hello,, ,\n"))
    assert table.columns == {"v1": ["spam", "ham"], "v2": ["win", "hello"]}
    assert read_table(write(tmp_path, "a.tsv", "text\tlabel\t\na\tx\t\n")).columns == {"text": ["a"], "label": ["x"]}
    # pandas' index
    numbered = read_table(write(tmp_path, "a.csv", ",text,\n0,a,\n1,b,\n"))
    assert numbered.columns == {"": ["0", "1"], "text": ["a", "b"]}


def test_csv_field_longer_than_the_module_allows(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.csv", f"text,label\n{'x' * 200_003},1\n"))
    assert len(table.columns["text"][0]) == 200_003


def test_tsv_takes_quotes_and_unicode_separators_as_they_are(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.tsv.gz", 'text\tlabel\n"He said\t1\nline\u2028separator\t0\n'))
    assert table.columns == {"text": ['"He said', "line\u2028separator"], "label": ["1", "0"]}


def test_json_lines_with_missing_keys(tmp_path: Path) -> None:
    lines = '{"text": "a", "label": 1}\n\n{"text": "b"}\n'
    for name in ("a.jsonl", "a.json", "a.jsonl.gz"):
        table = read_table(write(tmp_path, name, lines))
        assert table.columns == {"text": ["a", "b"], "label": [1, None]}
        assert list(table.lines) == [1, 3]


@pytest.mark.parametrize("document", [[{"text": "a"}, {"text": "b"}], {"data": [{"text": "a"}, {"text": "b"}]}])
def test_json_lists(tmp_path: Path, document: object) -> None:
    assert read_table(write(tmp_path, "a.json", json.dumps(document, indent=1))).columns == {"text": ["a", "b"]}


PANDAS = {"text": ["a", "b"], "label": ["x", "y"]}


@pytest.mark.parametrize(
    "document",
    [
        PANDAS,
        {name: {"0": values[0], "1": values[1]} for name, values in PANDAS.items()},  # to_json()
        {name: {"7": values[0], "2": values[1]} for name, values in PANDAS.items()},  # of rows that were chosen
        {"0": {"text": "a", "label": "x"}, "1": {"text": "b", "label": "y"}},  # orient="index"
        {"columns": ["text", "label"], "index": [0, 1], "data": [["a", "x"], ["b", "y"]]},  # orient="split"
        {"schema": {}, "data": [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]},  # orient="table"
        {"rows": [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]},
    ],
)
def test_json_of_other_forms_than_a_list(tmp_path: Path, document: object) -> None:
    assert read_table(write(tmp_path, "a.json", json.dumps(document))).columns == PANDAS


@pytest.mark.parametrize(
    "record",
    [
        {"text": "a"},
        {"text": "a", "labels": ["x", "y"]},
        {"question": "q", "context": "c", "answers": {"text": ["x"], "answer_start": [0]}},
        {"tokens": ["a", "b"], "ner_tags": ["O", "B-X"]},
    ],
)
def test_json_with_one_object_that_is_one_row(tmp_path: Path, record: dict[str, object]) -> None:
    columns = {name: [value] for name, value in record.items()}
    assert read_table(write(tmp_path, "a.json", json.dumps(record))).columns == columns


def test_squad(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.json.gz", json.dumps(SQUAD)))
    assert table.columns["id"] == ["a", "b", "c"]
    assert table.columns["answers"] == [[{"text": "France", "start": 12}], [], None]
    assert table.columns["is_impossible"] == [False, True, False]
    assert set(table.columns["context"]) == {"Paris is in France."}


def test_squad_with_a_broken_article(tmp_path: Path) -> None:
    broken = {"data": [*SQUAD["data"], {"paragraphs": [{"qas": []}, {"qas": [{"id": "d"}]}]}]}
    with pytest.raises(UserError, match="article 2 breaks the form"):
        read_table(write(tmp_path, "a.json", json.dumps(broken)))


@pytest.mark.parametrize("name", ["a.txt", "a.conll", "a.bio.gz"])
def test_conll(tmp_path: Path, name: str) -> None:
    text = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n \nPeter\tNNP\tB-PER\n"
    table = read_table(write(tmp_path, name, text))
    assert table.columns == {"words": [["EU", "rejects"], ["Peter"]], "tags": [["B-ORG", "O"], ["B-PER"]]}
    assert list(table.lines) == [3, 6]


def test_conll_line_with_one_field(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 2 has one field: 'rejects'"):
        read_table(write(tmp_path, "a.conll", "EU B-ORG\nrejects\n"))


def test_plain_text_is_a_text_a_line(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.txt", "A first line.\n\n  Vitamin O\nThe last\n"))
    assert table.columns == {"text": ["A first line.", "Vitamin O", "The last"]}
    assert list(table.lines) == [1, 3, 4]


@pytest.mark.parametrize(
    ("text", "words", "comments"),
    [
        ("# id 0 domain=x\na _ _ B-X\n# _ _ O\n\n# text = an O\nb _ _ O\n", [["a", "#"], ["b"]], 2),
        ("# newdoc\n# sent_id = 1\n\na NN O\n#\tNN\tO\n", [["a", "#"]], 2),
        ("# id 3\na O\n", [["a"]], 1),
        ("#newdoc\na O\n", [["a"]], 1),
        ("#one B-X\na O\n\n#two O\n\n# O\n", [["#one", "a"], ["#two"], ["#"]], 0),
        ("#a O\n#b O\n", [["#a", "#b"]], 0),
    ],
)
@pytest.mark.parametrize("name", ["a.conll", "a.txt"])
def test_conll_comments_stand_before_sentences(
    tmp_path: Path, name: str, text: str, words: list[list[str]], comments: int
) -> None:
    table = read_table(write(tmp_path, name, text))
    assert table.columns["words"] == words
    said = f"{comments} comment lines, which begin with #, were left out"
    assert list(table.notes) == ([said] if comments else [])


def test_conll_with_any_last_column_keeps_its_words(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.conll", "# id = 4\na DT\n# SYM\nb NN\n\n#c NN\n"))
    assert table.columns == {"words": [["a", "#", "b"], ["#c"]], "tags": [["DT", "SYM", "NN"], ["NN"]]}


def test_text_with_headings_is_no_conll(tmp_path: Path) -> None:
    assert "text" in read_table(write(tmp_path, "a.txt", "# A heading\n\nSome prose.\n# Another\nMore.\n")).columns


@pytest.mark.parametrize("name", ["a.parquet", "a.parquet.gz"])
def test_parquet_with_class_names(tmp_path: Path, name: str) -> None:
    features = {
        "label": {"names": ["bad", "good"], "_type": "ClassLabel"},
        "text": {"dtype": "string", "_type": "Value"},
    }
    rows = pa.table({"text": ["a", "b", "c"], "label": [1, 0, None]})
    rows = rows.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    table = read_table(write(tmp_path, name, sink.getvalue().to_pybytes()))
    assert table.columns == {"text": ["a", "b", "c"], "label": ["good", "bad", None]}
    assert table.where(2).endswith("row 3")


def test_class_names_of_tags_and_of_hidden_labels() -> None:
    feature = {"names": ["O", "B-X"], "_type": "ClassLabel"}
    named = name_classes(
        {"tags": [[0, 1], [1]], "label": [-1, 1]}, {"tags": {"feature": feature, "_type": "List"}, "label": feature}, "rows"
    )
    assert named == {"tags": [["O", "B-X"], ["B-X"]], "label": [-1, "B-X"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.tsv", b"\xef\xbb\xbf\n", "is empty"),
        ("a.csv.gz", "", "is empty"),
        ("a.csv", "text,label\n", "header but no rows"),
        ("a.tsv", "text\tlabel\n\n", "header but no rows"),
        ("a.tsv", "text\tlabel\na\t1\nb\n", "line 3 has 1 fields\n  expected: 2, as in the header: text, label"),
        ("a.csv", "text,label\n\na,b,1\n", "line 3 has 3 fields"),
        ("a.csv", "text,text\na,b\n", "names a column twice: text"),
        ("a.csv", 'text,label\na,1\n"open,1\nb,2\n', "row that starts on line 3 is not CSV"),
        ("a.csv", "text,label\na,1\ncaf\xe9,0\n".encode("latin-1"), "the row on line 3 holds the byte 0xE9"),
        ("a.txt.gz", b"fine\nnot \xff fine\n", "not UTF-8 text: the row on line 2"),
        ("a.jsonl", '{"text": "a"}\n{"text": }\n', "line 2 is not JSON"),
        ("a.jsonl", '{"text": "a"}\n[1]\n', "line 2 is list, not an object"),
        ("a.json", "[1, 2]", "row 1 is int, not an object"),
        ("a.json", "[]", "holds no rows"),
        ("a.json", '[{"text": "a"},\n]', "line 2 is not JSON"),
        ("a.json", '{"data": [{"paragraphs": []}]}', "holds no questions"),
        ("a.conll", "-DOCSTART- O\n\n", "no sentences"),
        ("a.parquet", b"PAR1 but no more", "is not a Parquet file"),
        ("a.csv", "sep=;\n", "has a header but no rows"),
        (
            "a.csv",
            "text,label\na, b,1\n",
            "line 2 has 3 fields\n  expected: 2, as in the header: text, label\n  fix: put a text",
        ),
        ("a.csv", "v1,v2,,\nspam,a,,\nham,b,c,\n", "column 3 has no name in the header, but line 3 holds 'c' there"),
        ("a.csv", ",,text\n0,0,a\n", "column 2 has no name in the header, but line 2 holds '0' there"),
        ("a.csv", ",".join(f"c{n}" for n in range(10_000)) + "\n1\n", "c9 and 9,990 more\n"),
        (
            "a.csv",
            "text,label\na,1\n".encode("utf-16-le"),
            "more zero bytes than text has\n  expected: UTF-8\n  fix: convert the file",
        ),
        ("a.csv", "text,label\na,1\n".encode("utf-16-be"), "iconv -f UTF-16BE"),
        ("a.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "what Git LFS left in the place of a file"),
        ("a.conll", "a O\n# a comment here\nb O\n", "line 2 is a comment inside of a sentence: '# a comment here'"),
        ("a.json", '{"a17": {"text": "x"}, "b3": {"text": "y"}}', "its keys are a17, b3\n  expected: a list of objects"),
        ("a.json", '{"text": ["a", "b"], "label": ["x"]}', "makes no rows: its keys are text, label"),
        ("a.json", '{"text": {}, "label": {}}', "holds no rows"),
        ("a.json", '{"data": [["a"]], "columns": ["b", "c"]}', "row 1 is list, not an object"),
        ("a.json", '[{"text": "a", "text": "b"}]', "stands twice in one object"),
        ("a.json", "[" * 3000, "nested"),
        ("a.jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}\n", "line 1 cannot be used: a whole number has more than"),
        ("a.docx", "text", "no known format\n  expected: a name ending in .csv"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_table(write(tmp_path, name, content))
    assert message in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_files_that_are_not_there_or_not_whole(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file .*none\.csv"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(UserError, match="is a folder"):
        read_table(tmp_path)
    cut = tmp_path / "cut.tsv.gz"
    cut.write_bytes(gzip.compress(b"text\tlabel\n" + bytes(range(65, 91)) * 50)[:-9])
    with pytest.raises(UserError, match="not a whole gzip file"):
        read_table(cut)
    (tmp_path / "plain.tsv.gz").write_text("text\tlabel\n")
    with pytest.raises(UserError, match="not a whole gzip file"):
        read_table(tmp_path / "plain.tsv.gz")


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(UserError, match="is no ordinary file"):
        read_table(tmp_path / "a.csv")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "b.csv"))
        with pytest.raises(UserError, match="is no ordinary file"):
            read_table(tmp_path / "b.csv")
    (tmp_path / "c.csv").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="is no ordinary file"):
        read_table(tmp_path / "c.csv")


def test_parquet_that_python_cannot_hold(tmp_path: Path) -> None:
    twice = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    far = pa.table({"text": ["a"], "day": pa.array([12_000_000], pa.date32())})
    named = json.dumps({"info": {"features": {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}}})
    unnamed = pa.table({"text": ["a", "b"], "label": [0, 2]})
    for rows, message in (
        (twice, "names a column twice: text"),
        (far, "column 'day' holds what Python has no value for"),
        (unnamed.replace_schema_metadata({"huggingface": named}), "column 'label' holds the class 2 in row 2"),
        (unnamed.replace_schema_metadata({"huggingface": "{"}), "what `datasets` wrote into .* is not JSON"),
        (unnamed.replace_schema_metadata({"huggingface": "[]"}), "describes no columns"),
    ):
        pq.write_table(rows, tmp_path / "a.parquet")
        with pytest.raises(UserError, match=message):
            read_table(tmp_path / "a.parquet")


def test_parquet_without_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="columns but no rows"):
        read_table(tmp_path / "a.parquet")


def test_missing_column_names_the_columns_there_are(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.csv", "review,stars\na,1\n"))
    with pytest.raises(UserError, match=r"no column 'reviews'\n  expected: one of review, stars\n  fix: did you mean 'review'"):
        table.column("reviews")


def test_damaged_pages_of_a_parquet_file_are_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    table = pa.table({"text": [f"a longer text that is compressed {row % 7}" for row in range(500)], "label": ["a", "b"] * 250})
    pq.write_table(table, path, compression="snappy")
    content = bytearray(path.read_bytes())
    content[60:120] = b"\xff" * 60
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not a Parquet file"):
        read_table(path)


def test_a_parquet_string_that_is_not_utf8_is_said_with_its_row(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"caf\xe9", b"fine"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"text": text, "label": ["a", "b", "a"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"row 2 is not UTF-8 text: column 'text' holds the byte 0xE9"):
        read_table(tmp_path / "a.parquet")
