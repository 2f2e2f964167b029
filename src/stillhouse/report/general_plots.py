"""The plot of a general phase: how far each layer is from the teacher's, before and after."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from stillhouse.report import words
from stillhouse.report.plots import categories
from stillhouse.report.svg import MUTED, STUDENT_COLOUR, drawing, few_ticks, figure, inline_svg


def layer_dots(layers: Sequence[tuple[str, float, float]], measure: str, unit: str, name: str) -> Markup:
    """A line a layer, from its distance before training (a ring) to that after it (a dot).

    Args:
        layers: Name of the layer, distance before and after.
        measure: What is compared.
        unit: What the distance is.
        name: Unique in the page.
    """
    with drawing():
        drawn = figure(330, 50 + 30 * len(layers))
        axes = drawn.subplots()
        for place, (_, before, after) in enumerate(layers):
            axes.plot([before, after], [place, place], color=STUDENT_COLOUR, linewidth=2, alpha=0.45)
            axes.plot([before], [place], "o", color=MUTED, markersize=8, fillstyle="none", markeredgewidth=1.6)
            axes.plot([after], [place], "o", color=STUDENT_COLOUR, markersize=8)
        categories(axes, [layer for layer, *_ in layers])
        axes.set_xlim(0, 1.1 * max(max(before, after) for _, before, after in layers) or 1)
        axes.grid(axis="x")
        few_ticks(axes.xaxis, 4)
        axes.set_xlabel(unit)
        said = ", ".join(f"{layer} {words.score(before)} and {words.score(after)}" for layer, before, after in layers)
        return inline_svg(drawn, name, f"Distance of {measure} before and after training: {said}")
