from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path

import datasets
import pytest
from huggingface_hub import constants

from stillhouse.data.readers import hub
from stillhouse.data.readers.sources import choose_splits, read_source
from stillhouse.data.readers.split_names import split_of
from stillhouse.data.readers.table import Table
from stillhouse.errors import UserError


def fill(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(f"text\tlabel\nfrom {name}\t1\n")
    return folder


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline mode is off, whatever the environment of the test run says."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("lite_train", "train"),
        ("TRAIN-full", "train"),
        ("eng.train", "train"),
        ("dev", "validation"),
        ("valid", "validation"),
        ("validation_matched", "validation"),
        ("val", "validation"),
        ("lite_dev", "validation"),
        ("test", "test"),
        ("test-labeled", "test"),
        ("contest", None),
        ("trains", None),
        ("device", None),
        ("train_dev", None),
        ("reviews", None),
    ],
)
def test_split_names(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_folder(tmp_path: Path) -> None:
    folder = fill(tmp_path / "reviews", "lite_train.tsv", "valid.tsv", "test.tsv", "contest.tsv")
    (folder / "train.md").write_text("not data")
    source = read_source(str(folder))
    assert source.name == "reviews"
    assert {split: table.columns["text"] for split, table in source.splits.items()} == {
        "train": ["from lite_train.tsv"],
        "validation": ["from valid.tsv"],
        "test": ["from test.tsv"],
    }


def test_folder_with_shards_and_matched_rows(tmp_path: Path) -> None:
    folder = fill(tmp_path / "m", "train-00001-of-00002.tsv", "train-00000-of-00002.tsv")
    fill(folder, "dev_matched.tsv", "dev_mismatched.tsv")
    splits = read_source(str(folder)).splits
    assert splits["train"].columns["text"] == ["from train-00000-of-00002.tsv", "from train-00001-of-00002.tsv"]
    assert splits["validation"].columns["text"] == ["from dev_matched.tsv"]


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no train split, only test"):
        read_source(str(fill(tmp_path / "a", "test.tsv")))
    with pytest.raises(UserError, match=r"more than one train split: lite_train\.tsv, train\.tsv"):
        read_source(str(fill(tmp_path / "b", "train.tsv", "lite_train.tsv")))


@pytest.mark.parametrize(
    ("files", "below"),
    [
        (("README.md", "data/train-00000-of-00001.tsv", "data/test.tsv"), "data"),
        (("README.md", ".git/train.tsv", "raw/notes.txt", "plain_text/train.tsv", "plain_text/test.tsv"), "plain_text"),
        (("train/0.tsv", "train/1.tsv", "test/x.tsv"), ""),
        (("default/train/0000.tsv", "default/test/0000.tsv", "README.md"), "default"),
    ],
)
def test_splits_one_folder_below_or_in_folders_of_their_own(tmp_path: Path, files: tuple[str, ...], below: str) -> None:
    folder = tmp_path / "clone"
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"text\tlabel\nfrom {name}\t1\n")
    source = read_source(str(folder))
    assert source.name == "clone"
    assert source.notes == ([f"data: the folder {folder / below}"] if below else [])
    inside = [name for name in files if name.endswith(".tsv") and not name.startswith(".")]
    assert {split: table.columns["text"] for split, table in source.splits.items()} == {
        split: [f"from {name}" for name in inside if split in name] for split in ("train", "test")
    }


def test_several_folders_with_splits_are_named(tmp_path: Path) -> None:
    for language in ("de", "en"):
        (tmp_path / "set").mkdir(exist_ok=True)
        fill(tmp_path / "set" / language, "train.tsv")
    with pytest.raises(UserError, match=r"2 of its folders have\n.*\n  fix: name one of them: de, en"):
        read_source(str(tmp_path / "set"))


def test_a_pipe_among_split_files_is_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path / "set", "train.tsv")
    os.mkfifo(folder / "test.tsv")
    (folder / "dev.tsv").symlink_to(folder / "nowhere.tsv")
    source = read_source(str(folder))
    with pytest.raises(UserError, match="is no ordinary file"):
        source.table("test")
    with pytest.raises(UserError, match="there is no file"):
        source.table("validation")


def test_shards_have_the_same_columns(tmp_path: Path) -> None:
    folder = fill(tmp_path / "set", "train-00000-of-00002.tsv")
    (folder / "train-00001-of-00002.tsv").write_text("text\tlabel\tmore\na\t1\tb\n")
    with pytest.raises(UserError, match=r"train-00000-of-00002\.tsv has no column 'more'"):
        read_source(str(folder)).table("train")


@pytest.mark.parametrize("is_dict", [True, False])
def test_what_save_to_disk_wrote(tmp_path: Path, is_dict: bool) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, -1]}, features=features)
    saved = datasets.DatasetDict({"train": rows, "test": rows}) if is_dict else rows
    saved.save_to_disk(str(tmp_path / "saved"))
    source = read_source(str(tmp_path / "saved"))
    assert list(source.splits) == (["train", "test"] if is_dict else ["train"])
    assert source.table("train").columns == {"text": ["a", "b"], "label": ["yes", -1]}
    for file in (tmp_path / "saved").rglob("*.arrow"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=r"saved cannot be loaded: .*\n.*save_to_disk"):
        read_source(str(tmp_path / "saved"))


RECORDS = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
BY_COLUMN = {"text": ["a", "b"], "label": ["x", "y"]}


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
@pytest.mark.parametrize("rows", [RECORDS, BY_COLUMN])
def test_json_by_split(tmp_path: Path, name: str, rows: object) -> None:
    content = json.dumps({"train": rows, "dev": rows, "test": []}).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    source = read_source(str(tmp_path / name))
    assert source.name == "a"
    assert {split: table.columns for split, table in source.splits.items()} == {"train": BY_COLUMN, "validation": BY_COLUMN}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"dev": RECORDS, "test": RECORDS}, "no train split, only test, validation"),
        ({"train": RECORDS, "extra": RECORDS}, "holds splits, and beside them extra"),
        ({"train": RECORDS, "test": ["a"]}, "test, row 1 is str, not an object"),
    ],
)
def test_json_by_split_that_cannot_be_used(tmp_path: Path, document: object, message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=message):
        read_source(str(tmp_path / "a.json"))


def test_single_file_is_train(tmp_path: Path) -> None:
    source = read_source(str(fill(tmp_path, "reviews.v2.tsv") / "reviews.v2.tsv"))
    assert source.name == "reviews.v2"
    assert list(source.splits) == ["train"]


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file or folder 'sst-2'.*\n.*pydocs, a GLUE name \(cola.*\n.*'sst2'"):
        read_source("sst-2")
    with pytest.raises(UserError, match="check the path"):
        read_source(str(tmp_path / "xyzzy.csv"))
    with pytest.raises(UserError, match="names no data set of the hub"):
        read_source("hub:a/b/c")


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("given", ["sst2", "hub:owner/name:config"])
def test_unreachable_hub_says_so_at_once(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setattr(hub, "is_reachable", lambda: False)
    started = time.monotonic()
    with pytest.raises(UserError, match=r"hub cannot be reached.*not in its cache\n  fix: .*pydocs"):
        read_source(given)
    assert time.monotonic() - started < 10
    assert (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE) == (False, False)


@pytest.mark.usefixtures("online")
def test_hub_set_with_class_names_and_matched_split(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features({"premise": datasets.Value("string"), "label": datasets.ClassLabel(names=["yes", "no"])})

    def rows(text: str, label: int) -> datasets.Dataset:
        return datasets.Dataset.from_dict({"premise": [text], "label": [label]}, features=features)

    loaded = {"train": rows("a", 1), "validation_matched": rows("b", 0), "validation_mismatched": rows("c", 0)}
    loaded["test_matched"] = rows("d", -1)
    asked = []

    def load(name: str, config: str | None) -> dict[str, datasets.Dataset]:
        asked.append((name, config))
        return loaded

    monkeypatch.setattr(hub, "is_reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", load)
    source = read_source("mnli")
    assert source.name == "mnli"
    assert {split: table.columns for split, table in source.splits.items()} == {
        "train": {"premise": ["a"], "label": ["no"]},
        "validation": {"premise": ["b"], "label": ["yes"]},
        "test": {"premise": ["d"], "label": [-1]},
    }
    assert read_source("hub:owner/name:config").name == "name"
    assert asked == [("nyu-mll/glue", "mnli"), ("owner/name", "config")]


@pytest.mark.usefixtures("online")
def test_hub_error_while_online(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, config: str | None) -> None:
        raise ValueError("Config name is missing.\nPlease pick one")

    monkeypatch.setattr(hub, "is_reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(UserError, match=r"owner/name cannot be loaded: Config name is missing\.\n  expected: hub:"):
        read_source("hub:owner/name")


def test_hub_set_without_train() -> None:
    with pytest.raises(UserError, match="x has no train split, only test"):
        choose_splits({"test": Table({"text": ["a"]}, "x")}, "x")
