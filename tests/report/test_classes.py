import pytest

from stillhouse.report.classes import class_scores, most_confused, shared_confusions
from stillhouse.report.curves import read_curves
from stillhouse.report.examples import most_disagreed
from stillhouse.report.questions import question_table


def classified(*triples):
    return [
        {"id": str(number), "text": "t", "gold": gold, "teacher": {"label": teacher}, "student": {"label": student}}
        for number, (gold, teacher, student) in enumerate(triples)
    ]


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


def test_disagreements_are_ordered_and_need_one():
    rows = classified(("a", "a", "b"), ("a", "a", "a"), ("b", "b", "a"), ("b", "b", "b"))
    for row, kl in zip(rows, (0.3, 0.0, 0.7, None), strict=True):
        row["kl"] = kl
    found = most_disagreed("classification", rows)
    # Row 1 agrees in full; row 3's divergence was not a number.
    assert [(one.id, one.kl) for one in found] == [("2", 0.7), ("0", 0.3)]
    assert [(said.who, said.what, said.right) for said in found[0].said] == [
        ("gold", "b", None),
        ("teacher", "b", True),
        ("student", "a", False),
    ]
    assert len(most_disagreed("classification", rows, limit=1)) == 1


def test_a_tagged_sentence_marks_the_words_that_differ_however_long_it_is():
    tags = ["O"] * 100
    row = {"id": "0", "text": ["wordy"] * 100, "gold": tags, "kl": 0.1}
    row |= {"teacher": {"tags": tags}, "student": {"tags": ["B-PER", *tags[1:99], "B-ORG"]}}
    (found,) = most_disagreed("tagging", [row])
    # Six characters a word with its space: 50 words in 300 characters, then an ellipsis.
    assert [word.text for word in found.words] == ["wordy"] * 50 + ["…"]
    assert [word.differs for word in found.words[:2]] == [True, False]
    assert [[said.what for said in word.tags] for word in found.differing] == [["O", "O", "B-PER"], ["O", "O", "B-ORG"]]


def test_the_context_is_cut_around_the_answer():
    context = "filler " * 100 + "born in Rouen in 1027"
    row = {"id": "q", "text": "Where?", "text_pair": context, "gold": ["Rouen"], "kl": 0.5}
    row |= {"teacher": {"answer": "Rouen", "confidence": 0.9}, "student": {"answer": "", "confidence": 0.4}}
    (found,) = most_disagreed("qa", [row])
    assert found.text_pair.startswith("… filler")
    assert found.text_pair.endswith("born in Rouen in 1027")
    assert [(said.what, said.right) for said in found.said] == [("Rouen", None), ("Rouen", True), ("(no answer)", False)]


def test_questions_by_kind():
    rows = [
        {"gold": ["the red house"], "student": {"answer": "red house"}},
        {"gold": ["a red house", "barn"], "student": {"answer": "red barn"}},
        {"gold": [], "student": {"answer": "barn"}},
        {"gold": [], "student": {"answer": ""}},
        {"gold": [], "student": {"answer": ""}},
    ]
    table = question_table(rows)
    # Answerable: exact 1 and 0; F1 1 and max(2*1/4, 2*1/3) = 2/3. Unanswerable: 2 of 3.
    assert [(row.name, [cell.value for cell in row.cells]) for row in table.rows] == [
        ("answerable questions (2)", []),
        ("exact match", ["0.500"]),
        ("F1", ["0.833"]),
        ("unanswerable questions (3)", []),
        ("exact match", ["0.667"]),
    ]
    assert question_table(rows[:2]) is None


def test_curves_leave_out_what_is_not_a_number():
    log = [
        {"stage": "distil", "step": 40, "objectives": {"soft_labels": 0.5, "hard_labels": float("nan")}},
        {"stage": "distil", "step": 20, "objectives": {"soft_labels": 0.7}},
        {"stage": "distil", "step": 40, "selection": 0.8},
        {"stage": "distil", "step": 60, "selection": {"accuracy": 0.9, "mcc": 0.1}},
        {"stage": "empty", "step": 20, "objectives": {}},
    ]
    (curve,) = read_curves(log, "accuracy")
    assert curve.losses == {"soft_labels": ([20, 40], [0.7, 0.5])}
    assert curve.selection == ([40, 60], [0.8, 0.9])
