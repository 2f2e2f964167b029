from __future__ import annotations

import time
from pathlib import Path

import datasets
import pytest
from huggingface_hub import constants

from stillhouse.data.readers import hub
from stillhouse.data.readers.sources import choose_splits, read_source, split_of
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
