"""What a run makes of its data before it trains."""

import pytest
from tests.tiny_models import make_tiny_checkpoint

from stillhouse.errors import UserError
from stillhouse.runs.defaults import with_defaults
from stillhouse.runs.options import config_from_options
from stillhouse.runs.prepare import prepare


def prepared(tmp_path, labels, teacher_labels, **options):
    data = tmp_path / "data.csv"
    rows = [f"movie {row} of {row % 7},{labels[row % len(labels)]}\n" for row in range(124)]
    data.write_text("text,label\n" + "".join(rows))
    teacher = make_tiny_checkpoint(tmp_path / "teacher", "bert", head="classification", labels=teacher_labels)
    usual = {"data": str(data), "teacher": str(teacher), "method": "logit", "student": "2x24", "max_length": 32}
    return prepare(with_defaults(config_from_options(usual | options)))


def test_a_label_that_the_teacher_names_is_a_class(tmp_path):
    labels = ["bad"] * 15 + ["None"] + ["good"] * 15  # None is in 4 of 124 rows
    found = prepared(tmp_path, labels, ("good", "none", "bad"))
    assert found.dataset.task.labels == ("good", "none", "bad")
    gold = [label for split in ("train", "selection", "validation") for label in getattr(found.dataset, split).labels]
    assert [gold.count(label) for label in (0, 1, 2, None)] == [60, 4, 60, 0]
    assert "train: 4 rows have the label None, which is read as a class" in found.data_notes


def test_the_map_decides_what_minus_one_is(tmp_path):
    names = ("bad", "fair", "good")
    with pytest.raises(UserError, match=r"-1 may be a class or mean no label(?s:.*)--label-map -1=NAME"):
        prepared(tmp_path, [-1, 0, 1], names)
    found = prepared(tmp_path, [-1, 0, 1], names, label_map={"-1": "bad", "0": "fair", "1": "good"})
    assert None not in found.dataset.train.labels
    found = prepared(tmp_path, [-1, 0, 1], names, label_map={"0": "fair", "1": "good"})
    assert set(found.dataset.train.labels) == {None, 1, 2}
    assert "train: 42 rows have the label -1, which means no label" in found.data_notes
