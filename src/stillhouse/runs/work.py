"""What the phases of a run share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stillhouse.config import EngineConfig
from stillhouse.console import Console
from stillhouse.files import CHECKPOINTS, LOG, cache_folder
from stillhouse.runs.run_folder import RunFolder
from stillhouse.runs.trained_once import TrainedOnce
from stillhouse.training.log import RunLog
from stillhouse.training.resume import FINISHED
from stillhouse.training.stages import TrainingContext


@dataclass(frozen=True)
class Work:
    """A run at work.

    Attributes:
        accelerator: The engine.
        engine: Its configuration.
        folder: The run's folder.
        console: What it says goes there.
        teachers: Where several runs of this process keep the models that they train once, for each other; None = it is alone.
    """

    accelerator: Any
    engine: EngineConfig
    folder: RunFolder
    console: Console
    teachers: Path | None = None

    @cached_property
    def context(self) -> TrainingContext:
        """What all stages share."""
        is_main = self.accelerator.is_main_process
        log = RunLog(self.folder / LOG if is_main else None, self.accelerator if self.accelerator.log_with else None)
        log.mend(self.console.warn)
        return TrainingContext(self.accelerator, self.engine, self.folder / CHECKPOINTS, log, self.console)

    def once(self, kind: str, stage: str, name: str) -> TrainedOnce:
        """A model that is trained once.

        Args:
            kind: Folder of the cache.
            stage: The stage that ends with it.
            name: Of everything that decides its weights.
        """
        places = [place for place in (cache_folder(kind), self.teachers) if place is not None]
        begun = self.folder / CHECKPOINTS / stage / FINISHED
        return TrainedOnce(places, name, begun, self.console, self.accelerator.is_main_process)
