"""Scores of questions with an answer and without."""

from stillhouse.report.questions import question_table


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
