"""report.html of a comparison: one self-contained page, with no script and nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stillhouse.config import BASELINE_METHOD
from stillhouse.files import COMPARE_CONFIG, COMPARISON, REPORT, write_text
from stillhouse.report import comparison_plots as plots
from stillhouse.report import tables, words
from stillhouse.report.comparison_words import comparison_lines, line_name, lines_table, reasons_of
from stillhouse.report.page import render_page
from stillhouse.sealed import read_sealed


def write_comparison_report(folder: Path) -> Path:
    """Writes `report.html` of a comparison; the same record gives the same file, byte for byte.

    Args:
        folder: Holds comparison.json and compare.yaml.

    Returns:
        The path of the page.

    Raises:
        UserError: The folder is no comparison, its record is damaged, or the page cannot be written.
    """
    record = folder / COMPARISON
    content = read_sealed(record, expected="the folder of a comparison", fix="give the command of the comparison again")
    config = folder / COMPARE_CONFIG
    text = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else ""
    path = folder / REPORT
    write_text(path, render_comparison(content, text))
    return path


def render_comparison(content: Mapping[str, Any], config: str = "") -> str:
    """The page as text.

    Args:
        content: Of comparison.json.
        config: Text of compare.yaml.
    """
    sentences = comparison_lines(content)
    return render_page(
        "comparison.html.j2",
        content=content,
        config=config,
        lead=sentences[0] if sentences else "Nothing is finished yet.",
        sentences=sentences[1:],
        table=lines_table(content),
        differences=_differences(content),
        costs=_costs(content),
        conditions=words.conditions(content),
        tries=_tries(content),
        reasons=reasons_of(content),
        seeds=_seeds(content),
        environment=tables.TextTable(
            (), tuple(tables.TextRow(str(k), (tables.Cell(str(v)),)) for k, v in (content["environment"] or {}).items())
        ),
    )


def _differences(content: Mapping[str, Any]) -> Markup | None:
    pairs = [(line_name(pair, content), pair["minus_baseline"], pair["low"], pair["high"]) for pair in content["pairs"]]
    return plots.difference_intervals(pairs, content["metric"]) if pairs else None


def _costs(content: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Score against latency and against parameters, where there is anything to compare."""
    drawn = []
    measures = (("latency_ms_p50", "median latency, ms", "latency"), ("parameters", "parameters", "parameters"))
    for key, label, name in measures:
        points = []
        for line in content["summary"]:
            if line["mean"] is None or not line[key]:
                continue
            role = "baseline" if line["method"] == BASELINE_METHOD else "student"
            seeds = tuple(row["score"] for row in content["rows"] if row["line"] == line["line"] and row["status"] == "done")
            points.append(plots.Point(line_name(line, content), role, line[key], line["mean"], seeds))
        teacher = content["teacher"]
        if teacher is not None and teacher[key]:
            points.append(plots.Point("teacher", "teacher", teacher[key], teacher["score"]))
        if len(points) > 1:
            title = f"Score against {name}"
            drawn.append(
                (title, plots.score_against_cost(points, content["metric"], label, name, is_count=key == "parameters"))
            )
    return drawn


def _seeds(content: Mapping[str, Any]) -> tables.TextTable | None:
    """The score of every line for every seed."""
    if len(content["seeds"]) < 2:
        return None
    scores = {(row["line"], row["seed"]): row for row in content["rows"]}
    rows = []
    for line in content["summary"]:
        own = [scores[line["line"], seed] for seed in content["seeds"]]
        cells = tuple(tables.Cell(words.score(row["score"]) if row["status"] == "done" else row["status"]) for row in own)
        rows.append(tables.TextRow(line_name(line, content), cells))
    return tables.TextTable(("", *(f"seed {seed}" for seed in content["seeds"])), tuple(rows))


def _tries(content: Mapping[str, Any]) -> tables.TextTable | None:
    """The score on the selection rows of every line at every learning rate; the chosen one is marked."""
    if not content["grid"]:
        return None
    found = {(one["line"], one["learning_rate"]): one for one in content["tries"]}
    rows = []
    for line in content["summary"]:
        own = [found.get((line["line"], rate)) for rate in content["grid"]]
        if all(one is None for one in own):
            continue
        rows.append(tables.TextRow(line_name(line, content), tuple(_try_cell(one) for one in own)))
    return tables.TextTable(("", *(f"{rate:g}" for rate in content["grid"])), tuple(rows))


def _try_cell(one: Mapping[str, Any] | None) -> tables.Cell:
    if one is None or one["selection"] is None:
        return tables.Cell(words.score(None) if one is None else str(one["status"]))
    return tables.Cell(words.score(one["selection"]), "chosen" if one["chosen"] else "")
