"""The page, the table and the words of a comparison."""

import json
import re

import pytest
from tests.commands import leave
from tests.report.page import Page

from stillhouse import UserError
from stillhouse.report import comparison_markdown, comparison_text, write_comparison_report
from stillhouse.report.comparison_plots import Point, pareto_front
from stillhouse.report.comparison_report import render_comparison
from stillhouse.report.comparison_words import comparison_lines, lines_table

EVIL = "<script>alert(1)</script>|x"


def row(line, method, seed, score, **changes):
    values = {"method": method, "student": "3x384", "start": "layers 1, 4, 6 of big", "seed": seed, "score": score}
    values |= {"retention": None, "gap_closed": None, "agreement": 0.9, "parameters": 17_000_000, "latency_ms_p50": 4.0}
    values |= {"train_seconds": 61.0, "status": "done", "reason": "", "line": line, "learning_rate": 1e-4, "run": "rows/x"}
    values |= {"steps": 1200}
    return values | changes


def summary(line, method, mean, **changes):
    values = {"method": method, "student": "3x384", "start": "layers 1, 4, 6 of big", "line": line, "learning_rate": 1e-4}
    values |= {"seeds": 2, "mean": mean, "standard_deviation": 0.01, "parameters": 17_000_000, "latency_ms_p50": 4.0}
    values |= {"retention": 0.97, "gap_closed": 0.5, "agreement": 0.9, "train_seconds": 61.0, "test_score": None}
    values |= {"steps": 1200}
    return values | changes


@pytest.fixture
def content():
    baseline, logit, pkd = "finetune-like-logit-3x384", "logit-3x384", "pkd-3x384"
    failed = {"status": "failed", "reason": f"stage 'distil' {EVIL}"}
    return {
        "schema": 1,
        "data": "reviews",
        "split": "validation",
        "task": "classification",
        "metric": "accuracy",
        "teacher": {
            "name": "big",
            "score": 0.91,
            "interval": [0.9, 0.92],
            "parameters": 22_700_000,
            "start": "big, fine-tuned here",
            "latency_ms_p50": 8.0,
            "test_score": None,
        },
        "seeds": [0, 1],
        "grid": [1e-4, 3e-4],
        "rows": [
            row(baseline, "finetune", 0, 0.85),
            row(logit, "logit", 0, 0.88),
            row(pkd, "pkd", 0, None, **failed),
            row(baseline, "finetune", 1, 0.87),
            row(logit, "logit", 1, 0.89),
            row(pkd, "pkd", 1, None, **failed),
        ],
        "pairs": [
            {
                "method": "logit",
                "student": "3x384",
                "minus_baseline": 0.025,
                "low": 0.01,
                "high": 0.04,
                "seeds": 2,
                "examples": 800,
                "line": logit,
                "baseline": baseline,
            }
        ],
        "summary": [
            summary(baseline, "finetune", 0.86),
            summary(logit, "logit", 0.885),
            summary(pkd, "pkd", None, seeds=0, standard_deviation=None, parameters=None, latency_ms_p50=None, agreement=None)
            | {"retention": None, "train_seconds": None, "steps": None, "learning_rate": None},
        ],
        "tries": [
            {"line": logit, "learning_rate": 1e-4, "selection": 0.9, "status": "done", "chosen": True},
            {"line": logit, "learning_rate": 3e-4, "selection": 0.8, "status": "done", "chosen": False},
            {"line": pkd, "learning_rate": 1e-4, "selection": None, "status": "failed", "chosen": False},
        ],
        "notes": [f"column {EVIL}"],
        "splits": {"train": 4000, "validation": 800},
        "latency": {"batch": 1, "tokens": 20, "threads": 2, "precision": "fp32"},
        "environment": {"stillhouse": "0.1.0", "threads": 2},
    }


def test_what_is_said(content):
    assert comparison_lines(content) == [
        "The teacher, big, reaches accuracy 0.910.",
        "Better than the same student without a teacher, beyond noise: logit.",
        "Failed: pkd.",
        "Scored on the validation split of reviews (800 rows), over 2 seeds; intervals are a paired bootstrap's over rows and "
        "seeds.",
    ]
    content["pairs"][0] |= {"low": -0.01}
    assert "Within noise of the same student without a teacher: logit." in comparison_lines(content)
    content["pairs"][0] |= {"minus_baseline": -0.02, "low": -0.03, "high": -0.01}
    assert "Worse than the same student without a teacher, beyond noise: logit." in comparison_lines(content)


def test_the_table(content):
    table = lines_table(content)
    rows = {row.name: [cell.value for cell in row.cells] for row in table.rows}
    assert table.columns[:3] == ("", "accuracy", "minus baseline")
    assert list(rows) == ["teacher", "without teacher", "logit", "pkd"]
    assert rows["logit"] == ["0.885", "+0.025", "97.0 %", "90.0 %", "17.0 M", "4.00 ms", "1 min 1 s", "1,200", "0.0001"]
    assert rows["pkd"][0] == "failed"
    assert set(rows["pkd"][1:]) == {"–"}
    assert all(len(cells) == len(table.columns) - 1 for cells in rows.values())


def test_test_scores_have_a_column_where_there_are_any(content):
    content["summary"][1]["test_score"] = 0.8765
    content["teacher"]["test_score"] = 0.9
    table = lines_table(content)
    assert table.columns[2] == "test split"
    assert all(len(row.cells) == len(table.columns) - 1 for row in table.rows)
    assert table.rows[2].cells[1].value == "0.876"
    assert table.rows[0].cells[1].value == "0.900"
    assert "minus baseline" in comparison_text(content)


def test_fewer_seeds_than_asked_are_said(content):
    content["summary"][1] |= {"seeds": 1, "standard_deviation": None}
    assert lines_table(content).rows[2].cells[0].note == "1 of 2 seeds"


def test_baselines_of_one_student_are_told_apart(content):
    content["summary"].append(summary("finetune-like-pkd-3x384", "finetune", 0.8, start="layers 1, 2, 3 of big"))
    content["rows"].append(row("finetune-like-pkd-3x384", "finetune", 0, 0.8))
    names = [row.name for row in lines_table(content).rows]
    assert {"without teacher, logit's start", "without teacher, pkd's start"} <= set(names)
    content["summary"].append(summary("logit-2x384", "logit", 0.8, student="2x384"))
    assert "logit 2x384" in [row.name for row in lines_table(content).rows]


def test_markdown_and_text_hold_every_line_and_reason(content):
    markdown, text = comparison_markdown(content), comparison_text(content)
    said = r"^\| logit \| 3x384: layers 1, 4, 6 of big \| 0\.885 ± 0\.010 \| \+0\.025 \(\+0\.010 to \+0\.040\) \|"
    assert re.search(said, markdown, re.MULTILINE)
    widths = {line.count("|") for line in markdown.splitlines() if line.startswith("|")}
    assert len(widths) == 1
    for shape in (markdown, text):
        assert "pkd, seed 0: stage 'distil'" in shape


def test_the_page_escapes_what_comes_from_data(content):
    page = render_comparison(content, f"data: {EVIL}\n")
    assert EVIL not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3
    assert "<script" not in page
    read = Page(page)
    assert all(link.startswith("#") for link in read.links)
    assert "Learning rates" in read.headings
    assert page == render_comparison(content, f"data: {EVIL}\n")
    costs = re.findall(r"accuracy against ([^;<]+); nothing beats logit", page)
    assert len(costs) == 2
    assert "latency" in costs[0]
    assert "parameters" in costs[1]


def test_a_page_of_a_comparison_that_has_only_begun(content):
    for one in content["rows"]:
        one |= {"score": None, "status": "missing", "reason": ""}
    for line in content["summary"]:
        line |= {"mean": None, "seeds": 0, "parameters": None, "latency_ms_p50": None, "standard_deviation": None}
    content |= {
        "pairs": [],
        "teacher": None,
        "task": None,
        "metric": None,
        "splits": None,
        "latency": None,
        "environment": None,
    }
    assert "Not finished yet: without teacher, logit, pkd." in render_comparison(content)
    assert "missing" in comparison_markdown(content)


def test_written_again_by_its_command(content, tmp_path, capsys):
    (tmp_path / "comparison.json").write_text(json.dumps(content))
    assert leave("report", str(tmp_path)) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    first = (tmp_path / "report.html").read_bytes()
    assert write_comparison_report(tmp_path).read_bytes() == first
    (tmp_path / "comparison.json").write_text("{")
    with pytest.raises(UserError, match=r"comparison\.json is damaged"):
        write_comparison_report(tmp_path)


def test_the_pareto_front():
    points = [
        Point("cheap and bad", "student", 1.0, 0.5),
        Point("as cheap, better", "student", 1.0, 0.6),
        Point("dearer and no better", "student", 2.0, 0.6),
        Point("dearer and better", "student", 3.0, 0.8),
        Point("its twin", "student", 3.0, 0.8),
        Point("dearest and worse", "student", 4.0, 0.7),
    ]
    assert pareto_front(points) == [False, True, False, True, True, False]
    assert pareto_front(points[:1]) == [True]


def test_what_was_learnt_from_a_corpus_stands_apart(content):
    assert "on the corpus" not in lines_table(content).columns
    content |= {"corpus": "wiki"}
    for line in content["summary"]:
        line["general_seconds"] = 125.0
    assert "Every student has learnt from wiki first, once for all seeds" in comparison_lines(content)[1]
    table = lines_table(content)
    column, training = table.columns.index("on the corpus"), table.columns.index("training")
    assert {len(row.cells) + 1 for row in table.rows} == {len(table.columns)}
    (cells,) = [row.cells for row in table.rows if row.name == "logit"]
    assert (cells[column - 1].value, cells[training - 1].value) == ("2 min 5 s", "1 min 1 s")
    assert "what was learnt from the corpus" in render_comparison(content)
    assert "on the corpus" not in comparison_text(content)
