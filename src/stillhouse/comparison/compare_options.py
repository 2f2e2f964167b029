"""The options of a comparison: those of a run that are not one run's alone, and its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from stillhouse.config import (
    OUTPUT,
    STUDENT,
    TRAINING,
    AssistantShape,
    CorpusConfig,
    DataConfig,
    EngineConfig,
    Frozen,
    Option,
    PositiveFloat,
    TeacherConfig,
)
from stillhouse.runs.option_table import COMPAT, LAST_STAGE, TrainingOptions, in_groups, options_of


class CompareSettings(Frozen):
    """Everything that decides a comparison, its methods as they were given: `CompareConfig` has them as a whole.

    Attributes:
        methods: The methods by the name that the table calls them; several may be one method with different settings.
        students: Shapes, folders or hub ids; none = each method's own.
        seeds: Of the students' training; the first is the one on which learning rates are chosen.
        grid: Learning rates that every line tries, the baselines too; none = each method's own rate.
    """

    data: DataConfig = DataConfig()
    corpus: CorpusConfig = CorpusConfig()
    teacher: TeacherConfig = TeacherConfig()
    engine: EngineConfig = EngineConfig()
    methods: Annotated[
        dict[str, Any],
        Option("Names with commas between: logit,pkd. [all]", group=STUDENT, given=Sequence[str] | str, also=("--method",)),
    ]
    students: Annotated[
        tuple[str, ...],
        Option(
            "LxH, half, folders or hub ids, with commas. [the methods']",
            group=STUDENT,
            given=Sequence[str] | str,
            also=("--student",),
        ),
    ] = ()
    assistant: AssistantShape = None
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...],
        Field(min_length=1),
        Option("With commas between. [0,1,2]", group=TRAINING, given=Sequence[int] | str, also=("--seed",)),
    ] = (0, 1, 2)
    grid: Annotated[
        tuple[PositiveFloat, ...],
        Option(
            "Learning rates that every line tries, chosen on the selection rows. [3e-5,1e-4,3e-4]",
            group=TRAINING,
            given=Sequence[float] | str | bool,
        ),
    ] = (3e-5, 1e-4, 3e-4)
    out: Annotated[str | None, Option("Folder of the comparison. [runs/<data>-compare]", group=OUTPUT, given=str | Path)] = None


class CompareOptions(TrainingOptions, total=False):
    """The options of `compare`."""

    methods: Sequence[str] | str | None
    students: Sequence[str] | str | None
    seeds: Sequence[int] | str | None
    grid: Sequence[float] | str | bool | None


COMPARE = in_groups(LAST_STAGE | options_of(CompareSettings) | COMPAT)
COMPARE |= {
    "data": COMPARE["data"].says("File, folder, built-in or GLUE name, hub:owner/name. [pydocs; with --corpus it is given]"),
    "epochs": COMPARE["epochs"].says("Epochs of the last stages. [the methods']"),
    "learning_rate": COMPARE["learning_rate"].says("One rate instead of the grid, for stages scored on the selection rows."),
}
