"""Files of plain text, as documents and in parts."""

import gzip
import json
import os
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.corpus import text_files
from stillhouse.corpus.text_files import LONGEST, Part, find_files, in_parts, read_file
from stillhouse.errors import UserError

POEM = "A title\nA first line.\n\nAnother title\nIts line.\n"


def write(path, content):
    data = content if isinstance(content, bytes) else content.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def joined(parts):
    found = []
    for text, begins in parts:
        found[len(found) if begins else -1 :] = [text if begins else found[-1] + text]
    return found


def read(path, column=None):
    return joined(part for file in find_files(path) for part in read_file(file, column))


@pytest.mark.parametrize("name", ["a.txt", "a.TXT.gz"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (POEM, ["A title\nA first line.", "Another title\nIts line."]),
        (POEM.replace("\n", "\r\n"), ["A title\nA first line.", "Another title\nIts line."]),
        ("one\n \t\n\n\ntwo", ["one", "two"]),
        ("one\ntwo\nthree\n", ["one", "two", "three"]),
        # Empty lines before and after all text part nothing.
        ("\n\none\ntwo\n\n", ["one", "two"]),
        (b"\xef\xbb\xbfone\ntwo", ["one", "two"]),
        ("the line\u2028goes on\nand ends\n", ["the line\u2028goes on", "and ends"]),
        ("", []),
        ("\n \n", []),
    ],
)
def test_documents_of_a_text(tmp_path, name, content, expected):
    assert read(write(tmp_path / name, content)) == expected


def test_every_file_is_parted_by_its_own_lines(tmp_path):
    write(tmp_path / "b" / "a.txt", POEM)
    write(tmp_path / "a.txt", "one\ntwo\n")
    write(tmp_path / "b" / "c" / "d.jsonl", '{"text": "a row"}\n')
    write(tmp_path / "b.txt.gz", "packed")
    write(tmp_path / "image.png", b"\x89PNG\xff")
    write(tmp_path / ".hidden.txt", "no")
    write(tmp_path / ".git" / "c.txt", "no")
    assert read(tmp_path) == ["one", "two", "A title\nA first line.", "Another title\nIts line.", "a row", "packed"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson.gz"])
def test_rows_of_json(tmp_path, name):
    rows = [{"id": 1, "text": "one", "title": "x"}, {"id": 2, "title": "y"}, {"text": None}, {"text": "two\n\nparts"}]
    path = write(tmp_path / name, "\n".join(map(json.dumps, rows)) + "\n\n")
    assert read(path) == ["one", "two\n\nparts"]
    assert read(path, "title") == ["x", "y"]


@pytest.mark.parametrize("name", ["a.parquet", "a.parquet.gz"])
def test_rows_of_parquet(tmp_path, name):
    words = pa.array(["one", None, "two"])
    for texts in (words, words.cast(pa.large_string()), words.dictionary_encode()):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"id": [1, 2, 3], "text": texts, "title": ["x", "y", "z"]}), sink)
        path = write(tmp_path / name, sink.getvalue().to_pybytes())
        assert read(path) == ["one", "two"]
        assert read(path, "title") == ["x", "y", "z"]


def test_the_only_column_of_strings_is_the_text(tmp_path):
    assert read(write(tmp_path / "a.jsonl", '{"n": 1, "poem": "a"}')) == ["a"]


@given(st.lists(st.tuples(st.text("ab \n", max_size=40), st.booleans()), max_size=12), st.integers(2, 9))
def test_where_a_document_is_cut_follows_from_its_text_alone(fragments, longest):
    whole = joined([("", True), *(Part(*fragment) for fragment in fragments)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_files, "LONGEST", longest)
        cut = list(in_parts(Part(*fragment) for fragment in fragments))
        assert cut == list(in_parts(Part(text, True) for text in whole))
    assert all(0 < len(part.text) <= longest for part in cut)
    assert joined(cut) == [text for text in whole if text]


def test_cuts_are_before_white_space(monkeypatch):
    monkeypatch.setattr(text_files, "LONGEST", 10)
    assert [part.text for part in in_parts([Part("one two three four", True)])] == ["one two", " three", " four"]
    assert [part.text for part in in_parts([Part("a" * 23, True)])] == ["a" * 10, "a" * 10, "aaa"]


@pytest.mark.parametrize("word", ["word ", "word"])
def test_a_line_of_ten_megabytes_comes_in_parts(tmp_path, word):
    path = write(tmp_path / "a.txt", word * (10_000_000 // len(word)) + "\nnext\n")
    tracemalloc.start()
    sizes = [(len(text), begins) for text, begins in read_file(find_files(path)[0])]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(size for size, _ in sizes) <= LONGEST
    assert sum(begins for _, begins in sizes) == 2
    assert sum(size for size, _ in sizes) == 10_000_004
    assert most < 8 * 2**20


def fifo(path):
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"fine\ncaf\xe9\n", r"not UTF-8 text: the row on line 2 holds the byte 0xE9.*LATIN1"),
        ("a.txt.gz", b"fine\n" * 300_000 + b"\xff\n", r"the row on line 300001 holds the byte 0xFF"),
        ("a.txt", b"cut in a letter \xc3", "the row on line 1 holds the byte 0xC3"),
        ("a.txt", "a text".encode("utf-16"), r"iconv -f UTF-16 -t"),
        ("a.txt", "a text".encode("utf-16-le"), r"more control characters, or zero bytes, than text has.*iconv -f UTF-16LE"),
        ("a.txt", bytes(1000), "or zero bytes, than text has"),
        ("a.txt", bytes(range(256)) * 9, r"more control characters, .* than text has.*fix: name a file of text"),
        ("a.txt", gzip.compress(np.random.default_rng(0).bytes(9000)), "more control characters, .* than text has"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', "line 2 is not JSON"),
        ("a.jsonl", '["a"]\n', "line 1 is list, not an object"),
        ("a.jsonl", '{"text": ["a", "b"], "title": "x"}\n' * 2, r"line 1: the text is a list.*corpus\.text"),
        ("a.jsonl", '{"text": "\\ud83d"}\n', "half of a surrogate pair"),
        ("a.jsonl", '{"one": "a", "other": "b"}\n', r"no column .* as the text; its columns are one, other.*set corpus"),
        ("a.jsonl", '{"n": 1}\n', "no column that is known as the text; its columns are n"),
        ("a.jsonl", "\n", "is empty"),
        ("a.parquet", b"PAR1 but no more", "is not a Parquet file"),
        ("a.docx", "text", r"no known format of plain text\n  expected: a name ending in \.txt, \.jsonl"),
        ("folder/a.docx", "text", "no file with text in the folder"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    given = path.parent if path.parent != tmp_path else path
    with pytest.raises(UserError, match=f"(?s){message}") as caught:
        read(given, "text" if "text is a list" in message else None)
    assert str(given) in str(caught.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match=r"there is no file or folder 'none\.txt'"):
        read("none.txt")
    with pytest.raises(UserError, match="is no ordinary file"):
        read(fifo(tmp_path / "pipe.txt"))
    (tmp_path / "plain.txt.gz").write_text("a\n")
    with pytest.raises(UserError, match="not a whole gzip file"):
        read(tmp_path / "plain.txt.gz")
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(bytes(range(65, 91)) * 50)[:-9])
    with pytest.raises(UserError, match="not a whole gzip file"):
        read(tmp_path / "cut.txt.gz")


def test_a_column_that_no_row_has(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "a"}\n{"body": "b"}\n')
    with pytest.raises(UserError, match=r"no column 'bodi'\n  expected: one of text, body\n  fix: did you mean 'body'"):
        read(path, "bodi")
    assert read(path, "body") == ["b"]
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="no column 'body'"):
        read(tmp_path / "a.parquet", "body")


def test_a_string_of_parquet_that_is_not_utf8(tmp_path):
    raw = pa.array([b"fine", b"caf\xe9", b"fine"], pa.binary())
    pq.write_table(pa.table({"text": pa.Array.from_buffers(pa.string(), 3, raw.buffers())}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"row 2 is not UTF-8 text: column 'text' holds the byte 0xE9"):
        read(tmp_path / "a.parquet")
