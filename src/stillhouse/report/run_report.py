"""report.html: a finished run as one self-contained page, with no script and nothing loaded from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stillhouse.files import REPORT, write_text
from stillhouse.report import classes, plots, tables, words
from stillhouse.report.curves import read_curves, stage_name
from stillhouse.report.disagreements import most_disagreed
from stillhouse.report.general_section import general_parts, usage
from stillhouse.report.general_words import MEASURES, general_phase, has_scores, is_pretraining, mean_distances
from stillhouse.report.page import render_page
from stillhouse.report.questions import question_table
from stillhouse.report.run_record import RunRecord, read_run
from stillhouse.report.summary import summary_lines

MOST_CLASSES = 20
_BY_CLASS = ("classification", "multilabel", "tagging")
_CONFUSABLE = ("classification", "tagging")


def write_report(run_folder: Path, say: Callable[[str], None] = lambda _: None) -> Path:
    """Writes `report.html` of a finished run; the same run gives the same file, byte for byte.

    Args:
        run_folder: Holds metrics.json and, as far as they were written, run.yaml, log.jsonl and predictions.jsonl.
        say: Told what is left out of it, because a file is damaged.

    Returns:
        The path of the page.

    Raises:
        UserError: The folder is no finished run, its metrics.json is damaged, or the page cannot be written.
    """
    path, run = run_folder / REPORT, read_run(run_folder)
    for said in run.damage:
        say(said)
    write_text(path, render(run))
    return path


def render(run: RunRecord) -> str:
    """The page as text."""
    general = general_phase(run.metrics)
    alone = is_pretraining(run.metrics)
    metrics = general if general is not None and alone else run.metrics
    sentences = summary_lines(run.metrics)
    curves = _curves(run, general)
    general_stages = {str(stage["name"]) for stage in (general or {}).get("stages") or ()}
    return render_page(
        "run.html.j2",
        run=run,
        metrics=metrics,
        alone=alone,
        has_teacher=bool(metrics.get("teacher")),
        lead=sentences[0],
        sentences=sentences[1:],
        tiles=_tiles(metrics),
        scores=None if alone else _scores(metrics),
        general=None if general is None else general_parts(general, run.metrics),
        has_general_scores=general is not None and has_scores(general),
        general_curves=[(name, plot) for stage, name, plot in curves if stage in general_stages],
        general_stages=None if general is None else tables.stage_table(general),
        curves=[(name, plot) for stage, name, plot in curves if alone or stage not in general_stages],
        by_class=_by_class(run),
        regression=_regression(run),
        questions=question_table(run.predictions) if metrics["task"] == "qa" else None,
        confusion=_confusion(run),
        examples=most_disagreed(str(metrics["task"]), run.predictions),
        cost=_cost(metrics),
        usage=usage(general, run.name) if general is not None and alone else None,
        stages=tables.stage_table(metrics),
        made=tables.made_tables(metrics),
    )


def _curves(run: RunRecord, general: Mapping[str, Any] | None) -> list[tuple[str, str, Markup]]:
    """Of each stage in the log: how it is recorded, how it is named, and its plot."""
    phase = {} if general is None else {str(stage["name"]): general["metric"] for stage in general.get("stages") or ()}
    found = read_curves(run.log, lambda stage: str(phase.get(stage, run.metrics["metric"]) or "selection"))
    drawn = [plots.stage_curves(curve, f"stage-{number}") for number, curve in enumerate(found)]
    return [(curve.name, stage_name(curve.name), plot) for curve, plot in zip(found, drawn, strict=True)]


def _labels(metrics: Mapping[str, Any]) -> list[str]:
    return [str(label) for label in metrics.get("labels") or ()]


def _tiles(metrics: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The figures to see first: (role, name, value, note)."""
    names = {role: role.capitalize() for role in words.ROLES} | {"baseline": "Without teacher"}
    if not metrics.get("teacher"):
        names["student"] = "Model"
    metric = words.metric_name(str(metrics["metric"]))
    scored = [role for role in tables.roles_of(metrics) if metrics[role].get("score") is not None]
    tiles = [(role, names[role], words.score(metrics[role]["score"]), metric) for role in scored]
    if not scored:
        tiles += [
            (
                "student",
                f"Distance, {MEASURES[one.measure]}",
                words.score(one.after),
                f"{words.score(one.before)} before training",
            )
            for one in mean_distances(metrics.get("layers") or ())
        ]
    student, teacher = metrics["student"], metrics.get("teacher") or {}
    if student.get("parameters"):
        note = f"teacher {words.count(teacher['parameters'])}" if teacher.get("parameters") else ""
        tiles.append(("", "Parameters", words.count(student["parameters"]), note))
    ratio = words.speed(metrics)
    if ratio is not None:
        tiles.append(("", "Speed", f"{ratio:.1f} ×" if ratio < 9.95 else f"{ratio:.0f} ×", "as fast as the teacher"))
    return tiles


def _scores(metrics: Mapping[str, Any]) -> dict[str, Any]:
    models = []
    for role in tables.roles_of(metrics):
        low, high = metrics[role].get("interval") or (None, None)
        models.append(plots.Score(role, float(metrics[role]["score"]), low, high))
    drawn = plots.score_intervals(models, str(metrics["metric"])) if len(models) > 1 else None
    return {
        "table": tables.score_table(metrics),
        "differences": tables.difference_table(metrics),
        "plot": drawn,
        "has_intervals": any(model.low is not None for model in models),
        "has_calibration": any(metrics[model.role].get("ece") is not None for model in models),
    }


def _by_class(run: RunRecord) -> dict[str, Any] | None:
    task = str(run.metrics["task"])
    if task not in _BY_CLASS or not run.predictions:
        return None
    found = classes.class_scores(task, run.predictions, _labels(run.metrics))
    roles = classes.roles_in(run.predictions)
    has_gap = "teacher" in roles
    valued = [(one, one.gap if has_gap else one.f1.get("student")) for one in found]
    known = [(one, value) for one, value in valued if value is not None]
    if not known:
        return None
    # Of many classes the ones that changed most, or (no teacher) that are hardest; then in order of value.
    known.sort(key=lambda pair: -abs(pair[1]) if has_gap else pair[1])
    shown = sorted(known[:MOST_CLASSES], key=lambda pair: pair[1])
    return {
        "plot": plots.class_bars([one.name for one, _ in shown], [value for _, value in shown], difference=has_gap),
        "has_gap": has_gap,
        "left_out": len(found) - len(shown),
        "unit": "spans" if task == "tagging" else "rows",
        "roles": [plots.NAMES[role] if has_gap or len(roles) > 1 else "model" for role in roles],
        "rows": [(one, [words.score(one.f1.get(role)) for role in roles], words.signed(one.gap)) for one in found],
    }


def _regression(run: RunRecord) -> list[tuple[str, Markup]]:
    if run.metrics["task"] != "regression":
        return []
    roles = [role for role in ("student", "teacher") if role in classes.roles_in(run.predictions)]
    written = [[row["gold"], *(row[role]["value"] for role in roles)] for row in run.predictions]
    # A number that JSON does not have is written as null.
    rows = [[float(value) for value in row] for row in written if None not in row and all(map(math.isfinite, row))]
    if not rows:
        return []
    limits = min(min(row) for row in rows), max(max(row) for row in rows)
    gold = [row[0] for row in rows]
    return [
        (_title(role, roles), plots.predicted_against_gold(gold, [row[place] for row in rows], role, limits))
        for place, role in enumerate(roles, start=1)
    ]


def _confusion(run: RunRecord) -> dict[str, Any] | None:
    task = str(run.metrics["task"])
    if task not in _CONFUSABLE or not run.predictions:
        return None
    roles = [role for role in ("student", "teacher") if role in classes.roles_in(run.predictions)]
    found = classes.shared_confusions(task, run.predictions, _labels(run.metrics), roles)
    unit = "words" if task == "tagging" else "rows"
    if len(found["student"].labels) > MOST_CLASSES:
        pairs = classes.most_confused(found)
        return {"pairs": pairs, "plots": [], "unit": unit} if pairs else None
    drawn = [(_title(role, roles), plots.confusion_matrix(one, role)) for role, one in found.items()]
    return {"pairs": [], "plots": drawn, "unit": unit}


def _title(role: str, roles: Sequence[str]) -> str:
    """What stands over a model's plot: nothing where there is no other."""
    return plots.NAMES[role] if len(roles) > 1 else ""


def _cost(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    roles = tables.roles_of(metrics)
    measures = (
        ("Parameters", "parameters", lambda model: model.get("parameters"), words.count),
        ("Size of the weights", "size", lambda model: model.get("size_mib"), words.mebibytes),
        ("Latency", "latency", words.latency, words.milliseconds),
    )
    drawn = []
    for title, name, read, write in measures:
        values = {role: float(value) for role in roles if (value := read(metrics[role]))}
        if len(values) < 2:
            continue
        tails = {role: words.latency(metrics[role], "p95") for role in values} if name == "latency" else {}
        labels = {role: write(value) for role, value in values.items()}
        known_tails = {role: tail for role, tail in tails.items() if tail is not None}
        drawn.append(plots.cost_bars(title, values, labels, f"cost-{name}", known_tails))
    if not any(read(metrics[role]) for _, _, read, _ in measures for role in roles):
        return None
    return {"plots": drawn, "table": tables.cost_table(metrics), "conditions": words.conditions(metrics)}
