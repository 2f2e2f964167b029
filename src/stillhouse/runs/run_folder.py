"""The run folder: what is in it, and whether its run is finished."""

from __future__ import annotations

import shutil
from typing import ClassVar

from stillhouse.files import (
    ASSISTANT,
    CHECKPOINTS,
    GENERAL,
    GENERAL_ASSISTANT,
    LOG,
    MASKED_LM_TEACHER,
    METRICS,
    PREDICTIONS,
    REPORT,
    RUN_CONFIG,
    STUDENT,
    TEACHER,
    TRACKERS,
)
from stillhouse.runs.owned_folder import KEEPING, OwnedFolder


class RunFolder(OwnedFolder):
    """A folder that holds one run, unfinished or finished."""

    noun = "run"
    config_name = RUN_CONFIG
    result_name = METRICS
    models = (STUDENT, TEACHER, ASSISTANT, GENERAL, GENERAL_ASSISTANT, MASKED_LM_TEACHER)
    own = (METRICS, LOG, PREDICTIONS, REPORT, *models, CHECKPOINTS, TRACKERS, RUN_CONFIG)
    free = ("engine.log_every", "engine.checkpoint_seconds", "engine.trackers", "out", *KEEPING)
    unresolved: ClassVar[dict[str, str | None]] = {
        "engine.precision": "auto",
        **dict.fromkeys(("data.max_length", "data.task", "data.text", "data.text_pair", "data.label")),
    }

    @property
    def is_finished(self) -> bool:
        """Whether metrics.json is there, the last thing that needs the run; the report can be written again at any time."""
        return (self / METRICS).exists()

    def forget_checkpoints(self) -> None:
        shutil.rmtree(self / CHECKPOINTS, ignore_errors=True)
