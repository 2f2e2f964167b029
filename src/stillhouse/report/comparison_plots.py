"""The plots of a comparison: differences from the baseline, and score against what a model costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from stillhouse.report import words
from stillhouse.report.plots import COLOURS
from stillhouse.report.svg import (
    BASELINE_COLOUR,
    MUTED,
    STUDENT_COLOUR,
    TEXT,
    drawing,
    few_ticks,
    figure,
    inline_svg,
    printable,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_HEIGHT, LETTER_WIDTH, GAP = 14.0, 6.4, 12.0  # of a label and before it, in points
Box = tuple[float, float, float, float]  # left, bottom, right, top


@dataclass(frozen=True)
class Point:
    """A model in the plane of cost and score.

    Attributes:
        name: Its label.
        role: `teacher`, `student` or `baseline`.
        cost: Lower is better.
        score: Mean over the seeds; higher is better.
        seeds: The score of every seed.
    """

    name: str
    role: str
    cost: float
    score: float
    seeds: tuple[float, ...] = ()


def pareto_front(points: Sequence[Point]) -> list[bool]:
    """For each point whether no other one is at least as good in both cost and score, and better in one."""

    def is_beaten(point: Point, by: Point) -> bool:
        is_as_good = by.cost <= point.cost and by.score >= point.score
        return is_as_good and (by.cost, by.score) != (point.cost, point.score)

    return [not any(is_beaten(point, other) for other in points) for point in points]


def difference_intervals(pairs: Sequence[tuple[str, float, float, float]], metric: str) -> Markup:
    """Each line minus its baseline as a dot on a common scale, with its 95 % interval.

    Args:
        pairs: Name, difference, lower and upper end.
        metric: What differs.
    """
    with drawing():
        drawn = figure(520, 56 + 32 * len(pairs))
        axes = drawn.subplots()
        for place, (_, difference, low, high) in enumerate(pairs):
            axes.plot([low, high], [place, place], color=STUDENT_COLOUR, linewidth=3, solid_capstyle="round", alpha=0.45)
            axes.plot([difference], [place], "o", color=STUDENT_COLOUR, markersize=9)
        axes.set_yticks(range(len(pairs)), [printable(name, 34) for name, *_ in pairs])
        axes.tick_params(axis="y", labelcolor=TEXT, labelsize=12)
        axes.set_ylim(len(pairs) - 0.5, -0.5)
        axes.spines["left"].set_visible(False)
        axes.axvline(0, color=BASELINE_COLOUR, linewidth=1.4)
        axes.grid(axis="x")
        axes.margins(x=0.08)
        few_ticks(axes.xaxis, 6)
        axes.set_xlabel(f"{words.metric_name(metric)}, minus the same student without a teacher")
        said = ", ".join(f"{name} {words.signed(difference)}" for name, difference, *_ in pairs)
        return inline_svg(drawn, "differences", f"Difference from the baseline with 95 % intervals: {said}")


def score_against_cost(points: Sequence[Point], metric: str, cost: str, name: str, *, is_count: bool = False) -> Markup:
    """A dot a model, faint dots for its seeds, and a line through the models that nothing beats in both.

    Args:
        points: The models.
        metric: Name of the score.
        cost: Name of the cost, with its unit.
        name: Unique in the page.
        is_count: Whether the cost is a large whole number.
    """
    with drawing():
        drawn = figure(520, 400)
        axes = drawn.subplots()
        for point in points:
            seeds = point.seeds if len(point.seeds) > 1 else ()
            axes.plot(
                [point.cost] * len(seeds), seeds, "o", color=COLOURS[point.role], markersize=4, alpha=0.4, markeredgewidth=0
            )
        front = sorted((p for p, best in zip(points, pareto_front(points), strict=True) if best), key=lambda p: p.cost)
        axes.plot([p.cost for p in front], [p.score for p in front], "--", color=MUTED, linewidth=1.2, zorder=1)
        for point in points:
            colour = COLOURS[point.role]
            axes.plot([point.cost], [point.score], "o", color=colour, markersize=9)
            if point in front:
                axes.plot([point.cost], [point.score], "o", color=colour, markersize=15, fillstyle="none", markeredgewidth=1.4)
        costs = [point.cost for point in points]
        room = 0.12 * (max(costs) - min(costs)) or 0.1 * max(costs)
        axes.set_xlim(max(0.0, min(costs) - room), max(costs) + 3.2 * room)
        axes.margins(y=0.1)
        axes.grid()
        few_ticks(axes.xaxis, 5)
        if is_count:
            axes.xaxis.set_major_formatter(lambda value, _: words.count(value))
        few_ticks(axes.yaxis, 6)
        axes.set_xlabel(cost)
        axes.set_ylabel(words.metric_name(metric))
        drawn.draw_without_rendering()
        _label(axes, points)
        best = ", ".join(point.name for point in front)
        return inline_svg(drawn, name, f"{words.metric_name(metric)} against {cost}; nothing beats {best}")


def _label(axes: Axes, points: Sequence[Point]) -> None:
    """Names to the right of the dots, each as near to its own as it can be without covering another or a dot."""
    dots = {point: tuple(axes.transData.transform((point.cost, point.score))) for point in points}
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in dots.values()]
    for point in sorted(points, key=lambda point: dots[point]):
        name = printable(point.name, 40)
        x, y = dots[point]
        left, right = x + GAP, x + GAP + LETTER_WIDTH * len(name)
        # Up and down in turn, further every time.
        steps = [0.0] + [sign * distance * 3.0 for distance in range(1, 80) for sign in (1, -1)]
        boxes = [(left, y + step - LINE_HEIGHT / 2, right, y + step + LINE_HEIGHT / 2) for step in steps]
        free = next((box for box in boxes if not any(_overlap(box, other) for other in taken)), boxes[0])
        taken.append(free)
        shift = (free[1] + free[3]) / 2 - y
        axes.annotate(
            name,
            (point.cost, point.score),
            xytext=(GAP, shift),
            textcoords="offset points",
            va="center",
            fontsize=11,
            color=TEXT,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkB": 5} if abs(shift) > 7 else None,
        )


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
