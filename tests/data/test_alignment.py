from __future__ import annotations

import pytest

from stillhouse.data.alignment import align_labels
from stillhouse.data.examples import Dataset, Examples
from stillhouse.errors import UserError
from stillhouse.task import Answer, Task, load_kind


def dataset(kind: str, names: tuple[str, ...], labels: list[object]) -> Dataset:
    rows = Examples([f"text {row}" for row in range(len(labels))], labels)
    return Dataset(Task("rows", load_kind(kind), names), rows, rows, rows, rows, notes=("before",))


def test_by_name_in_any_case_with_labels_that_the_data_lack() -> None:
    aligned = align_labels(dataset("classification", ("neg", "POS"), [0, None, 1]), ["pos", "neutral", "NEG"], {})
    assert aligned.task.labels == ("pos", "neutral", "NEG")
    for split in (aligned.train, aligned.selection, aligned.validation, aligned.test):
        assert split is not None
        assert split.labels == [2, None, 0]
    assert aligned.notes == ("before", "labels (data = teacher): neg = NEG, POS = pos")


def test_by_name_in_any_form_of_unicode() -> None:
    aligned = align_labels(dataset("classification", ("Cafe\u0301", "tea"), [0, 1]), ["tea", "caf\u00e9"], {})
    assert aligned.train.labels == [1, 0]
    signed = align_labels(dataset("classification", ("+1", "-1"), [0, 1]), ["-1", "1"], {})
    assert signed.train.labels == [1, 0]


def test_equal_labels_in_another_order_need_no_note() -> None:
    aligned = align_labels(dataset("classification", ("a", "b"), [0, 1, 1]), ["b", "a"], {})
    assert aligned.train.labels == [1, 0, 0]
    assert aligned.notes == ("before",)


@pytest.mark.parametrize("teacher", [["LABEL_0", "LABEL_1"], ["negative", "positive"]])
def test_integers_are_ids(teacher: list[str]) -> None:
    aligned = align_labels(dataset("classification", ("0", "1"), [1, 0]), teacher, {})
    assert (aligned.train.labels, aligned.task.labels) == ([1, 0], tuple(teacher))


def test_integers_that_are_names_are_names() -> None:
    assert align_labels(dataset("classification", ("0", "1"), [1, 0]), ["1", "0"], {}).train.labels == [0, 1]


def test_map_comes_first_and_may_join_labels() -> None:
    data = dataset("classification", ("bad", "good", "great"), [0, 1, 2])
    aligned = align_labels(data, ["NEGATIVE", "POSITIVE"], {"bad": "negative", "good": "POSITIVE", "great": "positive"})
    assert aligned.train.labels == [0, 1, 1]


def test_multilabel_and_tagging() -> None:
    multi = align_labels(dataset("multilabel", ("a", "b", "c"), [(0, 2), (), None, (1,)]), ["C", "B", "A"], {})
    assert multi.train.labels == [(0, 2), (), None, (1,)]  # {a, c} -> {2, 0}, in order
    tags = align_labels(dataset("tagging", ("B-X", "O"), [(0, 1), (1, 1, 0)]), ["O", "I-X", "B-X"], {})
    assert tags.train.labels == [(2, 0), (0, 0, 2)]


@pytest.mark.parametrize("kind", ["regression", "qa"])
def test_nothing_to_align(kind: str) -> None:
    data = dataset(kind, (), [(Answer("a", 0),), 0.5])
    assert align_labels(data, ["LABEL_0"], {"x": "y"}) is data


@pytest.mark.parametrize(
    ("names", "teacher"),
    [
        (("bad", "good"), ["negative", "positive"]),
        (("0", "1"), ["LABEL_0", "LABEL_1", "LABEL_2"]),
        (("1", "2"), ["LABEL_0", "LABEL_1"]),
        (("yes", "no"), ["No", "YES", "Yes"]),  # two of the teacher's labels differ in case only: which is meant?
    ],
)
def test_labels_that_differ_are_printed_side_by_side(names: tuple[str, ...], teacher: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        align_labels(dataset("classification", names, [0, 1]), teacher, {})
    assert f"data:    {', '.join(names)}\n  teacher: {', '.join(teacher)}" in str(caught.value)
    assert f"--label-map {names[0]}={teacher[0]}" in str(caught.value)


def test_map_with_unknown_names() -> None:
    data = dataset("classification", ("bad", "good"), [0, 1])
    with pytest.raises(UserError, match=r"names 'worse', which is no label of the data\n  expected: 'bad', 'good'"):
        align_labels(data, ["n", "p"], {"worse": "n"})
    with pytest.raises(UserError, match=r"sends 'bad' to 'neg', which is no label of the teacher\n  expected: 'n', 'p'"):
        align_labels(data, ["n", "p"], {"bad": "neg", "good": "p"})


def test_a_map_that_leaves_one_class_is_refused() -> None:
    data = dataset("classification", ("neg", "pos"), [0, 1])
    with pytest.raises(UserError, match=r"all labels of the data are 'good' of the teacher: neg = good, pos = good"):
        align_labels(data, ("bad", "good"), {"neg": "good", "pos": "good"})
