"""Which scale a plot has."""

import pytest

from stillhouse.report.plots import StageCurve, _loss_scale
from stillhouse.report.svg import drawing, figure


@pytest.mark.parametrize(("times", "scale"), [(900, "log"), (9, "linear")])
def test_objectives_that_are_far_apart_get_a_log_scale(times, scale):
    steps = range(1, 20)
    losses = {"hidden_mse": (steps, [times / step for step in steps]), "soft_labels": (steps, [1 / step for step in steps])}
    with drawing():
        axes = figure(330, 230).subplots()
        _loss_scale(axes, StageCurve("distil", losses))
        assert axes.get_yscale() == scale
        axes.figure.draw_without_rendering()
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert not any("$" in label for label in labels)  # which an SVG's own text would show as it stands
        assert "100" in labels or scale == "linear"


def test_a_value_that_is_zero_has_no_place_on_a_log_scale():
    losses = {"hidden_mse": ((1, 2), (900.0, 800.0)), "soft_labels": ((1, 2), (1.0, 0.0))}
    with drawing():
        axes = figure(330, 230).subplots()
        _loss_scale(axes, StageCurve("distil", losses))
        assert axes.get_yscale() == "linear"
        assert axes.get_ylim()[0] == 0
