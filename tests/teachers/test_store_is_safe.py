"""Kills, damage, several processes, disks that refuse: a store is whole, or says what is not."""

import json
import os
import re
import signal
import time
from functools import partial

import pytest
from tests.commands import leave
from tests.features import needing
from tests.teachers.toy_store import EVERYTHING, build, check, make_shards_small, shards_of
from tests.training.toy_stage import toy_encoder

from stillhouse.data.text import scoring_order
from stillhouse.teachers import source, store
from stillhouse.teachers.shard import open_shard
from stillhouse.teachers.source import OnlineTeacher
from stillhouse.teachers.store import used_bytes


def flip(path, name):
    """Turns one bit in the middle of a column, or of another tensor, of a shard."""
    content = bytearray(path.read_bytes())
    size = int.from_bytes(content[:8], "little")
    begin, end = json.loads(content[8 : 8 + size])[name]["data_offsets"]
    content[8 + size + (begin + end) // 2] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["column:logits", "column:query_2", "lengths", "cut", "header", "description", "empty"])
def test_a_damaged_shard_is_found_named_and_made_again(tmp_path, small_shards, passes, damage):
    build(tmp_path, EVERYTHING)
    victim = shards_of(tmp_path)[2]
    rows = len(open_shard(victim).keys)
    content = bytearray(victim.read_bytes())
    if damage == "header":
        content[60] ^= 16
    elif damage == "description":
        content[content.index(b"scaling") + 14] ^= 1
    victim.write_bytes(content[:-100] if damage == "cut" else b"" if damage == "empty" else content)
    if damage.startswith(("column", "lengths")):
        flip(victim, damage)
    passes.clear()
    said = []
    stored = build(tmp_path, EVERYTHING, said)
    (line,) = said
    assert str(victim) in line
    assert "damaged" in line
    assert sum(passes) == rows
    assert not victim.exists()
    check(stored, tmp_path)


def test_a_store_whose_filling_was_killed_is_completed(tmp_path, small_shards, passes, monkeypatch):
    write = store.write_shard
    written = []

    def killed(shard):
        if len(written) == 3:
            (shard.path.parent / f".{shard.path.name}.1.tmp").write_bytes(b"half of it")
            raise KeyboardInterrupt
        written.append(len(shard.keys))
        write(shard)

    monkeypatch.setattr(store, "write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, EVERYTHING)
    monkeypatch.setattr(store, "write_shard", write)
    passes.clear()
    check(build(tmp_path, EVERYTHING), tmp_path)
    assert sum(passes) == 97 - sum(written)


def test_leftovers_of_those_long_gone_are_removed(tmp_path):
    build(tmp_path, needing(logits=True))
    folder = shards_of(tmp_path)[0].parent
    old, new = folder / ".old.1.tmp", folder / ".new.2.tmp"
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (1, 1))
    build(tmp_path, EVERYTHING)
    assert not old.exists()
    assert new.exists()  # somebody may be writing it


def test_a_slow_teacher_writes_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr("stillhouse.teachers.fill.SHARD_SECONDS", 0.0)
    monkeypatch.setattr("stillhouse.teachers.fill.scoring_order", partial(scoring_order, tokens=100))
    build(tmp_path, needing(logits=True))
    assert len(shards_of(tmp_path)) > 5


def test_a_store_that_lost_its_mark_gets_it_back(tmp_path):
    build(tmp_path, EVERYTHING)
    (mark,) = (tmp_path / "store").glob("*/store.json")
    mark.unlink()
    assert used_bytes(tmp_path / "store") == 0
    build(tmp_path, EVERYTHING)
    assert used_bytes(tmp_path / "store") > 0


def test_shards_are_as_readable_as_files_are(tmp_path):
    build(tmp_path, EVERYTHING)
    modes = {path.stat().st_mode for path in (tmp_path / "store").glob("*/*")}
    assert len(modes) == 1


def test_two_processes_fill_one_store(server, tmp_path):
    meeting = server.Barrier(2, timeout=120)
    workers = [launch(server, fill_as_another, tmp_path, meeting) for _ in range(2)]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sum(len(open_shard(path).keys) for path in shards_of(tmp_path)) == 2 * 97  # both have written every row
    stored = build(tmp_path, EVERYTHING)
    assert not stored.index.lacking().any()
    check(stored, tmp_path)


def launch(server, target, *arguments):
    worker = server.Process(target=target, args=arguments)
    worker.start()
    return worker


def fill_as_another(folder, meeting):
    fill = source.fill_store

    def together(*arguments, **options):
        meeting.wait()  # both have found the store empty
        fill(*arguments, **options)

    make_shards_small(pytest.MonkeyPatch())
    source.fill_store = together
    build(folder, EVERYTHING)


def fill_slowly(folder):
    write = store.write_shard

    def slow(shard):
        write(shard)
        time.sleep(0.2)

    make_shards_small(pytest.MonkeyPatch())
    store.write_shard = slow
    build(folder, EVERYTHING)


def test_a_process_killed_while_it_fills_leaves_a_store_that_the_next_completes(server, tmp_path, passes):
    worker = launch(server, fill_slowly, tmp_path)
    while len(shards_of(tmp_path)) < 3 and worker.is_alive():
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    there = sum(len(open_shard(path).keys) for path in shards_of(tmp_path))
    assert 0 < there < 97
    said = []
    check(build(tmp_path, EVERYTHING, said), tmp_path)
    assert said == []
    assert sum(passes) == 97 - there


def fill_where_files_stay_small(folder, said):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
    kept = build(folder, EVERYTHING, lines := [])
    check(kept, folder)
    said.put((lines, isinstance(kept, OnlineTeacher)))


@pytest.mark.skipif(os.name != "posix", reason="asks the system to refuse large files")
def test_a_system_that_refuses_to_write_leaves_the_model_and_one_clear_line(server, tmp_path):
    said = server.Queue()
    worker = launch(server, fill_where_files_stay_small, tmp_path, said)
    (line,), is_online = said.get(timeout=120)
    worker.join()
    assert is_online
    assert re.search("cannot be kept .no space left while writing.*the teacher runs beside the student", line)
    assert [path.name for path in (tmp_path / "store").glob("*/*")] == ["store.json"]


def test_the_command_shows_checks_and_frees(tmp_path, small_shards, capsys):
    build(tmp_path, EVERYTHING)
    build(tmp_path, needing(logits=True), encoder=toy_encoder(4))
    options = ("--store", str(tmp_path / "store"))
    assert leave("store", "ls", *options) == 0
    said = capsys.readouterr().out
    assert len(re.findall(r"MiB +97 rows .* fp32  toy: ", said)) == 2
    assert "toy: logits\n" in said
    assert leave("store", "verify", *options) == 0
    victim = shards_of(tmp_path)[0]
    flip(victim, "column:logits")
    capsys.readouterr()
    assert leave("store", "verify", *options) == 1
    assert capsys.readouterr().out.startswith(f"{victim}: ")
    assert leave("store", "rm", *options) == 2
    assert leave("store", "rm", "nonsense", *options) == 2
    for command in (("ls",), ("verify",), ("rm", "--all")):
        for wrong in ("", str(tmp_path / "typo"), "~nobody-of-that-name/x"):
            assert leave("store", *command, "--store", wrong) == 2
    assert leave("store", "rm", victim.parent.name[:8], *options) == 0
    assert not victim.parent.exists()
    assert len(list((tmp_path / "store").iterdir())) == 1
    assert leave("store", "rm", "--all", *options) == 0
    assert used_bytes(tmp_path / "store") == 0
    assert leave("store", "ls", *options) == 0
