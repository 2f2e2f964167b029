"""Small valid files of every format and kind of task, damaged at random: they are read or refused in words; no row is lost."""

from __future__ import annotations

import copy
import csv
import gzip
import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stillhouse.config import DataConfig
from stillhouse.data.dataset import load_dataset, load_evaluation, read_texts
from stillhouse.data.examples import Dataset
from stillhouse.errors import UserError
from stillhouse.task import load_kind

Records = list[dict[str, Any]]

WORDS = ["amber", "brass", "cedar", "delta", "ember", "flint", "grove", "haven"]
ROWS = 24


def text(row: int) -> str:
    return f"the {WORDS[row % 8]} of {WORDS[row // 8]} {row}"


def tagged(row: int) -> dict[str, Any]:
    return {"tokens": ["the", WORDS[row % 8], f"of{row}"], "ner_tags": ["O", "B-X", "I-X"]}


def question(row: int) -> dict[str, Any]:
    context = f"{text(row)} is here"
    answers = [] if row % 5 == 0 else [{"text": WORDS[row % 8], "start": context.index(WORDS[row % 8])}]
    return {"id": f"q{row}", "question": f"what is {row}", "context": context, "answers": answers}


RECORDS: dict[str, Callable[[int], dict[str, Any]]] = {
    "classification": lambda row: {"text": text(row), "label": ["good", "bad"][row % 2]},
    "pair": lambda row: {"sentence_a": text(row), "sentence_b": text(row + 1), "label": row % 3},
    "regression": lambda row: {"text": text(row), "score": row / 4 + 0.1},
    "multilabel": lambda row: {"text": text(row), "labels": [["a"], ["a", "b"], []][row % 3]},
    "tagging": tagged,
    "qa": question,
}


def comma_separated(records: Records) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(cells(records))
    return out.getvalue().encode("utf-8", "surrogatepass")


def tab_separated(records: Records) -> bytes:
    rows = cells(records)
    if any(re.search(r"[\t\n]", cell) for row in rows for cell in row):
        raise ValueError("TSV has no form for it")
    return "".join("\t".join(row) + "\n" for row in rows).encode("utf-8", "surrogatepass")


def cells(records: Records) -> list[list[str]]:
    names = list(dict.fromkeys(name for record in records for name in record))
    rows = [[record.get(name) for name in names] for record in records]
    return [["" if cell is None else str(cell) for cell in row] for row in (names, *rows)]


def json_lines(records: Records) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def by_column(records: Records) -> bytes:
    names = dict.fromkeys(name for record in records for name in record)
    return json.dumps({name: {str(row): record.get(name) for row, record in enumerate(records)} for name in names}).encode()


def by_split(records: Records) -> bytes:
    return json.dumps({"train": records[:-4], "validation": records[-4:]}).encode()


def squad(records: Records) -> bytes:
    articles = []
    for record in records:
        answers = [{"text": one["text"], "answer_start": one["start"]} for one in record["answers"]]
        asked = {"id": record["id"], "question": record["question"], "answers": answers, "is_impossible": not answers}
        articles.append({"title": "t", "paragraphs": [{"context": record["context"], "qas": [asked]}]})
    return json.dumps({"data": articles}).encode()


def conll(records: Records) -> bytes:
    sentences = [zip(record["tokens"], record["ner_tags"], strict=True) for record in records]
    if any(isinstance(value, str) for record in records for value in record.values()):
        raise TypeError("a sentence is a list")
    return "\n\n".join("\n".join(f"{word} {tag}" for word, tag in sentence) for sentence in sentences).encode()


def parquet(records: Records) -> bytes:
    names = dict.fromkeys(name for record in records for name in record)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({name: [record.get(name) for record in records] for name in names}), sink)
    return sink.getvalue().to_pybytes()


PLAIN = ("classification", "pair", "regression")
FORMATS: dict[str, tuple[Callable[[Records], bytes], tuple[str, ...]]] = {
    ".csv": (comma_separated, PLAIN),
    ".tsv": (tab_separated, PLAIN),
    ".jsonl": (json_lines, tuple(RECORDS)),
    ".json": (lambda records: json.dumps(records, indent=1).encode(), tuple(RECORDS)),
    ".columns.json": (by_column, tuple(RECORDS)),
    ".splits.json": (by_split, tuple(RECORDS)),
    ".squad.json": (squad, ("qa",)),
    ".conll": (conll, ("tagging",)),
    ".txt": (conll, ("tagging",)),
    ".tsv.gz": (lambda records: gzip.compress(tab_separated(records)), PLAIN),
    ".parquet": (parquet, tuple(RECORDS)),
}
ODD: list[Any] = [
    "", " ", None, "-", "nan", "None", "N/A", "-1", -1, 0, 7, 2.5, float("nan"), float("inf"), 10**400, "9" * 5000, True,
    [], {}, [[]], ["a"], [None], {"a": 1}, [{"text": "x"}], "\0", "\x1b[31m", "\u202e", "\ud800", "\ufeff", "a\tb", "a\nb",
    "a\rb", 'a "b', "a,b", "x" * 5000, "#", "# a", "O", "B-", "E-X", "L-X", "Infinity", "1e999", "\u0967", "['a', 'b']",
    '["a"]', "{'text': 'a'}", "0.0", "1.0",
]  # fmt: skip
SIGNS = [b'"', b",", b"\t", b"\n", b"\r", b"[", b"{", b"}", b"#", b"\0"]


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    place, length = rng.randrange(len(content)), rng.randint(1, 12)
    match rng.randrange(6):
        case 0:
            return content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
        case 1:
            return content[:place] + content[place + length :]
        case 2:
            return content[:place] + rng.randbytes(length) + content[place:]
        case 3:
            return content[:place]
        case 4:
            return content[:place] + content[place : place + 40] + content[place:]
        case _:
            return content[:place] + rng.choice(SIGNS) + content[place:]


def damaged_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    place, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            del lines[place]
        case 1:
            lines.insert(place, lines[other])
        case 2:
            lines[place], lines[other] = lines[other], lines[place]
        case 3:
            lines.insert(place, rng.choice([b"", b" ", b"# a comment", b"sep=;", b"-DOCSTART- O", b"null", b"x"]))
        case _:
            lines[place : place + 2] = [b" ".join(lines[place : place + 2])]
    return b"\n".join(lines)


def recoded(content: bytes, rng: random.Random) -> bytes:
    match rng.randrange(6):
        case 0:
            return content.decode().encode(rng.choice(["utf-16", "utf-16-le", "utf-32", "utf-7"]))
        case 1:
            return content.replace(b"e", "\u00e9".encode("latin-1"))
        case 2:
            return b"\xef\xbb\xbf" * rng.randint(1, 2) + content
        case 3:
            return content.replace(b"\n", rng.choice([b"\r\n", b"\r", b"\n\n"]))
        case 4:
            return gzip.compress(content)
        case _:
            return content.replace(b"a", rng.choice([b"\0", b"\x1b", "\u2028".encode(), "\u202e".encode(), b"\x85"]))


def damaged_records(records: Records, rng: random.Random) -> Records:
    records = copy.deepcopy(records)
    record, name = rng.choice(records), rng.choice(list(records[0]))
    match rng.randrange(6):
        case 0 | 1:
            record[name] = rng.choice(ODD)
        case 2:
            odd = rng.choice(ODD)
            for one in rng.sample(records, rng.randint(1, len(records))):
                one[name] = odd
        case 3:
            del record[name]
        case 4:
            record[rng.choice(["more", "", "Text", "\x1b", "label"])] = rng.choice(ODD)
        case _:
            new = rng.choice(["", "text", "label", "words", "id", "a" * 500, "\x9b"])
            records = [{(new if key == name else key): value for key, value in one.items()} for one in records]
    return records


def damaged_document(content: bytes, rng: random.Random) -> bytes:
    """JSON in which one node has been replaced, taken away, wrapped or repeated."""
    document = json.loads(content)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    walk(document)
    node, key = rng.choice(places)
    match rng.randrange(4):
        case 0:
            node[key] = rng.choice(ODD)
        case 1:
            del node[key]
        case 2:
            node[key] = rng.choice([[node[key]], {"a": node[key]}, str(node[key])])
        case _:
            return content.replace(b"{", b"[" * rng.choice([1, 3000]), 1) if rng.random() < 0.5 else content + content
    return json.dumps(document).encode()


def malformed(suffix: str, seed: int) -> Iterator[tuple[str, bytes, Records | None]]:
    """Files of one format: their kind of task, their content, and their rows where they are known."""
    write, kinds = FORMATS[suffix]
    rng = random.Random(f"{suffix} {seed}")
    for kind in kinds:
        records = [RECORDS[kind](row) for row in range(ROWS)]
        content = write(records)
        yield kind, content, records
        for _ in range(4):
            damaged = damaged_records(records, rng)
            with suppress(pa.ArrowException, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                yield kind, write(damaged), damaged  # else the format has no form for it
            yield kind, damaged_bytes(content, rng), None
            yield kind, damaged_lines(content, rng), None
            with suppress(UnicodeDecodeError):  # no text
                yield kind, recoded(content, rng), None
            if suffix.endswith(".json"):
                yield kind, damaged_document(content, rng), None


def said_to_be_left_out(notes: tuple[str, ...]) -> int:
    """Rows that the notes say are not there any more."""
    patterns = (r"(\d+) (?:rows|questions) [^0-9]*were left out", r"and (\d+) more rows without a label")
    patterns += (r"(\d+) labelled rows and \d+ without a label were dropped", r"(\d+) without a label were dropped")
    return sum(int(count) for note in notes for pattern in patterns for count in re.findall(pattern, note))


def rows_of(suffix: str, content: bytes, records: Records | None) -> int | None:
    """How many rows a file has, where that is easily said."""
    if records is not None:
        return len(records)
    if suffix in (".jsonl", ".tsv"):
        lines = [line for line in content.replace(b"\r\n", b"\n").split(b"\n") if line.strip()]
        return len(lines) - (suffix == ".tsv")
    return None


def check_nothing_is_lost(data: Dataset, rows: int | None, records: Records | None) -> None:
    splits = [data.train, data.selection, data.validation]
    assert rows is None or sum(map(len, splits)) + said_to_be_left_out(data.notes) == rows, data.notes
    unlabelled = sum(len(split) - len(split.labelled) for split in splits)
    assert not unlabelled or f"({unlabelled:,} without a label)" in data.notes[-1]
    if records is not None:
        name = str(data.columns["text"])
        given = {str(record.get(name, record.get("tokens"))) for record in records}
        assert {str(text) for split in splits for text in split.text} <= given
        check_labels(data, records)


def check_labels(data: Dataset, records: Records) -> None:
    """Labels that nobody touched are there, but for rows that are said to be left out."""
    column, kind = str(data.columns["label"]), data.task.kind
    sound = {str(RECORDS[name](row).get(column)) for name in RECORDS for row in range(ROWS)} - {"None"}
    labels = [label for split in (data.train, data.selection, data.validation) for label in split.labels if label is not None]
    names = [kind.to_names(label, data.task) for label in labels]
    read = Counter(str(name) for name in names)
    read.update(name[0] for name in names if isinstance(name, list) and len(name) == 1)  # one label among lists of them
    given = Counter(str(record.get(column)) for record in records)
    if not kind.can_abstain:  # whose labels have another form
        assert sum(max(0, given[label] - read[label]) for label in sound) <= said_to_be_left_out(data.notes), data.notes


def check_words(error: UserError) -> None:
    assert error.expected or error.fix, error
    assert len(str(error)) < 1500, error


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("suffix", FORMATS)
def test_malformed_files_are_read_or_refused_in_words(tmp_path: Path, suffix: str, seed: int) -> None:
    read = 0
    for number, (kind, content, records) in enumerate(malformed(suffix, seed)):
        path = tmp_path / f"{kind}{'abcdefghij'[number % 10]}{suffix}"
        path.write_bytes(content)
        config = DataConfig(source=str(path))
        try:
            data = load_dataset(config)
        except UserError as error:
            check_words(error)
        else:
            read += 1
            check_nothing_is_lost(data, rows_of(suffix, content, records), records)
        for load in (load_evaluation, partial(read_texts, kind=load_kind(kind.replace("pair", "classification")), notes=[])):
            try:
                load(config)
            except UserError as error:
                check_words(error)
    assert read >= 2 * len(FORMATS[suffix][1])
