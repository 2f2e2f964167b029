from __future__ import annotations

import gzip
import json
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


def test_json_with_one_object_is_one_row(tmp_path: Path) -> None:
    assert read_table(write(tmp_path, "a.json", '{"text": "a"}\n')).columns == {"text": ["a"]}


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
        {"tags": [[0, 1], [1]], "label": [-1, 1]}, {"tags": {"feature": feature, "_type": "List"}, "label": feature}
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
