"""F1 of each class, and what is taken for what."""

import pytest
from tests.report.rows import classified

from stillhouse.report.classes import class_scores, most_confused, shared_confusions


def test_f1_of_each_class():
    # Gold a a b b c; teacher all right but one b taken for a; student never says c, and takes one a for b.
    rows = classified(("a", "a", "a"), ("a", "a", "b"), ("b", "b", "b"), ("b", "a", "b"), ("c", "c", "b"))
    found = {one.name: one for one in class_scores("classification", rows, ["c", "a", "b", "unused"])}
    assert list(found) == ["c", "a", "b"]
    # a: teacher TP 2, FP 1, FN 0 -> 4/5; student TP 1, FP 0, FN 1 -> 2/3.
    assert found["a"].f1 == {"teacher": pytest.approx(4 / 5), "student": pytest.approx(2 / 3)}
    assert found["a"].gap == pytest.approx(2 / 3 - 4 / 5)
    # b: teacher TP 1, FN 1 -> 2/3; student TP 2, FP 2 -> 4/6. c: student 0/(0 + 1) = 0.
    assert found["b"].f1 == {"teacher": pytest.approx(2 / 3), "student": pytest.approx(2 / 3)}
    assert found["c"].f1 == {"teacher": 1.0, "student": 0.0}
    assert [found[name].rows for name in "abc"] == [2, 2, 1]


def test_a_class_that_one_model_alone_predicts_has_no_gap():
    rows = classified(("a", "a", "b"))
    found = {one.name: one for one in class_scores("classification", rows, ["a", "b"])}
    # b is in nobody's gold: the teacher, who never says it, has no F1 for it.
    assert found["b"].f1 == {"teacher": None, "student": 0.0}
    assert found["b"].gap is None


def test_f1_of_each_label():
    rows = [
        {"gold": ["x", "y"], "teacher": {"labels": ["x", "y"]}, "student": {"labels": ["y"]}},
        {"gold": [], "teacher": {"labels": []}, "student": {"labels": ["y"]}},
        {"gold": ["x"], "teacher": {"labels": ["x"]}, "student": {"labels": ["x"]}},
    ]
    found = {one.name: one.f1["student"] for one in class_scores("multilabel", rows, ["x", "y"])}
    # x: TP 1, FN 1 -> 2/3. y: TP 1, FP 1 -> 2/3.
    assert found == {"x": pytest.approx(2 / 3), "y": pytest.approx(2 / 3)}


def test_f1_of_each_entity_type_counts_whole_spans():
    tags = {"teacher": ["B-PER", "I-PER", "O", "B-ORG"], "student": ["B-PER", "O", "O", "B-ORG"]}
    rows = [{"gold": ["B-PER", "I-PER", "O", "B-ORG"], **{role: {"tags": value} for role, value in tags.items()}}]
    found = {one.name: one for one in class_scores("tagging", rows, ["O", "B-ORG", "I-ORG", "B-PER", "I-PER"])}
    assert list(found) == ["ORG", "PER"]
    # Half of a person is no person.
    assert found["PER"].f1 == {"teacher": 1.0, "student": 0.0}
    assert found["ORG"].gap == 0.0


def test_confusions_share_their_classes():
    rows = classified(("a", "a", "b"), ("a", "a", "a"), ("b", "z", "b"))
    found = shared_confusions("classification", rows, ["a", "b"], ["student", "teacher"])
    assert found["student"].labels == found["teacher"].labels == ("a", "b", "z")
    assert found["student"].counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert found["teacher"].counts.tolist() == [[2, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_confusions_of_words_are_by_entity_type():
    rows = [{"gold": ["B-PER", "I-PER", "O"], "student": {"tags": ["B-ORG", "I-PER", "O"]}}]
    found = shared_confusions("tagging", rows, ["O", "B-ORG", "B-PER", "I-PER"], ["student"])["student"]
    assert found.labels == ("O", "ORG", "PER")
    assert found.counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]


def test_the_most_frequent_confusions_first():
    rows = classified(*[("a", "a", "b")] * 3, ("a", "c", "c"), ("b", "b", "b"))
    pairs = most_confused(shared_confusions("classification", rows, ["a", "b", "c"], ["student", "teacher"]))
    # Four rows of a: three taken for b, one for c.
    assert [(pair.gold, pair.predicted, pair.student, pair.teacher, pair.share) for pair in pairs] == [
        ("a", "b", 3, 0, 0.75),
        ("a", "c", 1, 1, 0.25),
    ]
