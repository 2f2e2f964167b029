"""The comparison folder: what is in it, and whether its comparison is finished."""

from __future__ import annotations

from stillhouse.owned_folder import OwnedFolder

CONFIG = "compare.yaml"
COMPARISON = "comparison.json"
TABLE = "comparison.md"
REPORT = "report.html"
RUNS = "runs"
TEACHER = "teacher"


class ComparisonFolder(OwnedFolder):
    """A folder that holds one comparison, with a run folder for every run below `runs`."""

    noun = "comparison"
    config_name = CONFIG
    result_name = COMPARISON
    own = (COMPARISON, TABLE, REPORT, RUNS, TEACHER, CONFIG)
    free = ("engine.log_every", "engine.checkpoint_seconds", "engine.trackers", "teacher.allow_weak", "out")

    @property
    def is_finished(self) -> bool:
        """Whether every line that can be run has been, for every seed."""
        return (self / COMPARISON).exists() and all(row["status"] in ("done", "refused") for row in self.result()["rows"])
