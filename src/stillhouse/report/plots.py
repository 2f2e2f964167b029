"""The plots of a run's report: each function draws one figure and gives inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from stillhouse.report import words
from stillhouse.report.classes import Confusion
from stillhouse.report.svg import (
    BASELINE_COLOUR,
    MUTED,
    PAPER,
    SERIES,
    STUDENT_COLOUR,
    TEACHER_COLOUR,
    TEXT,
    drawing,
    few_ticks,
    figure,
    inline_svg,
    printable,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"teacher": TEACHER_COLOUR, "assistant": SERIES[2], "student": STUDENT_COLOUR, "baseline": BASELINE_COLOUR}
NAMES = {"teacher": "teacher", "assistant": "assistant", "student": "student", "baseline": "without teacher"}
LINES = ("-", "--", "-.", ":")
_MOST_POINTS = 400


@dataclass(frozen=True)
class StageCurve:
    """What a stage's log holds, for one small plot.

    Attributes:
        name: The stage.
        losses: By objective: (steps, values).
        selection: (steps, values) of the score on the selection split; empty where it was not taken.
        metric: That score's name.
    """

    name: str
    losses: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    selection: tuple[Sequence[float], Sequence[float]] = field(default=((), ()))
    metric: str = ""


@dataclass(frozen=True)
class Score:
    """A model's score and its 95 % interval, where there is one."""

    role: str
    value: float
    low: float | None = None
    high: float | None = None


def score_intervals(scores: Sequence[Score], metric: str) -> Markup:
    """Each model's score as a dot on a common scale, with its 95 % interval."""
    with drawing():
        drawn = figure(460, 46 + 34 * len(scores))
        axes = drawn.subplots()
        for place, score in enumerate(scores):
            colour = COLOURS[score.role]
            if score.low is not None and score.high is not None:
                axes.plot(
                    [score.low, score.high], [place, place], color=colour, linewidth=3, solid_capstyle="round", alpha=0.45
                )
            axes.plot([score.value], [place], "o", color=colour, markersize=9)
        categories(axes, [NAMES[score.role] for score in scores])
        axes.grid(axis="x")
        axes.margins(x=0.08)
        few_ticks(axes.xaxis, 5)
        axes.set_xlabel(words.metric_name(metric))
        said = ", ".join(f"{NAMES[score.role]} {score.value:.3f}" for score in scores)
        return inline_svg(drawn, "scores", f"{words.metric_name(metric)} with 95 % intervals: {said}")


def stage_curves(curve: StageCurve, name: str) -> Markup:
    """Losses of one stage, a line per objective, above the selection score per epoch."""
    with drawing():
        has_selection = len(curve.selection[0]) > 0
        drawn = figure(330, 330 if has_selection else 230)
        grid = drawn.subplots(2, 1, sharex=True, height_ratios=[2, 1]) if has_selection else None
        losses: Axes = drawn.subplots() if grid is None else grid[0]
        # A line of one point draws nothing: give it a mark.
        for number, (objective, (steps, values)) in enumerate(curve.losses.items()):
            colour, dashes = SERIES[number % len(SERIES)], LINES[number % len(LINES)]
            shown_steps, shown = _thinned(steps, values)
            window = len(shown) // 15
            if window >= 2:
                losses.plot(shown_steps, shown, color=colour, linewidth=1, alpha=0.3)
                shown = _moving_mean(shown, window)
            mark = "o" if len(shown) == 1 else None
            losses.plot(shown_steps, shown, dashes, color=colour, marker=mark, label=printable(objective.replace("_", " ")))
        _loss_scale(losses, curve)
        losses.set_ylabel("loss")
        losses.grid(axis="y")
        if curve.losses:
            losses.legend(loc="upper right", handlelength=2.4)
        bottom = losses
        if grid is not None:
            bottom = grid[1]
            bottom.plot(*curve.selection, "o-", color=TEXT, markersize=5, linewidth=1.4)
            bottom.set_ylabel(printable(words.metric_name(curve.metric), 14))
            bottom.grid(axis="y")
            bottom.margins(y=0.2)
            few_ticks(bottom.yaxis, 3)
        bottom.set_xlabel("step")
        few_ticks(bottom.xaxis, 4, integer=True)
        drawn.align_ylabels()
        return inline_svg(drawn, name, f"Losses by objective in stage {printable(curve.name)}")


def class_bars(names: Sequence[str], values: Sequence[float], *, difference: bool) -> Markup:
    """A horizontal bar for each class: student minus teacher F1, or (`difference` off) the model's F1."""
    with drawing():
        drawn = figure(460, 52 + 24 * len(names))
        axes = drawn.subplots()
        # The bar points to, and has the colour of, the model that is better.
        colours = [TEACHER_COLOUR if difference and value < 0 else STUDENT_COLOUR for value in values]
        axes.barh(range(len(names)), values, height=0.62, color=colours)
        for place, value in enumerate(values):
            text = words.typeset(words.signed(value)) if difference else words.score(value)
            axes.annotate(
                text,
                (value, place),
                xytext=(-5 if value < 0 else 5, 0),
                textcoords="offset points",
                ha="right" if value < 0 else "left",
                va="center",
                color=MUTED,
                fontsize=11,
            )
        categories(axes, names)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.grid(axis="x")
        if difference:
            reach = max(0.02, *(abs(value) for value in values)) * 1.45
            axes.set_xlim(-reach, reach)
        else:
            axes.set_xlim(0, 1.15)
        few_ticks(axes.xaxis, 5)
        axes.set_xlabel("F1, student minus teacher" if difference else "F1")
        return inline_svg(drawn, "classes", "F1 by class" + (", student minus teacher" if difference else ""))


def confusion_matrix(confusion: Confusion, role: str) -> Markup:
    """Rows = gold, columns = predicted; a cell's strength is its share of the gold class."""
    size = len(confusion.labels)
    cell = max(26, min(64, 300 / size))
    with drawing():
        label_width = 8.0 * max(len(printable(label, 18)) for label in confusion.labels)
        drawn = figure(cell * size + label_width + 50, cell * size + min(label_width, 110) + 60)
        axes = drawn.subplots()
        rows = confusion.counts.sum(axis=1, keepdims=True)
        shares = confusion.counts / np.maximum(rows, 1)
        for gold, predicted in np.ndindex(size, size):
            share = float(shares[gold, predicted])
            number = int(confusion.counts[gold, predicted])
            if number:
                strength = 0.08 + 0.92 * share
                axes.fill_between(
                    [predicted - 0.5, predicted + 0.5], gold - 0.5, gold + 0.5, color=COLOURS[role], alpha=strength, linewidth=0
                )
            if number or size <= 10:
                strong = number > 0 and share > 0.55
                text = str(number) if number < 10000 else words.count(number).replace(" ", "")
                axes.text(
                    predicted,
                    gold,
                    text,
                    ha="center",
                    va="center",
                    color=PAPER if strong else TEXT if number else MUTED,
                    fontsize=11 if cell >= 36 else 9,
                )
        shown = [printable(label, 18) for label in confusion.labels]
        turned = size > 4 or max(len(label) for label in shown) > 8
        axes.set_xticks(
            range(size), shown, rotation=45 if turned else 0, ha="right" if turned else "center", rotation_mode="anchor"
        )
        axes.set_yticks(range(size), shown)
        axes.tick_params(length=0, labelcolor=TEXT)
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        axes.set_aspect("equal")
        for spine in axes.spines.values():
            spine.set_visible(True)
        axes.set_xlabel("predicted")
        axes.set_ylabel("gold")
        return inline_svg(drawn, f"confusion-{role}", f"Confusion matrix of the {NAMES[role]}, {size} by {size}", tight=True)


def predicted_against_gold(gold: Sequence[float], predicted: Sequence[float], role: str, limits: tuple[float, float]) -> Markup:
    """Regression: a dot a row, on the dashed line where prediction and gold value are equal; both axes run over `limits`."""
    with drawing():
        drawn = figure(380, 380)
        axes = drawn.subplots()
        room = 0.05 * (limits[1] - limits[0]) or 0.5
        ends = [limits[0] - room, limits[1] + room]
        every = math.ceil(len(gold) / _MOST_POINTS)
        axes.plot(ends, ends, "--", color=MUTED, linewidth=1)
        axes.plot(gold[::every], predicted[::every], "o", color=COLOURS[role], markersize=5, alpha=0.45, markeredgewidth=0)
        axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel="gold value", ylabel="predicted")
        few_ticks(axes.xaxis, 6)
        few_ticks(axes.yaxis, 6)
        axes.grid()
        return inline_svg(drawn, f"regression-{role}", f"Predicted against gold values of the {NAMES[role]}", tight=True)


def cost_bars(
    title: str, values: Mapping[str, float], labels: Mapping[str, str], name: str, tails: Mapping[str, float]
) -> Markup:
    """One measure of cost, a horizontal bar a model.

    Args:
        title: What is measured.
        values: By role.
        labels: By role: what is written at the bar's end.
        name: Unique in the page.
        tails: By role: up to where a thin line goes on (the 95th percentile of a latency).
    """
    with drawing():
        drawn = figure(300, 44 + 30 * len(values))
        axes = drawn.subplots()
        reach = max([*values.values(), *tails.values()])
        for place, (role, value) in enumerate(values.items()):
            tail = max(tails.get(role, value), value)
            axes.barh(place, value, height=0.6, color=COLOURS[role])
            if tail > value:
                axes.plot([value, tail], [place, place], color=COLOURS[role], linewidth=2, alpha=0.6)
            axes.annotate(
                labels[role], (tail, place), xytext=(6, 0), textcoords="offset points", va="center", color=MUTED, fontsize=11
            )
        categories(axes, [NAMES[role] for role in values])
        axes.set_xlim(0, reach * 1.5)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.set_title(title)
        return inline_svg(drawn, name, title + ": " + ", ".join(f"{NAMES[role]} {labels[role]}" for role in values))


def categories(axes: Axes, names: Sequence[str]) -> None:
    """Names, one a line from top to bottom, on the vertical axis."""
    axes.set_yticks(range(len(names)), [printable(name) for name in names])
    axes.tick_params(axis="y", labelcolor=TEXT, labelsize=12)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)


def _loss_scale(axes: Axes, curve: StageCurve) -> None:
    """From zero, or by powers of ten where objectives are too far apart to be seen on one straight scale."""
    middles = [float(np.median(values)) for _, values in curve.losses.values()]
    everything = [value for _, values in curve.losses.values() for value in values]
    if len(middles) > 1 and min(everything) > 0 and max(middles) > 30 * min(middles):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda *_: "")
    elif everything and min(everything) >= 0:
        axes.set_ylim(bottom=0)


def _thinned(steps: Sequence[float], values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """Means of neighbours, so that a long run draws no more points than a screen has."""
    if len(values) <= _MOST_POINTS:
        return steps, values
    blocks = [
        np.asarray(block, dtype=float) for block in np.array_split(np.asarray([steps, values], dtype=float).T, _MOST_POINTS)
    ]
    return [float(block[:, 0].mean()) for block in blocks], [float(block[:, 1].mean()) for block in blocks]


def _moving_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean over `window` neighbours on each side, fewer at the ends."""
    return [float(np.mean(values[max(0, place - window) : place + window + 1])) for place in range(len(values))]
