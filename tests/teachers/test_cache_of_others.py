"""A cache that others can write: what they put there, links above all, is neither followed nor deleted nor written over."""

import os
import shutil
import time

import pytest
import torch
from tests.commands import leave
from tests.teachers.toy_store import EVERYTHING, assert_alike, build, shards_of
from tests.training.toy_stage import toy_encoder, toy_split

from stillhouse import files
from stillhouse.data.pydocs import pydocs
from stillhouse.files import cache_folder, sweep
from stillhouse.teachers.kept import kept_folders, kept_stores, remove_kept
from stillhouse.teachers.kept_models import fits_kept, keep


@pytest.fixture
def mine(tmp_path):
    """Files of the user's own, elsewhere, of names that a store has too."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("store.json", "model.safetensors", "thesis.txt"):
        (folder / name).write_text(f"mine: {name}")
    return folder


@pytest.fixture
def untouched(mine):
    before = {path.name: path.read_bytes() for path in mine.iterdir()}
    yield
    assert {path.name: path.read_bytes() for path in mine.iterdir()} == before


def read(folder, said):
    return build(folder, EVERYTHING, said).features(everything())


def everything():
    split = toy_split()
    return split.batch(torch.arange(len(split.lengths)).numpy())


def assert_equal(one, other):
    assert_alike(one, other, everything().views[0].mask.bool())


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("place", ["folder", "store.json", "shard"])
def test_a_link_in_a_store(tmp_path, mine, place):
    expected = read(tmp_path, [])
    (store,) = (tmp_path / "store").iterdir()
    shard = shards_of(tmp_path)[0]
    victim, target = {
        "folder": (store, mine),
        "store.json": (store / "store.json", mine / "store.json"),
        "shard": (shard, mine / "model.safetensors"),
    }[place]
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
    victim.symlink_to(target)
    said = []
    assert_equal(read(tmp_path, said), expected)
    assert f"kept teacher features are not used: {victim} is a link" in said[0]
    assert victim.is_symlink()
    root = tmp_path / "store"
    assert leave("store", "ls", "--store", str(root)) == 0
    assert leave("store", "verify", "--store", str(root)) == 1
    remove_kept(kept_stores(root), ())
    assert victim.is_symlink()


@pytest.mark.parametrize("may_hold", [True, False])
def test_the_store_of_another_user(tmp_path, monkeypatch, may_hold):
    """As root has it who works in a user's cache."""
    needs = EVERYTHING if not may_hold else frozenset(feature for feature in EVERYTHING if feature.name == "logits")
    build(tmp_path, needs)
    (store,) = (tmp_path / "store").iterdir()
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in store.iterdir()}
    monkeypatch.setattr(files, "user_id", lambda: os.geteuid() + 1)
    said = []
    build(tmp_path, needs, said)
    assert f"{store} belongs to another user" in said[0]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in store.iterdir()} == before
    assert kept_stores(tmp_path / "store") == []


def test_a_file_in_a_store_that_is_no_shard_stays(tmp_path):
    expected = read(tmp_path, [])
    (store,) = (tmp_path / "store").iterdir()
    own = store / "weights.safetensors"
    own.write_text("mine")
    said = []
    assert_equal(read(tmp_path, said), expected)
    assert f"{own} is not used: it is no shard, or damaged" in said[0]
    remove_kept(kept_stores(tmp_path / "store"), ())
    assert [path.name for path in store.iterdir()] == ["weights.safetensors"]
    assert own.read_text() == "mine"


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("place", ["folder", "weights", "owner"])
def test_a_kept_teacher_of_others(tmp_path, mine, monkeypatch, place):
    toy_encoder(3).save_pretrained(tmp_path / "fitted")
    kept = cache_folder("teachers") / "0123"
    assert keep(kept, tmp_path / "fitted")
    weights = kept / "model.safetensors"
    whole = weights.read_bytes()
    if place == "owner":
        monkeypatch.setattr(files, "user_id", lambda: os.geteuid() + 1)
    else:
        victim = kept if place == "folder" else weights
        shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
        victim.symlink_to(mine if place == "folder" else mine / "model.safetensors")
    encoder, said = toy_encoder(5), []
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    assert not fits_kept(kept, encoder, said.append)
    assert ("belongs to another user" if place == "owner" else "is a link") in said[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    keep(kept, tmp_path / "fitted")
    if place == "owner":
        assert weights.read_bytes() == whole
    # A link in a folder that is ours goes with it; what it led to stays.
    found = kept_folders()[kept.parent]
    assert len(found) == (place == "weights")
    remove_kept(found, ())
    if place == "folder":
        assert kept.is_symlink()


@pytest.mark.usefixtures("untouched")
def test_the_rows_of_pydocs_behind_a_link(tmp_path, mine):
    path = tmp_path / "rows.jsonl"
    path.symlink_to(mine / "thesis.txt")
    assert pydocs._load(path) is None
    pydocs._keep(path, {"train": [{"text": "a", "label": "b"}]})
    assert path.is_symlink()


def test_sweeping_leaves_what_no_writer_of_ours_left(tmp_path):
    names = (".store.json.4711-0a1b2c3d.tmp", ".store.json.4711.tmp", ".notes.tmp", ".a.b.tmp")
    for name in names:
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (time.time() - 10**6,) * 2)
    (tmp_path / ".x.4711.tmp").symlink_to(tmp_path / ".notes.tmp")
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".notes.tmp", ".a.b.tmp", ".x.4711.tmp"}
