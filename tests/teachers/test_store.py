"""Features on disk are those of the model, however the store was filled, and damage is found."""

import dataclasses
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.commands import leave
from tests.tiny_models import make_tiny_checkpoint
from tests.toy_data import TASKS
from tests.training.toy_stage import SILENT, toy_encoder, toy_split, weights, workshop

from stillhouse.config import StageConfig, TeacherConfig
from stillhouse.data.batch import scoring_order
from stillhouse.data.ragged import Ragged
from stillhouse.errors import UserError
from stillhouse.features import Needs
from stillhouse.methods import load_method
from stillhouse.models import capture
from stillhouse.models.adapter import dimensions
from stillhouse.models.block_attention import block_attention
from stillhouse.options import config_from_options
from stillhouse.prepare import prepare, with_defaults
from stillhouse.teachers import fill, store
from stillhouse.teachers.source import NoTeacher, OnlineTeacher, Source, StoredTeacher, build_teacher
from stillhouse.teachers.store import FeatureStore, Index, column_names, open_shard, row_keys, used_bytes
from stillhouse.training.stages import run_stages, weights_digest

EVERYTHING = Needs(
    logits=True,
    hidden_states=frozenset({0, 2}),
    cls=frozenset({1}),
    attentions=frozenset({1, 2}),
    parts=frozenset({"query", "value"}),
)


def build(folder, needs, said=None, split=None, features="store", epochs=3.0, encoder=None, is_shared=False, **options):
    encoder = toy_encoder(3) if encoder is None else encoder
    config = TeacherConfig(features=features, store=str(folder / "store"), **options)
    accelerator = workshop(folder).accelerator
    return build_teacher(
        encoder,
        toy_split() if split is None else split,
        needs,
        Source(config, "toy", weights_digest(encoder), is_shared=is_shared),
        epochs=epochs,
        accelerator=accelerator,
        say=(said if said is not None else []).append,
    )


def tensors(features):
    found = {"logits": features.logits} if features.logits is not None else {}
    found |= {f"hidden {layer}": state for layer, state in features.hidden_states.items()}
    found |= {f"cls {layer}": state for layer, state in features.cls.items()}
    for layer, attention in features.attentions.items():
        parts = {part: getattr(attention, part) for part in ("query", "key", "value")}
        found |= {f"{part} {layer}": vectors for part, vectors in parts.items() if vectors is not None}
    return found


def assert_alike(one, other, mask):
    """Equal where there is a token."""
    one, other = tensors(one), tensors(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        theirs = other[name]
        assert value.dtype == theirs.dtype, name
        assert value.shape == theirs.shape, name
        if name.startswith("hidden"):
            value, theirs = value[mask], theirs[mask]
        elif value.ndim == 4:
            value, theirs = value.transpose(1, 2)[mask], theirs.transpose(1, 2)[mask]
        assert torch.allclose(value, theirs, atol=1e-5), name


def make_shards_small(monkeypatch):
    monkeypatch.setattr("stillhouse.teachers.fill.SHARD_BYTES", 20_000)
    monkeypatch.setattr("stillhouse.teachers.fill.scoring_order", partial(scoring_order, tokens=100))


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of a few rows each."""
    make_shards_small(monkeypatch)


@pytest.fixture
def passes(monkeypatch):
    """Rows that went through the model to be kept."""
    counted = []
    compute = fill.compute_features

    def noted(encoder, inputs, needs):
        counted.append(len(inputs["input_ids"]))
        return compute(encoder, inputs, needs)

    monkeypatch.setattr(fill, "compute_features", noted)
    return counted


def texts(encoded):
    return set(map(bytes, row_keys(encoded)))


def shards_of(folder):
    return sorted((folder / "store").glob("*/*.safetensors"))


def check(stored, folder, rows=None, needs=EVERYTHING, split=None):
    """What is read is what the model gives."""
    split = toy_split() if split is None else split
    online = OnlineTeacher(toy_encoder(3), needs, workshop(folder).accelerator)
    batch = split.batch(np.arange(97) if rows is None else np.array(rows))
    assert_alike(stored.features(batch), online.features(batch), batch.teacher_inputs["attention_mask"].bool())


def test_what_is_read_is_what_the_model_gives(tmp_path, passes):
    stored = build(tmp_path, EVERYTHING)
    assert isinstance(stored, StoredTeacher)
    assert stored.online is None
    assert sum(passes) == 97
    check(stored, tmp_path, rows=[3, 96, 0, 50])
    check(stored, tmp_path)


@pytest.mark.parametrize("features", ["store", "online"])
def test_the_teacher_attends_to_short_texts_block_by_block(tmp_path, monkeypatch, features):
    seen = []
    monkeypatch.setattr(capture, "block_attention", lambda *given: seen.append(given) or block_attention(*given))
    teacher = build(tmp_path, Needs(logits=True), features=features)
    teacher.features(toy_split().batch(np.arange(5)))
    assert seen


def test_rows_may_be_in_any_shard(tmp_path, small_shards):
    stored = build(tmp_path, EVERYTHING)
    assert len(stored.index.shards) > 5
    check(stored, tmp_path, rows=[3, 96, 0, 50])
    check(stored, tmp_path)


@pytest.mark.parametrize("task", ["multilabel", "regression", "tagging", "qa"])
def test_every_task(tmp_path, task):
    teacher = make_tiny_checkpoint(tmp_path / "teacher", "bert")
    data = str(TASKS[task](tmp_path, rows=40))
    options = {"data": data, "teacher": str(teacher), "student": "2x24", "max_length": 48}
    prepared = prepare(with_defaults(config_from_options(options)))
    split, needs = prepared.splits["train"].tokens, Needs(logits=True, hidden_states=frozenset({1}))
    stored = build(tmp_path, needs, split=split, encoder=prepared.teacher.encoder)
    assert isinstance(stored, StoredTeacher)
    online = OnlineTeacher(prepared.teacher.encoder, needs, workshop(tmp_path).accelerator)
    batch = split.batch(np.arange(11))
    ours, theirs = stored.features(batch), online.features(batch)
    assert ours.logits.shape == theirs.logits.shape
    where = batch.positions if task in ("tagging", "qa") else ...
    assert torch.allclose(ours.logits[where], theirs.logits[where], atol=1e-5)


def test_more_features_serve_whoever_needs_fewer(tmp_path, passes):
    build(tmp_path, EVERYTHING)
    fewer = Needs(logits=True, attentions=frozenset({2}), parts=frozenset({"value"}))
    check(build(tmp_path, fewer), tmp_path, needs=fewer)
    assert sum(passes) == 97
    more = dataclasses.replace(EVERYTHING, hidden_states=frozenset({0, 1, 2}))
    check(build(tmp_path, more), tmp_path, needs=more)
    assert sum(passes) == 2 * 97
    columns = [set(open_shard(path).columns) for path in shards_of(tmp_path)]
    assert sorted(map(len, columns)) == [1, len(column_names(EVERYTHING))]  # what was there is not written again


def test_a_cls_vector_is_found_in_its_hidden_state(tmp_path, passes):
    build(tmp_path, Needs(hidden_states=frozenset({0, 1, 2})))
    needs = Needs(cls=frozenset({1, 2}))
    check(build(tmp_path, needs), tmp_path, needs=needs)
    assert sum(passes) == 97


def test_what_is_kept_is_used_even_where_it_is_read_once(tmp_path):
    build(tmp_path, EVERYTHING)
    assert isinstance(build(tmp_path, EVERYTHING, features="auto", epochs=1.0), StoredTeacher)


def test_only_stores_are_counted_and_removed(tmp_path):
    build(tmp_path, EVERYTHING)
    used = used_bytes(tmp_path / "store")
    mine = tmp_path / "store" / "project"
    mine.mkdir()
    for name, content in (("store.json", "{}"), ("model.safetensors", "weights"), ("notes", "mine")):
        (mine / name).write_text(content)
    own = shards_of(tmp_path)[0].parent
    (own / "notes").write_text("mine too")
    assert used_bytes(tmp_path / "store") == used
    assert leave("store", "rm", "--all", "--store", str(tmp_path / "store")) == 0
    assert len(list(mine.iterdir())) == 3
    assert [path.name for path in own.iterdir()] == ["notes"]


def test_equal_texts_are_computed_once(tmp_path, passes):
    split = toy_split().select(np.array([7, 3, 3, 11, 7, 7]))
    check(build(tmp_path, EVERYTHING, split=split), tmp_path, rows=range(6), split=split)
    assert sum(passes) == 3
    assert sum(len(open_shard(path).keys) for path in shards_of(tmp_path)) == 3


def test_rows_get_what_they_lack_and_no_more(tmp_path, passes):
    few = toy_split().select(np.arange(10))
    build(tmp_path, Needs(hidden_states=frozenset({2})), split=few)
    passes.clear()
    needs = Needs(logits=True, hidden_states=frozenset({2}))
    check(build(tmp_path, needs), tmp_path, needs=needs)
    assert sum(passes) == 97
    rows = {}
    for path in shards_of(tmp_path):
        shard = open_shard(path)
        for name in shard.columns:
            rows[name] = rows.get(name, 0) + len(shard.keys)
    assert rows == {"logits": 97, "hidden_state_2": 97}


def test_another_split_of_the_same_text_finds_its_rows(tmp_path, passes):
    build(tmp_path, EVERYTHING)
    rows = np.array([7, 3, 3, 11])  # twice the same text
    part = toy_split().select(rows)
    stored = build(tmp_path, EVERYTHING, split=part)
    assert sum(passes) == 97
    check(stored, tmp_path, rows=[0, 1, 2, 3], split=part)


def test_other_text_or_another_teacher_never_meets_old_features(tmp_path, passes):
    build(tmp_path, EVERYTHING)
    other = toy_split(seed=1)
    assert not texts(toy_split().teacher) & texts(other.teacher)
    check(build(tmp_path, EVERYTHING, split=other), tmp_path, split=other)
    assert sum(passes) == 2 * 97
    build(tmp_path, EVERYTHING, encoder=toy_encoder(4))
    assert sum(passes) == 3 * 97
    segments = toy_split()
    values = np.ones_like(segments.teacher.token_type_ids.values)
    encoded = dataclasses.replace(segments.teacher, token_type_ids=Ragged(values, segments.teacher.token_type_ids.offsets))
    assert not texts(encoded) & texts(segments.teacher)


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
    build(tmp_path, Needs(logits=True))
    folder = shards_of(tmp_path)[0].parent
    old, new = folder / ".old.1.tmp", folder / ".new.2.tmp"
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (1, 1))
    build(tmp_path, EVERYTHING)
    assert not old.exists()
    assert new.exists()  # somebody may be writing it


def test_a_full_disk_falls_back_to_the_model(tmp_path, small_shards, monkeypatch):
    write = store.write_shard
    written = []

    def full(shard):
        if len(written) == 3:
            raise UserError("no space left while writing")
        written.append(len(shard.keys))
        write(shard)

    monkeypatch.setattr(store, "write_shard", full)
    said = []
    stored = build(tmp_path, EVERYTHING, said)
    (line,) = said
    assert re.search("cannot be kept .no space left.*the teacher runs beside the student", line)
    assert (~stored.index.lacking()).sum() == sum(written)
    check(stored, tmp_path)  # some rows are read, some come from the model
    batch = toy_split().batch(np.arange(5))
    unknown = dataclasses.replace(batch, rows=torch.full((5,), -1))  # text that is no row of the split
    check_rows = stored.features(unknown)
    assert torch.allclose(check_rows.logits, stored.features(batch).logits, atol=1e-5)


def test_logits_are_held_in_memory_where_there_is_no_room_for_them(tmp_path, passes):
    needs, said = Needs(logits=True), []
    stored = build(tmp_path, needs, said, features="auto", store_limit_gib=1e-9)
    assert stored.online is None
    assert sum(passes) == 97
    assert re.search("cannot be kept .they take .*, there is room for .*: this run holds them in memory", said[0])
    assert not shards_of(tmp_path)
    check(stored, tmp_path, needs=needs)


def test_room_is_what_all_stores_leave_of_the_limit_and_half_of_what_the_disk_has(tmp_path, small_shards, monkeypatch):
    def rows_kept(limit, seed, free=math.inf):
        monkeypatch.setattr("stillhouse.teachers.source.free_space", lambda _: free)
        options = {"encoder": toy_encoder(seed), "features": "auto", "store_limit_gib": limit}
        teacher = build(tmp_path, EVERYTHING, **options)
        return 0 if isinstance(teacher, OnlineTeacher) else int((~teacher.index.lacking()).sum())

    assert rows_kept(1.0, seed=3) == 97
    whole = used_bytes(tmp_path / "store") / 2**30
    assert rows_kept(1.05 * whole, seed=4) == 0  # another teacher's have taken it
    assert 0 < rows_kept(1.6 * whole, seed=5) < 97
    assert rows_kept(1.0, seed=6, free=0.1 * whole * 2**30) == 0
    assert 0 < rows_kept(1.0, seed=7, free=1.2 * whole * 2**30) < 70


def test_another_precision_or_version_has_a_store_of_its_own(tmp_path, monkeypatch):
    def folder(precision="fp32"):
        return FeatureStore(tmp_path, "teacher", precision).folder

    mine = folder()
    assert folder() == mine != folder("bf16")
    monkeypatch.setattr(store, "version", lambda _: "0.0.1")
    assert folder() != mine


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_waits_to_be_written_holds_no_more_than_that(dtype):
    states, real = torch.randn(3, 7, 4), torch.arange(7) < torch.tensor([[7], [2], [5]])
    for kept, expected in (
        (fill._kept(states[:, 0], None, dtype), states[:, 0]),
        (fill._kept(states, real, dtype), states[real]),
    ):
        assert torch.equal(kept, expected.to(dtype))
        assert kept.untyped_storage().nbytes() == kept.nbytes


def test_a_slow_teacher_writes_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr("stillhouse.teachers.fill.SHARD_SECONDS", 0.0)
    monkeypatch.setattr("stillhouse.teachers.fill.scoring_order", partial(scoring_order, tokens=100))
    build(tmp_path, Needs(logits=True))
    assert len(shards_of(tmp_path)) > 5


def test_many_columns(tmp_path):
    """More than a number has bits: one lacks the last of them alone."""
    keys, lengths = np.arange(6, dtype=np.uint64).reshape(3, 2), np.full(3, 4)
    index = Index(keys, lengths, [])
    for number in range(70):
        index.places[f"column {number}"] = np.zeros(3, np.int64), np.arange(3)
    index.places["column 69"][0][1] = -1
    ((columns, rows),) = index.missing()
    assert (columns, rows.tolist()) == ({"column 69"}, [1])


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


def test_logits_are_kept_even_where_nothing_can_be_written(tmp_path, monkeypatch, passes):
    (tmp_path / "store").write_text("a file in the way")
    needs = Needs(logits=True)
    stored = build(tmp_path, needs)
    assert stored.online is None
    assert sum(passes) == 97
    check(stored, tmp_path, needs=needs)
    assert isinstance(build(tmp_path, EVERYTHING, []), OnlineTeacher)


def test_what_auto_keeps(tmp_path):
    def kind(needs=EVERYTHING, said=None, **options):
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            return type(build(Path(folder), needs, said, features="auto", **options))

    assert kind() is StoredTeacher
    assert kind(epochs=1.0) is OnlineTeacher
    assert kind(epochs=1.0, is_shared=True) is StoredTeacher  # of a comparison: other runs read it, too
    assert kind(Needs(logits=True), epochs=0.5) is OnlineTeacher
    assert kind(Needs(logits=True), epochs=1.0) is StoredTeacher
    assert kind(Needs()) is NoTeacher
    said = []
    assert kind(said=said, store_limit_gib=1e-5) is OnlineTeacher
    assert re.search(
        r"features of 97 rows take 0.5 MiB, there is room for 0.0 MiB: the teacher runs beside the student", said[0]
    )


def test_auto_keeps_as_many_rows_as_there_is_room_for(tmp_path, small_shards):
    said = []
    stored = build(tmp_path, EVERYTHING, said, features="auto", store_limit_gib=2e-4)
    kept = (~stored.index.lacking()).sum()
    assert 10 < kept < 97
    assert used_bytes(tmp_path / "store") < 1.3 * 2e-4 * 2**30  # headers are not in the estimate
    assert "for the others" in said[0]
    check(stored, tmp_path)


def test_two_processes_fill_one_store(tmp_path):
    workers = [start(fill_as_another, tmp_path) for _ in range(2)]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    stored = build(tmp_path, EVERYTHING)
    assert stored.online is None
    check(stored, tmp_path)


def start(target, *arguments):
    worker = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    worker.start()
    return worker


def fill_as_another(folder):
    build(folder, EVERYTHING)


def fill_slowly(folder):
    write = store.write_shard

    def slow(shard):
        write(shard)
        time.sleep(0.2)

    make_shards_small(pytest.MonkeyPatch())
    store.write_shard = slow
    build(folder, EVERYTHING)


def test_a_process_killed_while_it_fills_leaves_a_store_that_the_next_completes(tmp_path, passes):
    worker = start(fill_slowly, tmp_path)
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
def test_a_system_that_refuses_to_write_leaves_the_model_and_one_clear_line(tmp_path):
    said = multiprocessing.get_context("spawn").Queue()
    worker = start(fill_where_files_stay_small, tmp_path, said)
    (line,), is_online = said.get(timeout=120)
    worker.join()
    assert is_online
    assert re.search("cannot be kept .no space left while writing.*the teacher runs beside the student", line)
    assert [path.name for path in (tmp_path / "store").glob("*/*")] == ["store.json"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_online_and_store_train_alike(tmp_path, precision):
    """The store keeps what the online teacher is rounded to; what is left is the rounding of other batches."""
    for name in ("minilmv2", "pkd", "tinybert"):
        method = load_method(name).model_validate({})
        states = []
        for features in ("store", "online"):
            teacher, student = toy_encoder(1, layers=4, **SILENT), toy_encoder(2, **SILENT)
            stage = method.plan("classification", dimensions(student.config), dimensions(teacher.config))[0]
            config = StageConfig(epochs=2, batch_size=16, learning_rate=1e-4, select_on="none")
            stages = (dataclasses.replace(stage, config=config),)
            source = Source(TeacherConfig(features=features, store=str(tmp_path / "store")), "toy")
            shop = workshop(tmp_path / name / features, precision=precision)
            run_stages(stages, student, toy_split(), lambda: 0.0, shop, teacher=teacher, source=source, seed=0)
            assert bool(shards_of(tmp_path)) == (features == "store")
            shutil.rmtree(tmp_path / "store", ignore_errors=True)
            states.append(weights(student))
        tolerance = 1e-5 if precision == "fp32" else 5e-4
        for key, tensor in states[0].items():
            assert torch.allclose(tensor, states[1][key], atol=tolerance), (name, key)


def test_the_command_shows_checks_and_frees(tmp_path, small_shards, capsys):
    build(tmp_path, EVERYTHING)
    build(tmp_path, Needs(logits=True), encoder=toy_encoder(4))
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
