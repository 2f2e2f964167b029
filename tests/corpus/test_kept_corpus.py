"""Preparing a corpus once: found again by its content, whole or absent, the same with any number of workers."""

import errno
import hashlib
import json
import os
import re
import resource
import signal
from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest
from tests.commands import leave
from tests.corpus.toy_corpus import TOKENIZER, VOCABULARY, documents
from tests.data.test_shared_sets import place
from tests.killed import Killed
from tests.tiny_models import make_tokenizer

from stillhouse.corpus import kept_corpus, text_files, text_sources, tokens
from stillhouse.corpus.kept_corpus import prepare_corpus
from stillhouse.errors import UserError
from stillhouse.files import cache_folder
from stillhouse.teachers.kept import kept_folders

MANY = documents(120)


def write(path, texts, between="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(between.join(texts) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def text(tmp_path):
    return write(tmp_path / "corpus.txt", MANY)


@pytest.fixture(autouse=True)
def small_portions(monkeypatch):
    """So that several threads have something to do."""
    monkeypatch.setattr(tokens, "_AT_ONCE", 500)


def prepare(*sources, tokenizer=TOKENIZER, block_length=16, **options):
    return prepare_corpus(sources, tokenizer, block_length=block_length, **options)


def parts(kept):
    return kept.train(), kept.held_out()


def rows(corpus):
    return [corpus.blocks[row].tolist() for row in range(len(corpus))]


def content(kept):
    return {path.name: path.read_bytes() for path in kept.folder.iterdir()}


def ids_of(texts):
    return [TOKENIZER(text, add_special_tokens=False)["input_ids"] for text in texts]


def ordinary(blocks):
    return Counter(number for block in blocks for number in block if number not in VOCABULARY.special)


def all_there_is():
    root = cache_folder("corpora")
    return sorted(path.name for path in root.iterdir()) if root.exists() else []


def test_all_text_is_in_it_and_what_is_held_out_is_not_trained_on(text):
    kept = prepare(text, heldout_share=0.1)
    train, held_out = parts(kept)
    assert (kept.name, kept.header["documents"], kept.header["held_out_documents"]) == ("corpus", 120, 12)
    assert ordinary(rows(train)) + ordinary(rows(held_out)) == Counter(number for row in ids_of(MANY) for number in row)
    stream = [number for block in rows(held_out) for number in block[1:-1] if number != VOCABULARY.border]
    chosen = [row for row in ids_of(MANY) if " ".join(map(str, row)) in " ".join(map(str, stream))]
    assert sum(map(len, chosen)) >= len(stream)
    assert np.array_equal(train.occurrences, np.bincount(train.blocks.values, minlength=VOCABULARY.size))
    assert np.array_equal(train.frequencies, held_out.frequencies)
    assert held_out.occurrences.sum() == held_out.lengths.sum() == kept.header["held_out"]["tokens"]
    assert (len(train), len(held_out)) == (kept.header["train"]["blocks"], kept.header["held_out"]["blocks"])


def test_what_was_found_is_said(text, tmp_path):
    said = []
    write(tmp_path / "folder" / "a.txt", MANY)
    write(tmp_path / "folder" / "a.md", MANY)
    kept = prepare(tmp_path / "folder", say=said.append)
    assert said == [f"  {tmp_path / 'folder'}: 1 of 2 files are left out, for their names say no format of text"]
    train, held_out = parts(kept)
    assert kept.described == (
        f"folder: 120 documents; {len(train)} blocks of 16 tokens to train on, {len(held_out)} held out (1 document)"
    )
    few = prepare(write(tmp_path / "few.txt", [" ".join(MANY)]))
    assert few.described.startswith("few: 1 document; ")
    assert few.described.endswith(" held out (runs of blocks, for documents are few)")


def test_blocks_lie_in_a_memory_map(text):
    train = prepare(text).train()
    base = train.blocks.values
    while not isinstance(base, np.memmap):
        base = base.base
    assert base.filename == prepare(text).folder / "ids.bin"
    assert train.blocks.values.dtype == np.uint16


def test_it_is_found_again_by_its_content(text, tmp_path, monkeypatch):
    first = prepare(text)
    before = content(first)
    monkeypatch.setattr(kept_corpus, "tokenized", lambda *_: pytest.fail("prepared again"))
    kept_corpus._verified.clear()
    assert content(prepare(text)) == before
    renamed = text.rename(tmp_path / "other.txt")
    found = prepare(renamed)
    assert (found.folder, found.name) == (first.folder, "other")
    assert parts(found)[0].fingerprint() == parts(first)[0].fingerprint()


def test_another_corpus_is_another(text, tmp_path):
    others = [
        prepare(text),
        prepare(text, block_length=24),
        prepare(text, heldout_share=0.2),
        prepare(text, seed=1),
        prepare(text, tokenizer=make_tokenizer("roberta")),
        prepare(write(tmp_path / "more.txt", [*MANY, "one more"])),
        prepare(write(tmp_path / "turned.txt", MANY[::-1])),
        prepare(text, write(tmp_path / "beside.txt", ["another one"])),
    ]
    assert len({kept.folder for kept in others}) == len(all_there_is()) == len(others)
    assert len({kept.train().fingerprint() for kept in others}) == len(others)


def test_a_copy_of_a_file_is_left_out(text, tmp_path):
    copy = write(tmp_path / "copy.txt", MANY)
    said = []
    assert prepare(text, copy, say=said.append).folder == prepare(text).folder
    assert said == [f"  {copy} is left out: it has the same content as {text}"]


def test_a_tokenizer_is_the_same_however_it_was_last_asked_to_cut(text):
    tokenizer = make_tokenizer("bert")
    tokenizer("a", truncation=True, max_length=3, padding="max_length")
    assert prepare(text, tokenizer=tokenizer).folder == prepare(text).folder


def test_the_blocks_do_not_depend_on_the_number_of_workers(text, tmp_path, monkeypatch):
    found = []
    for workers in (1, 2, 5):
        monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / str(workers)))
        kept = prepare(text, workers=workers)
        found.append((content(kept), kept.folder.name, parts(kept)[0].fingerprint()))
    assert found[0] == found[1] == found[2]


def test_forms_of_one_text_make_the_same_blocks(text, tmp_path):
    folder = tmp_path / "folder"
    write(folder / "1.txt", MANY[:50], between="\n\n")
    write(folder / "b" / "2.jsonl", [json.dumps({"text": one}) for one in MANY[50:]])
    one, other = (prepare(source, heldout_share=0.1) for source in (text, folder))
    assert (one.name, other.name) == ("corpus", "folder")
    assert [rows(part) for part in parts(one)] == [rows(part) for part in parts(other)]
    assert one.header["train"]["digest"] == other.header["train"]["digest"]


def test_where_documents_are_few_runs_of_blocks_are_held_out(tmp_path):
    text = write(tmp_path / "few.txt", [" ".join(MANY)] * 3)
    kept = prepare(text, heldout_share=0.1)
    train, held_out = parts(kept)
    blocks = len(train) + len(held_out)
    assert kept.header["held_out_documents"] is None
    assert len(held_out) == round(0.1 * blocks)
    everything = ordinary(rows(train)) + ordinary(rows(held_out))
    assert everything == Counter(number for row in ids_of(MANY) * 3 for number in row)
    assert len(prepare(text, heldout_share=0.0001).held_out()) == 1


def test_a_document_in_parts_has_the_tokens_of_the_whole(tmp_path, monkeypatch):
    whole = prepare(write(tmp_path / "a.txt", [" ".join(MANY)]))
    monkeypatch.setattr(text_files, "LONGEST", 50)
    monkeypatch.setattr(text_files, "_BLOCK", 64)
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    assert content(prepare(tmp_path / "a.txt")) == content(whole)


def test_what_looks_like_a_special_token_is_text(tmp_path):
    kept = prepare(write(tmp_path / "a.txt", ["a [SEP] b [MASK] c"] * 60))
    blocks = [block for part in parts(kept) for block in rows(part)]
    assert VOCABULARY.mask not in {number for block in blocks for number in block}
    bracket = TOKENIZER.convert_tokens_to_ids("[")
    assert sum(block.count(bracket) for block in blocks) == 120


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("a.txt", "", "holds no text"),
        ("a.txt", "\n \n\n", "holds no text"),
        ("a.txt.gz", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is what Git LFS left in the place"),
        ("a.jsonl", '{"text": ""}\n{"text": null}\n', "holds no text"),
        ("a.txt", "good bad great\n", r"has 3 tokens: not two blocks of 16.*fix: give more text, or shorter blocks"),
        ("a.txt", bytes(range(256)) * 3, "more control characters, or zero bytes, than text has"),
        ("a.txt", b"caf\xe9 " * 99, "not UTF-8 text: the row on line 1 holds the byte 0xE9"),
        ("a.jsonl", '{"text": "fine"}\n' * 200 + "{\n", "line 201 is not JSON"),
    ],
)
def test_bad_text_leaves_nothing(tmp_path, name, given, message):
    path = tmp_path / name
    path.write_bytes(given if isinstance(given, bytes) else given.encode())
    with pytest.raises(UserError, match=f"(?s){message}"):
        prepare(path)
    assert all_there_is() == []


def test_blocks_that_are_too_short(text):
    with pytest.raises(UserError, match=r"blocks of 9 tokens are too short\n  expected: at least 10\n  fix: --set corpus"):
        prepare(text, block_length=9)
    with pytest.raises(UserError, match="--corpus names nothing"):
        prepare()


def test_no_room_is_said_before_anything_is_written(text, monkeypatch):
    monkeypatch.setattr(kept_corpus, "free_space", lambda path: 1000)
    with pytest.raises(UserError, match=r"(?s)no room for the corpus in .*fix: free some, or set STILLHOUSE_CACHE") as caught:
        prepare(text)
    assert str(caught.value).count("\n") == 2
    assert all_there_is() == []


def test_a_disk_that_fills_up_leaves_nothing(text, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(kept_corpus, "write_json", full)
        with pytest.raises(UserError, match=r"no space left.*\n  expected: room for it\n  fix: .*another STILLHOUSE_CACHE"):
            prepare(text)
    assert all_there_is() == []
    assert len(prepare(text).train()) > 0


@pytest.mark.parametrize("room", [100, 3000, 100_000])
def test_files_that_may_not_grow_leave_nothing(tmp_path, room):
    """Whichever of its files it is that the system refuses: ids, then counts, then none."""
    text = write(tmp_path / "few.txt", documents(30, longest=20))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(UserError, match="no space left") if room < 100_000 else nullcontext():
            prepare(text)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(all_there_is()) == (room == 100_000)


@pytest.mark.parametrize("place", ["_require_text", "_parts"])
def test_what_is_interrupted_leaves_nothing(text, monkeypatch, place):
    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(kept_corpus._Preparation, place, die)
        with pytest.raises(Killed):
            prepare(text)
    assert all_there_is() == []


def prepare_and_die(text, cache, moment):
    """In a process of its own; killed at a moment of the preparation."""
    os.environ["STILLHOUSE_CACHE"] = cache
    tokens._AT_ONCE = 500

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    if moment == "tokenizing":
        prepare(text, workers=2, report=lambda done, of, name: done > 2 and die())
    elif moment == "packing":
        kept_corpus._finished = die
    else:
        kept_corpus.write_json = die
    prepare(text, workers=2)


@pytest.mark.parametrize("moment", ["tokenizing", "packing", "header"])
def test_a_kill_leaves_nothing_that_is_taken_for_a_corpus(text, tmp_path, monkeypatch, server, moment):
    whole = content(prepare(text))
    cache = tmp_path / "cache"
    process = server.Process(target=prepare_and_die, args=(str(text), str(cache), moment))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    (left,) = (cache / "corpora").iterdir()
    assert left.name.startswith(".")
    assert left.name.endswith(".tmp")
    monkeypatch.setenv("STILLHOUSE_CACHE", str(cache))
    assert content(prepare(text)) == whole
    assert not (left.exists() and os.path.exists("/proc/self/stat"))


def test_files_are_read_through_once_in_a_process(text, monkeypatch):
    kept, real, read = prepare(text), hashlib.file_digest, []
    monkeypatch.setattr(hashlib, "file_digest", lambda file, *rest: read.append(file.name) or real(file, *rest))
    monkeypatch.chdir(text.parent)
    assert prepare(text.name).folder == kept.folder
    assert read == []
    text.write_text(text.read_text().replace("the", "a", 1))
    assert prepare(text).folder != kept.folder
    assert len(read) == 1


@pytest.mark.parametrize("name", ["ids.bin", "offsets.bin", "counts.bin", "header.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_corpus_is_said_and_prepared_again(text, name, damage):
    kept = prepare(text)
    whole, said = content(kept), []
    path = kept.folder / name
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "flipped":
        data[len(data) // 2] ^= 0x10
        path.write_bytes(data)
    else:
        path.write_bytes(data[: len(data) // 2])
    kept_corpus._verified.clear()
    again = content(prepare(text, say=said.append))
    assert again == whole
    assert len(said) == 1
    assert "a kept corpus is damaged and is prepared again" in said[0]


def test_an_offset_beyond_all_bounds_is_not_followed(text):
    kept = prepare(text)
    whole, said = content(kept), []
    offsets = np.memmap(kept.folder / "offsets.bin", np.int64, "r+")
    offsets[-1] = 2**60
    offsets.flush()
    kept_corpus._verified.clear()
    assert content(prepare(text, say=said.append)) == whole
    assert "do not lie one after the other" in said[0]


@pytest.mark.parametrize("name", ["", "ids.bin"])
def test_a_corpus_that_is_a_link_is_not_believed(text, tmp_path, name):
    place = prepare(text).folder / name
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"is a link, where a corpus is kept"):
        prepare(text)
    assert place.is_symlink()


def test_a_file_that_is_written_to_meanwhile(text):
    def add(done, of, name):
        with text.open("a") as file:
            file.write("more\n")

    with pytest.raises(UserError, match="was written to while it was read"):
        prepare(text, report=add)
    assert all_there_is() == []


def test_when_it_was_last_used_is_known(text):
    folder = prepare(text).folder
    os.utime(folder, (1000, 1000))
    prepare(text)
    assert folder.stat().st_mtime > 1000


def test_the_command_shows_checks_and_frees(text, capsys):
    kept, other = prepare(text), prepare(text, block_length=32)
    name = kept.folder.name[:8]
    blocks = len(kept.train()) + len(kept.held_out())
    assert leave("store", "ls") == 0
    said = capsys.readouterr().out
    assert re.search(f"{name} .* MiB .* corpus: 120 documents, {blocks} blocks of 16 tokens\n", said)
    assert other.folder.name[:8] in said
    assert leave("store", "verify") == 0
    (kept.folder / "ids.bin").write_bytes(bytes((kept.folder / "ids.bin").stat().st_size))
    (other.folder / "counts.bin").unlink()
    capsys.readouterr()
    assert leave("store", "verify") == 1
    said = capsys.readouterr().out
    assert f"{kept.folder}: its digest does not agree" in said
    assert f"{other.folder}: a file is missing" in said
    (kept.folder / "header.json").write_text("[]")
    assert leave("store", "ls") == 0
    assert re.search(f"{name} .* \\?\n", capsys.readouterr().out)
    assert leave("store", "rm", name) == 0
    assert all_there_is() == [other.folder.name]
    assert leave("store", "rm", "--all") == 0
    assert all_there_is() == []


def test_the_command_leaves_alone_what_is_a_link(text, tmp_path):
    folder = prepare(text).folder
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert kept_folders()[folder.parent] == []
    assert leave("store", "rm", "--all") == 0
    assert folder.is_symlink()
    assert len(list((tmp_path / "elsewhere").iterdir())) == 4


def test_progress_is_told(text):
    told = []
    prepare(text, report=lambda *step: told.append(step))
    assert told[-1][0] <= told[-1][1] == text.stat().st_size // 1000
    assert sorted(told) == told
    assert {name for _, _, name in told} == {"corpus"}


# The hub.


@pytest.fixture
def hub(monkeypatch):
    """A hub that has one data set, whose rows come one by one."""
    import datasets
    from huggingface_hub import HfApi

    asked = []

    def load_dataset(name, config, **options):
        asked.append((name, config, options))
        return iter([{"id": str(row), "text": text, "url": "x"} for row, text in enumerate(MANY)])

    monkeypatch.setattr(text_sources, "is_reachable", lambda: True)
    monkeypatch.setattr(HfApi, "dataset_info", lambda self, name: type("Info", (), {"sha": "c0ffee"}))
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_a_data_set_of_the_hub_is_streamed_once(hub, text, monkeypatch):
    kept = prepare("hub:owner/poems:small")
    assert hub == [("owner/poems", "small", {"split": "train", "streaming": True, "revision": "c0ffee"})]
    assert kept.name == "poems"
    assert rows(kept.train()) == rows(prepare(text).train())
    monkeypatch.setattr(text_sources, "is_reachable", lambda: False)  # what is kept is found without a connection
    assert prepare("hub:owner/poems:small").folder == kept.folder
    assert len(hub) == 1


def test_a_hub_that_does_not_give(hub, monkeypatch):
    with pytest.raises(UserError, match="names no data set of the hub"):
        prepare("hub:a/b/c")
    with pytest.raises(UserError, match=r"no column 'body'\n  expected: one of id, text, url"):
        prepare("hub:owner/poems", text="body")

    def broken(*_, **__):
        yield {"text": "fine"}
        raise ConnectionError("gone")

    monkeypatch.setattr("datasets.load_dataset", broken)
    with pytest.raises(UserError, match="data set owner/poems cannot be loaded: gone"):
        prepare("hub:owner/poems")
    monkeypatch.setattr(text_sources, "is_reachable", lambda: False)
    for name in ("owner/poems", "owner/others"):
        with pytest.raises(UserError, match="hub cannot be reached"):
            prepare(f"hub:{name}")
    assert not [name for name in all_there_is() if not name.endswith(".revision")]


# Large ones.


@pytest.mark.long
def test_a_line_of_ten_megabytes(tmp_path):
    sentence = "the good film was a bad book of the old man in a small house "
    path = write(tmp_path / "a.txt", [sentence * (10_000_000 // len(sentence)), "and a line more"])
    kept = prepare(path, block_length=128)
    expected = len(ids_of([sentence])[0]) * (10_000_000 // len(sentence)) + len(ids_of(["and a line more"])[0])
    assert sum(ordinary(block for part in parts(kept) for block in rows(part)).values()) == expected


@pytest.mark.long
def test_wikipedia(monkeypatch):
    monkeypatch.setattr(tokens, "_AT_ONCE", 2**18)
    kept = prepare(place("wiki_en"), block_length=128)
    assert kept.header["documents"] == 1421 + 1402 + 1503
    assert kept.header["held_out_documents"] == 43
    assert kept.name == "wiki_en"
