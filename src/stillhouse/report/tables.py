"""The tables of a run's report: rows of cells, already written as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stillhouse.report import words
from stillhouse.report.curves import stage_name
from stillhouse.report.general_words import is_pretraining
from stillhouse.report.plots import NAMES
from stillhouse.report.words import ROLES


@dataclass(frozen=True)
class Cell:
    """A cell: its value and, smaller below it, a note."""

    value: str
    note: str = ""


@dataclass(frozen=True)
class TextRow:
    """A row: what it is about, its cells, a note below its name; `head` marks the start of a group, `main` what counts."""

    name: str
    cells: tuple[Cell, ...] = ()
    head: bool = False
    main: bool = False
    note: str = ""


@dataclass(frozen=True)
class TextTable:
    """Column names (the first column's is the row's name) and rows."""

    columns: tuple[str, ...]
    rows: tuple[TextRow, ...]


def roles_of(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """Which of teacher, student and baseline the run scored."""
    return tuple(role for role in ROLES if metrics.get(role))


def role_names(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """Column headings for the models that there are."""
    roles = roles_of(metrics)
    return tuple("model" if roles == ("student",) else NAMES[role] for role in roles)


def score_table(metrics: Mapping[str, Any]) -> TextTable:
    """Every metric of every model, then how faithful the student is to its teacher, then the test split."""
    roles = roles_of(metrics)
    rows = [row for row in _metric_rows(metrics, metrics, roles) if not row.name.endswith("answerable")]
    errors = [metrics[role].get("ece") for role in roles]
    if any(value is not None for value in errors):
        rows.append(TextRow("calibration error", tuple(Cell(words.score(value)) for value in errors)))
    if metrics.get("teacher"):
        rows += _faithful_rows(metrics, roles)
    test = metrics.get("test") or {}
    if test.get("student"):
        rows.append(TextRow("test split", head=True))
        rows += _metric_rows(metrics, test, roles)
    return TextTable(("", *role_names(metrics)), tuple(rows))


def difference_table(metrics: Mapping[str, Any]) -> TextTable | None:
    """The paired comparisons with their 95 % intervals and what they mean; None where there are none."""
    said = {1: "better, beyond noise", -1: "worse, beyond noise", 0: "within noise"}
    known = (("student_minus_teacher", "student minus teacher"), ("student_minus_baseline", "student minus without teacher"))
    rows = []
    for key, name in known:
        found = (metrics.get("comparisons") or {}).get(key)
        if found:
            low, high = float(found["low"]), float(found["high"])
            outcome = words.verdict(low, high, str(metrics["metric"]))
            limits = f"{words.signed(low)} to {words.signed(high)}"
            rows.append(TextRow(name, (Cell(words.signed(float(found["difference"]))), Cell(limits), Cell(said[outcome]))))
    return TextTable(("", "difference", "95 % interval", "verdict"), tuple(rows)) if rows else None


def cost_table(metrics: Mapping[str, Any]) -> TextTable:
    """Size and latency of each model, with its ratio to the teacher where there is one."""
    teacher = metrics.get("teacher") or {}
    rows = []
    for role, name in zip(roles_of(metrics), role_names(metrics), strict=True):
        model = metrics[role]
        cells = [_ratio_cell(model.get("parameters"), teacher.get("parameters"), words.count, role)]
        cells.append(_ratio_cell(model.get("size_mib"), teacher.get("size_mib"), words.mebibytes, role))
        ours, theirs = words.latency(model), words.latency(teacher)
        speed = f"{theirs / ours:.2f} × as fast" if ours and theirs and role != "teacher" else ""
        cells += [Cell(words.milliseconds(ours), speed), Cell(words.milliseconds(words.latency(model, "p95")))]
        rows.append(TextRow(name, tuple(cells)))
    return TextTable(("", "parameters", "size", "latency p50", "latency p95"), tuple(rows))


def made_tables(metrics: Mapping[str, Any]) -> dict[str, TextTable]:
    """How the run was made: its models, rows, stages, cost and environment; only what is known."""
    facts = {
        "Models": [
            (name, "; start: ".join(part for part in (metrics[role].get("name"), metrics[role].get("start")) if part))
            for role, name in zip(roles_of(metrics), role_names(metrics), strict=True)
        ],
        "Blocks of text" if is_pretraining(metrics) else "Rows": [
            (str(split).replace("_", " "), f"{rows:,}" if isinstance(rows, int) else str(rows))
            for split, rows in (metrics.get("splits") or {}).items()
        ],
        "Cost": _cost_facts(metrics.get("cost") or {}),
        "Environment": [(str(name), str(value)) for name, value in (metrics.get("environment") or {}).items()],
    }
    return {
        title: TextTable((), tuple(TextRow(name, (Cell(value),)) for name, value in pairs if value))
        for title, pairs in facts.items()
        if pairs
    }


def stage_table(metrics: Mapping[str, Any]) -> TextTable | None:
    """Steps and time of each stage, and its score on the selection rows; None where none is recorded."""
    rows = [
        TextRow(
            stage_name(str(stage["name"])),
            (
                Cell(f"{stage['steps']:,}"),
                Cell(words.duration(stage.get("seconds"))),
                Cell(words.score(stage.get("selection"))),
            ),
        )
        for stage in metrics.get("stages") or ()
    ]
    return TextTable(("stage", "steps", "time", "best on selection"), tuple(rows)) if rows else None


def _metric_rows(metrics: Mapping[str, Any], scored: Mapping[str, Any], roles: tuple[str, ...]) -> list[TextRow]:
    main = str(metrics["metric"])
    found = [scored.get(role) or {} for role in roles]
    cells = []
    for model in found:
        bounds = model.get("interval")
        note = f"{words.score(bounds[0])} to {words.score(bounds[1])}" if bounds else ""
        cells.append(Cell(words.score(model.get("score")), note))
    rows = [TextRow(words.metric_name(main), tuple(cells), main=True)]
    others = dict.fromkeys(name for model in found for name in (model.get("scores") or {}) if name != main)
    for name in others:
        cells = [Cell(words.score((model.get("scores") or {}).get(name))) for model in found]
        rows.append(TextRow(words.metric_name(str(name)), tuple(cells)))
    return rows


def _faithful_rows(metrics: Mapping[str, Any], roles: tuple[str, ...]) -> list[TextRow]:
    """What student and baseline have of their teacher; rows that are empty are left out."""
    is_regression = metrics.get("task") == "regression"
    facts: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("share of the teacher's score", "retention", words.percent),
        ("share of the gap closed", "gap_closed", words.percent),
        ("agreement with the teacher", "agreement", words.score if is_regression else words.percent),
        ("mean divergence from the teacher", "kl", words.score if is_regression else lambda nats: f"{nats:.3f} nats"),
    )
    rows = []
    for name, key, write in facts:
        # metrics.json holds the student's at its top; those of the others, where known, are in their own entries.
        values = [metrics.get(key) if role == "student" else metrics[role].get(key) for role in roles]
        if any(value is not None for value in values):
            rows.append(TextRow(name, tuple(Cell("" if value is None else write(value)) for value in values)))
    return rows


def _ratio_cell(ours: float | None, theirs: float | None, write: Any, role: str) -> Cell:
    note = f"{100 * ours / theirs:.0f} % of the teacher's" if ours and theirs and role != "teacher" else ""
    return Cell(write(ours), note)


def _cost_facts(cost: Mapping[str, Any]) -> list[tuple[str, str]]:
    writers = {
        "train_seconds": ("training the student", words.duration),
        "teacher_seconds": ("the teacher's work", words.duration),
        "examples_per_second": ("examples per second", lambda value: f"{value:.0f}"),
        "peak_memory_mib": ("peak memory", words.mebibytes),
    }
    facts = []
    for key, value in cost.items():
        if value is None or key == "parts":
            continue
        name, write = writers.get(key, (str(key).replace("_", " "), str))
        facts.append((name, write(value)))
    return [*facts, *((f"time: {name}", words.duration(seconds)) for name, seconds in words.time_by_part(cost))]
