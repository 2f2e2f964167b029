"""The comparison folder: what is in it, and whether its comparison is finished."""

from __future__ import annotations

from stillhouse.errors import UserError
from stillhouse.files import (
    COMPARE_CONFIG,
    COMPARED_RUNS,
    COMPARISON,
    COMPARISON_TABLE,
    INPUTS,
    REPORT,
    SHARED_TEACHERS,
    TEACHER,
)
from stillhouse.runs.owned_folder import KEEPING, OwnedFolder
from stillhouse.sealed import read_sealed


class ComparisonFolder(OwnedFolder):
    """A folder that holds one comparison, with a run folder for every run below `rows`."""

    noun = "comparison"
    config_name = COMPARE_CONFIG
    result_name = COMPARISON
    own = (COMPARISON, COMPARISON_TABLE, REPORT, INPUTS, COMPARED_RUNS, TEACHER, SHARED_TEACHERS, COMPARE_CONFIG)
    # The precision is among the inputs: what `auto` means depends on the machine.
    free = ("engine.precision", "engine.log_every", "engine.checkpoint_seconds", "engine.trackers", "out", *KEEPING)

    def check_inputs(self, inputs: dict[str, str]) -> None:
        """Refuses to go on with other data, or on another kind of machine, than the comparison was begun with.

        Raises:
            UserError: Something has changed.
        """
        if not (self / INPUTS).exists():
            return
        before = read_sealed(self / INPUTS, fix="--overwrite, or another --out")
        changed = [name for name in inputs if before.get(name) != inputs[name]]
        if changed:
            raise UserError(
                f"{', '.join(changed)} changed since the comparison in {self.path} was begun",
                expected="what its finished runs were made from",
                fix="restore it, start anew with --overwrite, or choose another --out",
            )

    @property
    def is_finished(self) -> bool:
        """Whether every line that can be run has been, for every seed."""
        if not (self / COMPARISON).exists():
            return False
        result = self.result()
        return bool(result.get("complete")) and all(row["status"] in ("done", "refused") for row in result["rows"])
