"""A comparison in words, as a table of cells, as Markdown and as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stillhouse.config import BASELINE_METHOD
from stillhouse.report import words
from stillhouse.report.tables import Cell, TextRow, TextTable

ON_CORPUS = "on the corpus"
LESS = ("of the teacher", "agreement", "parameters", ON_CORPUS, "training", "steps", "learning rate")  # not on the terminal
DASH = words.score(None)


def comparison_lines(content: Mapping[str, Any]) -> list[str]:
    """What a comparison showed, one plain sentence a line.

    Args:
        content: Of comparison.json.
    """
    metric, teacher = content["metric"], content["teacher"]
    lines = []
    if teacher is not None:
        lines.append(f"The teacher, {teacher['name']}, reaches {words.metric_name(metric)} {words.score(teacher['score'])}.")
    if content.get("corpus"):
        lines.append(
            f"Every student has learnt from {content['corpus']} first, once for all seeds; "
            "each baseline starts from the same general student as the method that it is compared with."
        )
    outcomes: dict[int, list[str]] = {1: [], 0: [], -1: []}
    for pair in content["pairs"]:
        outcomes[words.verdict(pair["low"], pair["high"], metric)].append(line_name(pair, content))
    said = {
        1: "Better than the same student without a teacher, beyond noise",
        0: "Within noise of the same student without a teacher",
        -1: "Worse than the same student without a teacher, beyond noise",
    }
    lines += [f"{said[way]}: {', '.join(names)}." for way, names in outcomes.items() if names]
    said_of = {"failed": "Failed", "missing": "Not finished yet", "refused": "Left out, for reasons given below"}
    for status, intro in said_of.items():
        names = list(dict.fromkeys(line_name(row, content) for row in content["rows"] if row["status"] == status))
        if names:
            lines.append(f"{intro}: {', '.join(names)}.")
    rows = (content.get("splits") or {}).get(content["split"])
    seeds = max((one["seeds"] for one in content["pairs"] or content["summary"]), default=0)
    if rows:
        lines.append(
            f"Scored on the {content['split']} split of {content['data']} ({rows:,} rows), "
            f"{f'over {seeds} seeds' if seeds > 1 else 'with one seed'}; intervals are a paired bootstrap's over rows"
            f"{' and seeds' if seeds > 1 else ''}."
        )
    return lines


def comparison_markdown(content: Mapping[str, Any]) -> str:
    """comparison.md: the sentences, a line for each method and student, and why lines are missing."""
    table = lines_table(content)
    head = ["", "student, start", *table.columns[1:]]
    rows = [[row.name, row.note, *(_in_one(cell) for cell in row.cells)] for row in table.rows]
    drawn = [_piped(head), "|---|---|" + "---:|" * (len(head) - 2), *(_piped(row) for row in rows)]
    reasons = [f"- {name}: {reason}" for name, reason in reasons_of(content)]
    parts = (f"# {content['data']}", "\n".join(f"- {line}" for line in comparison_lines(content)), "\n".join(drawn), *reasons)
    return "\n\n".join(part for part in parts if part) + "\n"


def comparison_text(content: Mapping[str, Any]) -> str:
    """The same for a terminal: the columns that matter most."""
    table = lines_table(content)
    shown = tuple(name for name in table.columns if name not in LESS)
    places = [table.columns.index(name) for name in shown[1:]]
    rows = [shown] + [(row.name, *(_in_one(row.cells[place - 1]) for place in places)) for row in table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(shown))]
    notes = ["student, start", *(row.note for row in table.rows)]
    lines = [
        "  "
        + row[0].ljust(widths[0])
        + "".join(f"   {cell.rjust(width)}" for cell, width in zip(row[1:], widths[1:], strict=True))
        + f"   {note}"
        for row, note in zip(rows, notes, strict=True)
    ]
    reasons = [f"{name}: {reason}" for name, reason in reasons_of(content)]
    return "\n".join([*comparison_lines(content), "", *lines, "", *reasons])


def lines_table(content: Mapping[str, Any]) -> TextTable:
    """The teacher, then every line."""
    has_test = any(line["test_score"] is not None for line in content["summary"])
    score = words.metric_name(content["metric"]) if content["metric"] else "score"
    columns = ("", score, *(("test split",) if has_test else ()), "minus baseline")
    has_corpus = bool(content.get("corpus"))
    columns += ("of the teacher", "agreement", "parameters", "latency", *((ON_CORPUS,) if has_corpus else ()))
    columns += ("training", "steps", "learning rate")
    pairs = {pair["line"]: pair for pair in content["pairs"]}
    rows = []
    teacher = content["teacher"]
    if teacher is not None:
        test = [Cell(words.score(teacher["test_score"]))] if has_test else []
        cells = [Cell(words.score(teacher["score"])), *test, *[Cell(DASH)] * 3]
        cells += [Cell(words.count(teacher["parameters"])), Cell(words.milliseconds(teacher["latency_ms_p50"]))]
        rows.append(TextRow("teacher", (*cells, *[Cell(DASH)] * (3 + has_corpus)), note=str(teacher["start"])))
    for line in content["summary"]:
        cells = [_mean(line, content), *([Cell(words.score(line["test_score"]))] if has_test else [])]
        cells.append(_difference(pairs.get(line["line"])))
        cells += [_share(line["retention"]), _agreement(line["agreement"], content["task"])]
        cells += [Cell(words.count(line["parameters"])), Cell(words.milliseconds(line["latency_ms_p50"]))]
        cells += [Cell(words.duration(line["general_seconds"]))] if has_corpus else []
        cells += [Cell(words.duration(line["train_seconds"])), _steps(line), _rate(line)]
        rows.append(
            TextRow(line_name(line, content), tuple(cells), note=": ".join(filter(None, (line["student"], line["start"]))))
        )
    return TextTable(columns, tuple(rows))


def line_name(line: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """What a line is called: its method, the student where there are several, and a baseline's start where it has twins."""
    summary = content["summary"]
    students = {one["student"] for one in summary}
    student = f" {line['student']}" if len(students) > 1 else ""
    if line["method"] != BASELINE_METHOD:
        return f"{line['method']}{student}"
    twins = [one for one in summary if (one["method"], one["student"]) == (BASELINE_METHOD, line["student"])]
    own = line["line"].removeprefix(f"{BASELINE_METHOD}-like-")
    like = next((one["method"] for one in summary if one["line"] == own), own)
    return f"without teacher{student}" + (f", {like}'s start" if len(twins) > 1 else "")


def reasons_of(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Which lines are missing or failed, and why; each reason once."""
    found = {(row["line"], row["reason"]): row for row in reversed(content["rows"]) if row["reason"]}
    name = {
        key: line_name(row, content) + (f", seed {row['seed']}" if row["status"] == "failed" else "")
        for key, row in found.items()
    }
    return [(name[key], "; ".join(part.strip() for part in str(key[1]).splitlines())) for key in reversed(found)]


def _mean(line: Mapping[str, Any], content: Mapping[str, Any]) -> Cell:
    if line["mean"] is None:
        return Cell(next(str(row["status"]) for row in content["rows"] if row["line"] == line["line"]))
    spread, asked = line["standard_deviation"], len(content["seeds"])
    note = "" if spread is None else f"± {words.score(spread)}"
    some = f"{line['seeds']} of {asked} seeds" if line["seeds"] < asked else ""
    return Cell(words.score(line["mean"]), "; ".join(part for part in (note, some) if part))


def _difference(pair: Mapping[str, Any] | None) -> Cell:
    if pair is None:
        return Cell(DASH)
    return Cell(words.signed(pair["minus_baseline"]), f"{words.signed(pair['low'])} to {words.signed(pair['high'])}")


def _share(value: float | None) -> Cell:
    return Cell(DASH if value is None else words.percent(value))


def _agreement(value: float | None, task: str | None) -> Cell:
    return Cell(words.score(value)) if task == "regression" else _share(value)


def _steps(line: Mapping[str, Any]) -> Cell:
    steps = line.get("steps")  # records of older versions have none
    return Cell(DASH if steps is None else f"{steps:,}")


def _rate(line: Mapping[str, Any]) -> Cell:
    return Cell(DASH if line["learning_rate"] is None else f"{line['learning_rate']:g}")


def _in_one(cell: Cell) -> str:
    note = cell.note if cell.note.startswith("±") else f"({cell.note})"
    return f"{cell.value} {note}" if cell.note else cell.value


def _piped(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
