"""Where a stage gets the teacher from: the store, as far as there is room, memory, or the model."""

import dataclasses
import math
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.features import needing
from tests.teachers.toy_store import EVERYTHING, assert_alike, build, check, shards_of
from tests.training.toy_stage import SILENT, toy_encoder, toy_split, train_stages, training_context, weights

from stillhouse.config import StageConfig, TeacherConfig
from stillhouse.errors import UserError
from stillhouse.methods import load_method
from stillhouse.models import capture, forward
from stillhouse.models.adapter import dimensions
from stillhouse.speed.attention import block_attention
from stillhouse.task import load_kind
from stillhouse.teachers import store
from stillhouse.teachers.source import NoTeacher, OnlineTeacher, Source, StoredTeacher
from stillhouse.teachers.store import used_bytes


@pytest.mark.parametrize("features", ["store", "online"])
def test_the_teacher_attends_to_short_texts_block_by_block(tmp_path, monkeypatch, features):
    seen = []
    monkeypatch.setattr(capture, "block_attention", lambda *given: seen.append(given) or block_attention(*given))
    teacher = build(tmp_path, needing(logits=True), features=features)
    teacher.features(toy_split().batch(np.arange(5)))
    assert seen


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


def test_text_that_is_no_row_of_the_split_goes_through_the_model(tmp_path, monkeypatch):
    stored = build(tmp_path, EVERYTHING)
    batch = toy_split().batch(np.arange(6))
    ids = batch.learner.ids.clone()
    ids[3:, 1] = 7  # as text does that changes with every epoch
    views = {0: dataclasses.replace(batch.learner, ids=ids)}
    mixed = dataclasses.replace(batch, views=views, rows=torch.tensor([0, 1, 2, -1, -1, -1]))
    passes = []
    compute = forward.compute_features
    monkeypatch.setattr(
        forward,
        "compute_features",
        lambda model, inputs, needs: passes.append(len(inputs["input_ids"])) or compute(model, inputs, needs),
    )
    found = stored.features(mixed)
    assert passes == [3]
    online = OnlineTeacher(toy_encoder(3), EVERYTHING, training_context(tmp_path).accelerator).features(mixed)
    assert_alike(found, online, batch.learner.mask.bool())


def test_logits_are_held_in_memory_where_there_is_no_room_for_them(tmp_path, passes):
    needs, said = needing(logits=True), []
    stored = build(tmp_path, needs, said, features="auto", store_limit_gib=1e-9)
    assert not stored.index.lacking().any()
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


def test_logits_are_kept_even_where_nothing_can_be_written(tmp_path, monkeypatch, passes):
    (tmp_path / "store").write_text("a file in the way")
    needs = needing(logits=True)
    stored = build(tmp_path, needs)
    assert not stored.index.lacking().any()
    assert sum(passes) == 97
    check(stored, tmp_path, needs=needs)
    assert isinstance(build(tmp_path, EVERYTHING, []), OnlineTeacher)


def test_what_is_kept_is_used_even_where_it_is_read_once(tmp_path):
    build(tmp_path, EVERYTHING)
    assert isinstance(build(tmp_path, EVERYTHING, features="auto", epochs=1.0), StoredTeacher)


def test_what_auto_keeps(tmp_path):
    def kind(needs=EVERYTHING, said=None, **options):
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            return type(build(Path(folder), needs, said, features="auto", **options))

    assert kind() is StoredTeacher
    assert kind(epochs=1.0) is OnlineTeacher
    assert kind(epochs=1.0, is_shared=True) is StoredTeacher  # of a comparison: other runs read it, too
    assert kind(needing(logits=True), epochs=0.5) is OnlineTeacher
    assert kind(needing(logits=True), epochs=1.0) is StoredTeacher
    assert kind(needing()) is NoTeacher
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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_online_and_store_train_alike(tmp_path, precision):
    """The store keeps what the online teacher is rounded to; what is left is the rounding of other batches."""
    for name in ("minilmv2", "pkd", "tinybert"):
        method = load_method(name).model_validate({})
        states = []
        for features in ("store", "online"):
            teacher, student = toy_encoder(1, layers=4, **SILENT), toy_encoder(2, **SILENT)
            stage = method.plan(load_kind("classification"), dimensions(student.config), dimensions(teacher.config))[0]
            config = StageConfig(epochs=2, batch_size=16, learning_rate=1e-4, select_on="none")
            stages = (dataclasses.replace(stage, config=config),)
            source = Source(TeacherConfig(features=features, store=str(tmp_path / "store")), "toy")
            context = training_context(tmp_path / name / features, precision=precision)
            train_stages(stages, student, toy_split(), lambda: 0.0, context, teacher=teacher, source=source, seed=0)
            assert bool(shards_of(tmp_path)) == (features == "store")
            shutil.rmtree(tmp_path / "store", ignore_errors=True)
            states.append(weights(student))
        tolerance = 1e-5 if precision == "fp32" else 5e-4
        for key, tensor in states[0].items():
            assert torch.allclose(tensor, states[1][key], atol=tolerance), (name, key)
