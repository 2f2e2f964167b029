"""The stages of a task, in order, and what stands between them: who starts from where, what is kept, saved and scored."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from stillhouse.console import OnProgress
from stillhouse.data.seeds import stage_seed
from stillhouse.data.tokenized_split import TokenizedSplit
from stillhouse.evaluation.evaluate import Predictions, Split, main_score, predict_split
from stillhouse.evaluation.predictor import remember
from stillhouse.files import TEACHER, write_folder
from stillhouse.method import Role, Stage
from stillhouse.models.adapter import layer_count
from stillhouse.models.digest import weights_digest
from stillhouse.models.heads import with_head
from stillhouse.models.model import Model
from stillhouse.models.saving import save_model
from stillhouse.runs.checks import check_teacher
from stillhouse.runs.findings import refuse_first
from stillhouse.runs.general_run import FOLDERS, GeneralOutcome
from stillhouse.runs.learning import STREAMS
from stillhouse.runs.model_card import write_model_card
from stillhouse.runs.outcome import Outcome
from stillhouse.runs.prepared import Learner, Prepared
from stillhouse.runs.schedule import schedule
from stillhouse.runs.trained_once import name_of
from stillhouse.runs.work import Phase, Work
from stillhouse.students.copy_layers import copy_layers
from stillhouse.teachers.source import Source


class StagedRun(Phase):
    """A run at work on its task.

    Args:
        prepared: What it works with.
        work: What its phases share.
    """

    def __init__(self, prepared: Prepared, work: Work) -> None:
        super().__init__(work, {"teacher": prepared.teacher, **{one.role: one.model for one in prepared.learners}})
        self.prepared, self.config = prepared, prepared.config
        self.learnt: GeneralOutcome | None = None
        self.thresholds: dict[Role, float] = {}

    def go(self, learnt: GeneralOutcome | None = None) -> Outcome:
        """Trains every model that the run has, and scores them.

        Args:
            learnt: What its general phase left.
        """
        self.learnt = learnt
        if learnt is not None and self.config.has_new_teacher and "teacher" in learnt.models:
            self._go_on_from(learnt.models["teacher"], "teacher")
        for role, stages in groupby(schedule(self.prepared), key=lambda stage: stage.student):
            if role == "teacher":
                self._fit_teacher(list(stages))
            elif role == "baseline":
                self.console.say("training the same student without the teacher")
                self._train(list(stages))
            else:
                self._train_learner(next(learner for learner in self.prepared.learners if learner.role == role))
        return self._evaluate()

    def check_given_teacher(self) -> None:
        """Refuses a teacher that knows nothing, before anything is written; one that is fine-tuned here comes later."""
        if self.config.needs_fitted_teacher and self.prepared.teacher_has_head:
            self._check_teacher()

    def _check_teacher(self) -> None:
        for said in refuse_first(check_teacher(self.prepared, self.accelerator)):
            self.note(said)

    def _source(self, role: Role) -> Source:
        """Where the features of a model come from, as it is now."""
        model, shared = self.models[role], self.work.teachers is not None
        name = f"{model.name} on {self.prepared.task.name}"
        return Source(self.config.teacher, name, weights_digest(model.encoder), is_shared=shared, view=model.view)

    def _train(self, stages: Sequence[Stage]) -> None:
        """The stages of one model, one after the other."""
        selection = self.prepared.splits["selection"]
        self.train(
            stages,
            self.prepared.rows_of,
            lambda role: main_score(selection, self._predict(role, selection)),
            self._source,
            seed=self.config.teacher.seed if stages[0].student == "teacher" else self.config.seed,
            selection=selection.fingerprint(),
        )

    def _fit_teacher(self, stages: Sequence[Stage]) -> None:
        """Fine-tunes a teacher without a head, or takes the one that was fitted on the same things before."""
        teacher = self.models["teacher"]
        self.console.say(f"teacher {teacher.name} has no head for {self.prepared.task.kind}: fine-tuning it first")
        (stage,) = stages
        once = self.work.once("teachers", stage.name, self._name_of_fitted(stage, self.prepared.rows_of(stage)))
        is_kept = once.obtain(teacher, lambda: self._train(stages))
        teacher.encoder.to(self.accelerator.device).eval()
        self._remember_use("teacher")
        once.save(self.folder / TEACHER, partial(self._write, "teacher"), is_new=not is_kept)
        teacher.start = f"{teacher.name}, fine-tuned here"
        if is_kept:
            self.console.say("  the same teacher was fine-tuned on the same data before: it is used again")
        self._check_teacher()

    def _name_of_fitted(self, stage: Stage, rows: TokenizedSplit) -> str:
        """Of a fitted teacher: everything that decides its weights."""
        encoder, seed = self.models["teacher"].encoder, self.config.teacher.seed
        selection = self.prepared.splits["selection"].fingerprint()
        parts = [weights_digest(encoder), rows.fingerprint(), selection, stage.config.model_dump(), seed]
        return name_of(*parts, str(self.accelerator.mixed_precision), rows.learner.pad_token_id)

    def _train_learner(self, learner: Learner) -> None:
        """Trains the student, or the assistant before it, and saves it."""
        role = learner.role
        if self.learnt is not None and role in self.learnt.record:
            self._go_on_from(self.learnt.models[role], role)
        elif self.config.method.starts_from_fitted_teacher or (role == "student" and self.config.starts_from_fitted_teacher):
            self._start_from_teacher(learner)
        else:
            self.restart(learner)
        model = self.models[role]
        if role == "student" and self.config.method.uses_teacher and self.config.baseline:
            name = f"{model.name} without teacher"
            self.models["baseline"] = replace(model, name=name, encoder=copy.deepcopy(model.encoder))
        self.console.say(f"{'distilling' if self.config.method.uses_teacher else 'fine-tuning'} {model.name}")
        self._train(learner.stages)
        self._remember_use(role)
        if self.accelerator.is_main_process:
            write_folder(self.folder / FOLDERS[role], lambda path: self._write(role, path))

    def _go_on_from(self, learnt: Model, role: Role) -> None:
        """Puts what a model has learnt from the corpus under the head of the task."""
        model = self.models[role]
        torch.manual_seed(stage_seed(self.config.teacher.seed if role == "teacher" else self.config.seed, STREAMS[role]))
        start = f"{learnt.name}, which started from {learnt.start}"
        encoder = with_head(learnt.encoder, self.prepared.task.head)
        self.models[role] = replace(model, encoder=encoder, start=start, is_fresh=False)
        self.note(f"{role} starts from {start}")

    def _start_from_teacher(self, learner: Learner) -> None:
        """Gives a model the weights of its teacher as that solves the task."""
        role, taught_by = learner.role, learner.teacher or "teacher"
        model, teacher = self.models[role], self.models[taught_by]
        rule = self.config.copied_layers if role == "student" else self.config.method.copied_layers
        layers = rule(*(layer_count(one.encoder.config) for one in (model, teacher)))
        start = copy_layers(model.encoder, teacher.encoder, layers, teacher_name=teacher.name, with_head=True)
        model.start = start.description
        self.note(f"{role} starts from {start.description}: {start.sentence()}")

    def _write(self, role: Role, path: Path) -> None:
        save_model(self.models[role].encoder, self.models[role].tokenizer, path)
        if role != "teacher":
            write_model_card(path, self.prepared, self.models[role])

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
        if self.learnt is not None:
            outcome.general_stages = self.learnt.stages
            outcome.notes = [*self.learnt.notes, *self.notes]
            outcome.general, outcome.seconds["general"] = self.learnt.record, self.learnt.seconds
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
