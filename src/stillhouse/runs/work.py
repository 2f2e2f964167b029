"""What the phases of a run share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from stillhouse.config import EngineConfig
from stillhouse.console import Console
from stillhouse.data.text import Text
from stillhouse.files import CHECKPOINTS, LOG, cache_folder
from stillhouse.method import Role, Stage
from stillhouse.models.model import Model
from stillhouse.runs.prepared import Learner
from stillhouse.runs.run_folder import RunFolder
from stillhouse.runs.trained_once import TrainedOnce
from stillhouse.teachers.source import Source
from stillhouse.training.log import RunLog
from stillhouse.training.resume import FINISHED
from stillhouse.training.stages import TrainingContext, train_stage
from stillhouse.training.trainer import StageResult


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


class Phase:
    """A phase of a run at work: what a corpus and what a task teach are two of them.

    Args:
        work: What the phases share.
        models: By role, at their starts.

    Attributes:
        models: By role, as far as the phase has come.
        results: Every stage that this run trained, in order.
        notes: What was said on the way.
    """

    def __init__(self, work: Work, models: dict[Role, Model]) -> None:
        self.work, self.models = work, models
        self.accelerator, self.folder, self.console = work.accelerator, work.folder, work.console
        self.results: list[StageResult] = []
        self.notes: list[str] = []

    def note(self, said: str) -> None:
        """Says what belongs into the record, too."""
        self.notes.append(said)
        self.console.say(f"  {said}")

    def restart(self, learner: Learner) -> None:
        """Makes a model anew from its teacher, which is trained by now, where it starts from that."""
        if learner.restart is not None and learner.teacher is not None:
            self.models[learner.role], start = learner.restart(self.models[learner.teacher])
            self.note(f"{learner.role} starts from {start.description}: {start.sentence()}")

    def train(
        self,
        stages: Sequence[Stage],
        text_of: Callable[[Stage], Text],
        score: Callable[[Role], float],
        source: Callable[[Role], Source],
        *,
        seed: int,
        selection: str,
    ) -> None:
        """The stages of one model, one after the other.

        Args:
            stages: What it goes through.
            text_of: What a stage trains on.
            score: Score of a model on the selection rows.
            source: Where the features of a teacher come from, as it is now.
            seed: Of the stages.
            selection: Fingerprint of the selection rows.
        """
        sources = {stage.teacher: source(stage.teacher) for stage in stages if stage.teacher is not None}
        for number, stage in enumerate(stages):
            result = train_stage(
                stage,
                self.models[stage.student].encoder.to(self.accelerator.device),
                text_of(stage),
                partial(score, stage.student),
                self.work.context,
                number=number,
                seed=seed,
                selection=selection,
                teacher=None if stage.teacher is None else self.models[stage.teacher].encoder,
                source=None if stage.teacher is None else sources[stage.teacher],
            )
            self.results.append(result)
