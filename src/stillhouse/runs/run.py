"""The stages of one run, in order, and what stands between them: who starts from where, what is kept, saved and scored."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from stillhouse.console import Console, OnProgress
from stillhouse.data.tokenized_split import TokenizedSplit
from stillhouse.evaluation.evaluate import Predictions, Split, main_score, predict_split
from stillhouse.evaluation.predictor import remember
from stillhouse.files import CHECKPOINTS, LOG, STUDENT, TEACHER, write_folder
from stillhouse.method import Role, Stage
from stillhouse.models.adapter import layer_count
from stillhouse.models.digest import weights_digest
from stillhouse.models.model import Model
from stillhouse.models.saving import save_model
from stillhouse.runs.checks import check_teacher
from stillhouse.runs.findings import refuse_first
from stillhouse.runs.model_card import write_model_card
from stillhouse.runs.outcome import Outcome
from stillhouse.runs.prepared import Prepared
from stillhouse.runs.run_folder import RunFolder
from stillhouse.runs.schedule import schedule
from stillhouse.students.copy_layers import copy_layers
from stillhouse.teachers.kept_models import keep, load_kept, teachers_root
from stillhouse.teachers.source import Source
from stillhouse.training.log import RunLog
from stillhouse.training.stages import TrainingContext, train_stage
from stillhouse.training.trainer import StageResult

# Raised when a change of the loop changes what a fitted teacher looks like: older ones are then fitted again.
RECIPE = 5


class StagedRun:
    """One run at work.

    Args:
        prepared: What it works with.
        accelerator: The engine.
        folder: Its folder.
        console: What it says goes there.
        teachers: Where several runs of this process keep the teachers that they fit, for each other; None = it is alone.

    Attributes:
        models: By role, as far as the run has come.
    """

    def __init__(
        self, prepared: Prepared, accelerator: Any, folder: RunFolder, console: Console, teachers: Path | None = None
    ) -> None:
        self.prepared, self.config = prepared, prepared.config
        self.accelerator, self.folder, self.console, self.teachers = accelerator, folder, console, teachers
        self.models: dict[Role, Model] = {"teacher": prepared.teacher, "student": prepared.student}
        self.results: list[StageResult] = []
        self.thresholds: dict[Role, float] = {}
        self.notes: list[str] = []

    def go(self) -> Outcome:
        """Trains every model that the run has, and scores them."""
        for role, stages in groupby(schedule(self.prepared), key=lambda stage: stage.student):
            if role == "teacher":
                self._fit_teacher(list(stages))
            elif role == "student":
                self._train_student(list(stages))
            else:
                self.console.say("training the same student without the teacher")
                self._train(list(stages))
        return self._evaluate()

    def check_given_teacher(self) -> None:
        """Refuses a teacher that knows nothing, before anything is written; one that is fine-tuned here comes later."""
        if self.config.needs_fitted_teacher and self.prepared.teacher_has_head:
            self._check_teacher()

    def _check_teacher(self) -> None:
        for said in refuse_first(check_teacher(self.prepared, self.accelerator)):
            self.notes.append(said)
            self.console.say(f"  {said}")

    @cached_property
    def context(self) -> TrainingContext:
        """What all stages share."""
        is_main, engine = self.accelerator.is_main_process, self.config.engine
        log = RunLog(self.folder / LOG if is_main else None, self.accelerator if self.accelerator.log_with else None)
        log.mend(self.console.warn)
        return TrainingContext(self.accelerator, engine, self.folder / CHECKPOINTS, log, self.console)

    def _source(self, role: Role) -> Source:
        """Where the features of a model come from, as it is now."""
        model, shared = self.models[role], self.teachers is not None
        name = f"{model.name} on {self.prepared.task.name}"
        return Source(self.config.teacher, name, weights_digest(model.encoder), is_shared=shared, view=model.view)

    def _train(self, stages: Sequence[Stage]) -> None:
        """The stages of one model, one after the other."""
        selection = self.prepared.splits["selection"]
        sources = {stage.teacher: self._source(stage.teacher) for stage in stages if stage.teacher is not None}
        for number, stage in enumerate(stages):
            model = self.models[stage.student]
            result = train_stage(
                stage,
                model.encoder.to(self.accelerator.device),
                self.prepared.rows_of(stage),
                lambda role=stage.student: main_score(selection, self._predict(role, selection)),  # type: ignore[misc]
                self.context,
                number=number,
                seed=self.config.teacher.seed if stage.student == "teacher" else self.config.seed,
                selection=selection.fingerprint(),
                teacher=None if stage.teacher is None else self.models[stage.teacher].encoder,
                source=None if stage.teacher is None else sources[stage.teacher],
            )
            self.results.append(result)

    def _fit_teacher(self, stages: Sequence[Stage]) -> None:
        """Fine-tunes a teacher without a head, or takes the one that was fitted on the same things before."""
        teacher = self.models["teacher"]
        self.console.say(f"teacher {teacher.name} has no head for {self.prepared.task.kind}: fine-tuning it first")
        (stage,) = stages
        name = self._name_of_fitted(stage, self.prepared.rows_of(stage))
        places = [place / name for place in (teachers_root(), self.teachers) if place is not None]
        # A run that was interrupted after its own fit goes on with that one, and reports it.
        fitted_here = (self.context.checkpoints / stage.name / "finished.json").exists()
        is_kept = not fitted_here and any(load_kept(place, teacher.encoder, self.console.warn) for place in places)
        if is_kept:
            teacher.encoder.to(self.accelerator.device).eval()
        else:
            self._train(stages)
        self._remember_use("teacher")
        if self.accelerator.is_main_process:
            # Always anew: a folder of an earlier start may hold a teacher that was fitted on other data.
            write_folder(self.folder / TEACHER, lambda path: save_model(teacher.encoder, teacher.tokenizer, path))
            if not is_kept:
                any(keep(place, self.folder / TEACHER) for place in places)
        teacher.start = f"{teacher.name}, fine-tuned here"
        if is_kept:
            self.console.say("  the same teacher was fine-tuned on the same data before: it is used again")
        self._check_teacher()

    def _name_of_fitted(self, stage: Stage, rows: TokenizedSplit) -> str:
        """Of a fitted teacher: everything that decides its weights."""
        encoder, seed = self.models["teacher"].encoder, self.config.teacher.seed
        selection = self.prepared.splits["selection"].fingerprint()
        parts = [RECIPE, weights_digest(encoder), rows.fingerprint(), selection, stage.config.model_dump(), seed]
        parts += [str(self.accelerator.mixed_precision), rows.learner.pad_token_id]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def _train_student(self, stages: Sequence[Stage]) -> None:
        student = self.models["student"]
        if self.config.starts_from_fitted_teacher:
            self._start_from_teacher()
        if self.config.method.uses_teacher and self.config.baseline:
            name = f"{student.name} without teacher"
            self.models["baseline"] = replace(student, name=name, encoder=copy.deepcopy(student.encoder))
        self.console.say(f"{'distilling' if self.config.method.uses_teacher else 'fine-tuning'} {student.name}")
        self._train(stages)
        self._remember_use("student")
        if self.accelerator.is_main_process:
            write_folder(self.folder / STUDENT, self._write_student)

    def _start_from_teacher(self) -> None:
        """Gives the student the weights of the teacher as it solves the task."""
        student, teacher = self.models["student"], self.models["teacher"]
        layers = self.config.copied_layers(*(layer_count(model.encoder.config) for model in (student, teacher)))
        start = copy_layers(student.encoder, teacher.encoder, layers, teacher_name=teacher.name, with_head=True)
        student.start = start.description
        self.notes.append(f"student starts from {start.description}: {start.sentence()}")
        self.console.say(f"  {self.notes[-1]}")

    def _write_student(self, path: Path) -> None:
        save_model(self.models["student"].encoder, self.models["student"].tokenizer, path)
        write_model_card(path, self.prepared)

    def _predict(self, role: Role, split: Split, **options: Any) -> Predictions:
        model = self.models[role]
        return predict_split(model.encoder.to(self.accelerator.device), split, self.accelerator, view=model.view, **options)

    def _remember_use(self, role: Role) -> None:
        """Writes into a model's configuration how its inputs are cut and when it gives no answer."""
        remember(self.models[role].encoder.config, self.config.data, self._threshold(role))

    def _threshold(self, role: Role) -> float | None:
        """When a trained model gives no answer, chosen once on the selection rows; None where a task knows no such thing."""
        if not self.prepared.task.kind.can_abstain:
            return None
        if role not in self.thresholds:
            self.thresholds[role] = self._predict(role, self.prepared.splits["selection"]).threshold
        return self.thresholds[role]

    def _evaluate(self) -> Outcome:
        """Scores every model once on every evaluation split; thresholds come from the selection rows."""
        self.console.say("evaluating")
        if not self.config.method.uses_teacher:
            del self.models["teacher"]
        started = time.perf_counter()
        models = {str(role): model for role, model in self.models.items()}
        outcome = Outcome(models=models, stages=self.results, notes=self.notes)
        for role in self.models:
            threshold = self._threshold(role)
            for name in ("validation", "test"):
                if name in self.prepared.splits:
                    predictions = self._predict(role, self.prepared.splits[name], report=self._report_scoring(role, name))
                    if threshold is not None:
                        predictions = predictions.with_threshold(threshold)
                    outcome.predictions.setdefault(name, {})[role] = predictions
        outcome.seconds["scoring"] = time.perf_counter() - started
        return outcome

    def _report_scoring(self, role: Role, split: str) -> OnProgress:
        return lambda step, steps, _name: self.console.scoring(step, steps, f"{role} on {split}")
