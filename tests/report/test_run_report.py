import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.report.page import read

from stillhouse import report
from stillhouse.errors import UserError
from stillhouse.report import write_report
from stillhouse.report.svg import drawing, figure, inline_svg, printable

EVIL = "<script>alert(1)</script>"
MATHS = r"$\alpha$ & $\frac"

SECTIONS = {
    "classification": ["Gap to the teacher, by class", "What is taken for what"],
    "multilabel": ["Gap to the teacher, by class"],
    "regression": ["Predicted against gold values"],
    "tagging": ["Gap to the teacher, by class", "What is taken for what"],
    "qa": ["By kind of question"],
}


@pytest.mark.parametrize("task", SECTIONS)
def test_every_kind_of_task_has_its_sections(make_run, task):
    text, page = read(write_report(make_run(task)))
    last = ["Where student and teacher disagree most", "Size and speed", "How it was made"]
    assert page.headings == ["Summary", "Scores", "Training", *SECTIONS[task], *last]
    for shown in ("0.890", "0.871", "0.864", "0.851 to 0.891", "−0.004 to +0.018", "1.9 ×", "22.7 M", "source: reviews.csv"):
        assert shown in text
    assert text.count('<p class="meta">') == 20
    # One file: links lead only to ids in the page, and nothing is run.
    assert page.links
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert "script" not in page.tags
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    # Drawn in stand-in colours, shown in the page's.
    assert "#0101" not in text
    assert "var(--student)" in text
    assert "DejaVu" not in text
    assert "<dc:date" not in text
    # Every reference by url() is to an id of its own plot.
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(page.ids)


def test_the_same_run_gives_the_same_bytes(make_run):
    folder = make_run("classification")
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first
    # In another process too, and whatever the user's matplotlib settings are.
    (folder / "matplotlibrc").write_text("axes.facecolor: red\nfont.size: 30\nsvg.fonttype: path\n", encoding="utf-8")
    program = f"from pathlib import Path; from stillhouse.report import write_report; write_report(Path({str(folder)!r}))"
    environment = os.environ | {"MATPLOTLIBRC": str(folder), "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert (folder / "report.html").read_bytes() == first
    assert sorted(path.name for path in folder.glob(".*")) == []


def test_everything_from_data_is_escaped(make_run, make_predictions, make_metrics):
    labels = [EVIL, MATHS, "漢字\x00\ud800"]
    rows = make_predictions("classification", labels=labels)
    rows[0] |= {"text": f'{EVIL} & "quoted" <b>', "text_pair": EVIL, "id": EVIL, "kl": 99}
    metrics = make_metrics("classification")
    metrics["student"]["name"] = metrics["student"]["start"] = EVIL
    log = [{"stage": EVIL, "step": step, "objectives": {EVIL: 0.5, MATHS: 0.2}, "selection": 0.5} for step in (1, 2)]
    folder = make_run(
        predictions=rows,
        log=log,
        labels=labels,
        data=EVIL,
        notes=[EVIL],
        student=metrics["student"],
        environment={EVIL: EVIL},
        latency={"batch": EVIL},
    )
    (folder / "run.yaml").write_text(f"data: {{source: '{EVIL}'}}\n", encoding="utf-8")
    text, page = read(write_report(folder))
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert EVIL not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    # In the plots as well: as text, which is neither markup nor mathematics.
    assert {EVIL, MATHS, "漢字"} <= set(page.drawn)
    assert not re.search("[\x00-\x08\ud800-\udfff]", text)


def test_tagged_words_are_escaped(make_run, make_predictions):
    rows = make_predictions("tagging", rows=2)
    rows[0]["text"][0] = EVIL
    rows[0]["student"]["tags"][0] = "B-<b>"
    text, page = read(write_report(make_run("tagging", predictions=rows)))
    assert "<mark>&lt;script&gt;" in text
    assert "b" not in page.tags
    assert "B-&lt;b&gt;" in text


def test_without_a_teacher_nothing_is_compared(make_run):
    text, page = read(write_report(make_run(roles=("student",))))
    assert page.headings == [
        "Summary",
        "Scores",
        "Training",
        "F1 by class",
        "What is taken for what",
        "Size and speed",
        "How it was made",
    ]
    assert "it was trained without a teacher" in text
    assert "teacher's" not in text


def test_without_a_baseline(make_run):
    text, _ = read(write_report(make_run(roles=("teacher", "student"))))
    assert "this run cannot say what the teacher added" in text
    assert "without teacher" not in text


def test_what_was_not_written_has_no_section(make_run):
    folder = make_run(log=[], predictions=[], comparisons={}, latency={}, stages=[], cost={}, environment={}, notes=[])
    (folder / "run.yaml").unlink()
    (folder / "predictions.jsonl").unlink()
    _, page = read(write_report(folder))
    assert page.headings == ["Summary", "Scores", "Size and speed", "How it was made"]


def test_numbers_that_were_none_are_left_out(make_run, make_predictions):
    rows = make_predictions("regression")
    rows[0]["student"]["value"] = None
    rows[1]["kl"] = None
    text, _ = read(write_report(make_run("regression", predictions=rows)))
    assert text.count('aria-label="Predicted against gold values') == 2
    rows = [row | {"student": {"value": None}} for row in rows]
    _, page = read(write_report(make_run("regression", predictions=rows)))
    assert "Predicted against gold values" not in page.headings


def test_many_classes_get_a_table_of_confusions(make_run, make_predictions):
    labels = [f"class {number}" for number in range(23)]
    rows = make_predictions("classification", labels=labels, rows=230)
    text, page = read(write_report(make_run(predictions=rows, labels=labels)))
    assert "Most frequent confusions" in page.headings
    assert "What is taken for what" not in page.headings
    assert "3 more classes are in the table only." in text


def test_a_long_log_is_thinned(make_run):
    log = [
        {"stage": "distil", "step": step, "objectives": {"hidden_mse": 900 / step, "soft_labels": 1 / step}}
        for step in range(1, 2002)
    ]
    text, _ = read(write_report(make_run(log=log)))
    assert len(text) < 200_000
    assert "hidden mse" in text


def test_a_test_split_has_its_rows(make_run):
    test = {
        role: {"score": 0.7, "interval": [0.6, 0.8], "scores": {"accuracy": 0.7, "mcc": 0.123}}
        for role in ("teacher", "student")
    }
    text, _ = read(write_report(make_run(test=test)))
    assert "test split" in text
    assert "Matthews correlation" in text
    assert "0.600 to 0.800" in text


def test_no_finished_run(tmp_path):
    with pytest.raises(UserError, match=r"holds no metrics\.json"):
        write_report(tmp_path)


def test_another_schema(make_run):
    with pytest.raises(UserError, match="not a run's record of schema 1"):
        write_report(make_run(schema=2))


@pytest.mark.parametrize("line", ['{"stage": "distil", "st', "[]"])
def test_a_damaged_log_is_named(make_run, line):
    folder = make_run()
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "log.jsonl").write_text("\n".join([lines[0], line, lines[1]]), encoding="utf-8")
    said = []
    page = write_report(folder, said.append).read_text(encoding="utf-8")
    assert said == ["log.jsonl is damaged: 1 of its 3 lines are left out"]
    assert said[0] in page


@pytest.mark.parametrize("damage", [b"{", b'{"id": "0", "text": "a"}', b'{"id": ["0"]}', b"\xff", b"[" * 3_000])
def test_damaged_predictions_are_left_out(make_run, damage):
    folder = make_run()
    lines = (folder / "predictions.jsonl").read_bytes().splitlines()
    (folder / "predictions.jsonl").write_bytes(b"\n".join([*lines[:2], damage, *lines[3:]]))
    said = []
    page = write_report(folder, said.append).read_text(encoding="utf-8")
    assert said == [f"predictions.jsonl is damaged: 1 of its {len(lines)} lines are left out"]
    assert said[0] in page


@pytest.mark.parametrize("damage", [None, "x", {}, {"label": 5, "probabilities": [1]}, [], 1.5])
@pytest.mark.parametrize("place", [0, 2])
def test_a_prediction_of_another_form_is_left_out(make_run, damage, place):
    """Wherever it stands: most lines say what the usual form is."""
    folder = make_run()
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_bytes().splitlines()]
    lines[place]["student"] = damage
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = []
    write_report(folder, said.append)
    assert said == [f"predictions.jsonl is damaged: 1 of its {len(lines)} lines are left out"]


def test_two_plots_do_not_share_ids():
    with drawing():
        drawn = figure(200, 100)
        axes = drawn.subplots()
        axes.plot([0, 1], [0, 1], "o")
        one, other = inline_svg(drawn, "one", "first"), inline_svg(drawn, "other", "second")
    ids = [set(re.findall(r'id="([^"]+)"', svg)) for svg in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert all(identity.startswith("one-") for identity in ids[0])
    assert 'aria-label="first"' in one
    assert "xmlns" not in one
    assert "<style" not in one


@pytest.mark.parametrize(
    ("given", "shown"),
    [("a\n b\t\x07c", "a b c"), ("x" * 10, "xxxxxxxx…"), ("", "(empty)"), (3, "3"), ("\ud800y", "y")],
)
def test_printable(given, shown):
    assert printable(given, 9) == shown


def test_package_ships_its_templates():
    assert {path.name for path in Path(report.__file__).parent.glob("*.j2")} == {
        "run.html.j2",
        "general.html.j2",
        "comparison.html.j2",
        "macros.html.j2",
        "style.css.j2",
    }
