"""The picture of the README: scores of the teacher, of a distilled student and of the same student without a teacher."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stillhouse.report.svg import BASELINE_COLOUR, STUDENT_COLOUR, TEACHER_COLOUR, TEXT, drawing, few_ticks, figure, inline_svg

WIDTH, HEIGHT_OF_ROW, HEIGHT_OF_THE_REST = 760, 34, 118
# A picture that is linked takes no colours from the page: those of the report's light theme, on paper of its own.
COLOURS = {
    "currentColor": "#1d1f21",
    "var(--muted)": "#5d6268",
    "var(--rule)": "#dcdcd6",
    "var(--student)": "#0b6aa8",
    "var(--teacher)": "#6b6f76",
    "var(--baseline)": "#c25a00",
}


@dataclass(frozen=True)
class Scores:
    """A row of the picture, in points.

    Attributes:
        name: Of the data set, with its metric.
        teacher: Its score.
        alone: That of the student without a teacher.
        student: That of the student with it.
        low: The student's score at the lower end of the interval of the gain.
        high: At its upper end.
    """

    name: str
    teacher: float
    alone: float
    student: float
    low: float
    high: float


def picture(rows: Sequence[Scores], names: Mapping[str, str]) -> str:
    """An SVG file.

    Args:
        rows: From the top.
        names: Of `teacher`, `student` and `baseline` in the legend.
    """
    with drawing():
        height = HEIGHT_OF_ROW * len(rows) + HEIGHT_OF_THE_REST
        drawn = figure(WIDTH, height)
        axes = drawn.subplots()
        for place, row in enumerate(rows):
            axes.plot([row.low, row.high], [place, place], color=STUDENT_COLOUR, linewidth=6, solid_capstyle="butt", alpha=0.3)
        places = range(len(rows))
        dots = (
            ("baseline", "o", BASELINE_COLOUR, [row.alone for row in rows]),
            ("student", "o", STUDENT_COLOUR, [row.student for row in rows]),
            ("teacher", "D", TEACHER_COLOUR, [row.teacher for row in rows]),
        )
        for role, shape, colour, values in dots:
            fill = "none" if role == "baseline" else "full"
            axes.plot(values, places, shape, color=colour, markersize=9, markeredgewidth=2, fillstyle=fill, label=names[role])
        axes.set_yticks(places, [row.name for row in rows])
        axes.tick_params(axis="y", labelcolor=TEXT, labelsize=12)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        few_ticks(axes.xaxis, 6)
        axes.set_xlabel("score in points; bars: 95 % interval of the student's gain")
        drawn.legend(loc="outside upper left", ncols=1)
        svg = str(inline_svg(drawn, "scores", "; ".join(map(_said, rows))))
    for variable, colour in COLOURS.items():
        svg = svg.replace(variable, colour)
    left = sorted(set(re.findall(r"var\(.*?\)|#0101\w\w", svg)))
    if left:
        raise ValueError(f"colours without a value: {', '.join(left)}")
    size = f'xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="Helvetica, Arial, sans-serif"'
    paper = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return re.sub(r'^<svg ([^>]*) style="[^"]*">', rf"<svg {size} \1>\n{paper}", svg, count=1) + "\n"


def _said(row: Scores) -> str:
    return f"{row.name}: teacher {row.teacher:.1f}, student {row.student:.1f}, without teacher {row.alone:.1f}"
