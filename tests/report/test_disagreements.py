"""The examples on which student and teacher disagree most."""

from tests.report.rows import classified

from stillhouse.report.disagreements import most_disagreed


def test_disagreements_are_ordered_and_need_one():
    rows = classified(("a", "a", "b"), ("a", "a", "a"), ("b", "b", "a"), ("b", "b", "b"))
    for row, kl in zip(rows, (0.3, 0.0, 0.7, None), strict=True):
        row["kl"] = kl
    found = most_disagreed("classification", rows)
    # TextRow 1 agrees in full; row 3's divergence was not a number.
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
