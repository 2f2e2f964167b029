"""What a run showed, of its task and of plain text, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillhouse.report.general_words import general_line, general_lines, general_phase, is_pretraining
from stillhouse.report.words import task_lines


def summary_lines(metrics: Mapping[str, Any]) -> list[str]:
    """What a run showed, one plain sentence a line, what counts most first.

    Args:
        metrics: The content of a run's metrics.json.
    """
    general = general_phase(metrics)
    if general is None:
        return task_lines(metrics)
    if is_pretraining(metrics):
        return general_lines(general)
    return [*task_lines(metrics), general_line(general)]
