"""One run from its configuration to its folder: the whole data flow."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from stillhouse.console import Console, OnProgress
from stillhouse.evaluation.evaluate import Predictions, Split, main_score, predict_split
from stillhouse.evaluation.trained import remember_use
from stillhouse.files import CHECKPOINTS, LOG, REPORT, STUDENT, TEACHER, TRACKERS, write_folder
from stillhouse.machine.engine import build_accelerator, is_first_process
from stillhouse.machine.memory import forget_peak_memory
from stillhouse.machine.versions import untested_transformers
from stillhouse.method import Method, Stage
from stillhouse.models.adapter import layer_count
from stillhouse.models.forward import Side
from stillhouse.models.model import Model
from stillhouse.models.saving import save_model
from stillhouse.objectives.hard_labels import HardLabels
from stillhouse.report import summary_lines, write_report
from stillhouse.runs.checks import check_prepared_teacher
from stillhouse.runs.defaults import with_defaults
from stillhouse.runs.fit_teacher import fit_teacher
from stillhouse.runs.model_card import write_model_card
from stillhouse.runs.outcome import Outcome, write_outcome
from stillhouse.runs.prepare import prepare
from stillhouse.runs.prepared import Prepared
from stillhouse.runs.run_config import RunConfig
from stillhouse.runs.run_folder import RunFolder
from stillhouse.students.copy_layers import copy_layers
from stillhouse.teachers.source import Source
from stillhouse.training.log import RunLog
from stillhouse.training.stages import Workshop, run_stages
from stillhouse.training.trainer import StageResult


def execute(config: RunConfig, console: Console, *, overwrite: bool = False, teachers: Path | None = None) -> RunFolder:
    """Runs a configuration to its end, from where it was interrupted; a finished run is shown and left alone.

    Args:
        config: The run.
        console: What it says goes there.
        overwrite: Delete the run that is in the folder.
        teachers: Where several runs of this process keep the teachers that they fit, for each other. After the last of
            them `Accelerator.end_training` is the caller's.

    Raises:
        UserError: A mistake in what was given; nothing has been trained or written.
        TrainingDiverged: A loss became NaN; the last good checkpoint is kept.
    """
    config = with_defaults(config)
    folder = RunFolder(Path(str(config.out)))
    folder.check(config, overwrite=overwrite)
    if folder.is_finished and not overwrite:
        if not is_first_process():
            return folder
        if not (folder / REPORT).exists():
            write_report(folder.path)
        folder.forget_checkpoints()  # a kill may have come before they were deleted
        console.say("this run is finished; --overwrite runs it again, another --out keeps both\n")
        show(folder, console)
        return folder
    accelerator = build_accelerator(config.engine, folder / TRACKERS)
    if not accelerator.is_main_process:
        console = Console(quiet=True)
    if (warning := untested_transformers()) is not None:
        console.warn(warning)
    prepared = prepare(config)
    if accelerator.is_main_process:  # which makes the folder, perhaps while another process is still on its way here
        folder.check(prepared.config, overwrite=overwrite)
    if (folder / CHECKPOINTS).exists() and not overwrite:
        console.say("an unfinished run is here: it goes on from its last checkpoint")
    for note in prepared.notes:
        console.say(f"  {note}")
    log = RunLog(folder / LOG if accelerator.is_main_process else None, accelerator if accelerator.log_with else None)
    checkpoints = folder / CHECKPOINTS
    workshop = Workshop(accelerator, config.engine, checkpoints, log, console.progress, console.scoring, console.warn)
    forget_peak_memory()
    run = _Run(prepared, workshop, folder, console, teachers)
    run.check_given_teacher()
    if accelerator.is_main_process:
        folder.require_space(_bytes_needed(prepared))
        folder.create(prepared.config, overwrite=overwrite)
    accelerator.wait_for_everyone()
    if accelerator.log_with:
        accelerator.init_trackers("stillhouse", {"run": str(folder.path)})
    try:
        outcome = run.go()
        if accelerator.is_main_process:
            write_outcome(folder, prepared, outcome, accelerator)
            write_report(folder.path)
            folder.forget_checkpoints()
        accelerator.wait_for_everyone()
    finally:
        console.close()
        if teachers is None:
            accelerator.end_training()
        else:
            for tracker in accelerator.trackers:
                tracker.finish()
        folder.release()
    show(folder, console)
    return folder


def _bytes_needed(prepared: Prepared) -> int:
    """What the run folder holds at its fullest, with a little to spare.

    A stage has two checkpoints for a moment, with AdamW's two moments beside the weights, and its best weights: 7 models.
    Of each stage before it the final weights are kept twice.
    """

    def size(model: Model) -> int:
        return sum(int(tensor.nbytes) for tensor in model.encoder.state_dict().values())

    student = 10 * size(prepared.student)
    fits_teacher = prepared.config.needs_fitted_teacher and not prepared.teacher_has_head
    return max(8 * size(prepared.teacher), 2 * size(prepared.teacher) + student) if fits_teacher else student


def show(folder: RunFolder, console: Console) -> None:
    """The result in words, and where the report is."""
    for line in summary_lines(folder.result()):
        console.say(line)
    console.say(f"\nstudent: {folder / STUDENT}\nreport:  {folder / REPORT}")


class _Run:
    """The steps of one run, in order: teacher, student, baseline, evaluation."""

    def __init__(
        self, prepared: Prepared, workshop: Workshop, folder: RunFolder, console: Console, teachers: Path | None
    ) -> None:
        self.prepared = prepared
        self.config = prepared.config
        self.method: Method = prepared.config.method
        self.workshop = workshop
        self.folder = folder
        self.console = console
        self.teachers = teachers
        self.device = workshop.accelerator.device
        self.stages: list[StageResult] = []
        self.thresholds: dict[str, float] = {}
        self.notes: list[str] = []

    def go(self) -> Outcome:
        prepared, config = self.prepared, self.config
        if config.needs_fitted_teacher and not prepared.teacher_has_head:
            self._fit_teacher(prepared.teacher)
        if config.starts_from_fitted_teacher:
            self._start_from(prepared.teacher)
        teacher = prepared.teacher if self.method.uses_teacher else None
        start = copy.deepcopy(prepared.student.encoder.state_dict())
        self._train_student(teacher)
        models = {"student": prepared.student}
        if teacher is not None:
            models = {"teacher": teacher, **models}
            if self.config.baseline:
                models["baseline"] = self._train_baseline(start)
        return self._evaluate(models)

    def check_given_teacher(self) -> None:
        """Refuses a teacher that knows nothing, before anything is written; one that is fine-tuned here comes later."""
        if self.config.needs_fitted_teacher and self.prepared.teacher_has_head:
            self._check()

    def _check(self) -> None:
        self.notes.append(check_prepared_teacher(self.prepared, self.workshop.accelerator))
        self.console.say(f"  {self.notes[-1]}")

    def _fit_teacher(self, teacher: Model) -> None:
        """Fine-tunes a teacher without a head."""
        selection = self.prepared.splits["selection"]
        self.console.say(f"teacher {teacher.name} has no head for {self.prepared.task.kind}: fine-tuning it first")
        fitted = fit_teacher(
            teacher.encoder.to(self.device),
            teacher.tokenizer,
            self.prepared.splits["train"].tokens.for_teacher(),
            lambda: self._score(teacher, selection, "teacher"),
            self.workshop,
            self.config.teacher.finetune,
            seed=self.config.teacher.seed,
            selection=selection.fingerprint(),
            folder=self.folder / TEACHER,
            shared=self.teachers,
            before_saving=lambda: self._remember_use(teacher, "teacher"),
        )
        teacher.start = f"{teacher.name}, fine-tuned here"
        if fitted is None:
            self.console.say("  the same teacher was fine-tuned on the same data before: it is used again")
        else:
            self.stages.append(fitted)
        self._check()

    def _start_from(self, teacher: Model) -> None:
        """Gives the student the weights of the teacher as it solves the task."""
        student, encoders = self.prepared.student, (self.prepared.student.encoder, teacher.encoder)
        layers = self.config.copied_layers(*(layer_count(encoder.config) for encoder in encoders))
        start = copy_layers(*encoders, layers, teacher_name=teacher.name, with_head=True)
        student.start = start.description
        self.notes.append(f"student starts from {start.description}: {start.sentence()}")
        self.console.say(f"  {self.notes[-1]}")

    def _train_student(self, teacher: Model | None) -> None:
        student = self.prepared.student
        self.console.say(f"distilling {student.name}" if teacher else f"fine-tuning {student.name}")
        self.stages += run_stages(
            self.prepared.stages,
            student.encoder.to(self.device),
            self.prepared.student_rows(),
            lambda: self._score(student, self.prepared.splits["selection"], "student"),
            self.workshop,
            selection=self.prepared.splits["selection"].fingerprint(),
            teacher=None if teacher is None else teacher.encoder,
            source=Source(
                self.config.teacher,
                f"{self.prepared.teacher.name} on {self.prepared.task.name}",
                is_shared=self.teachers is not None,
            ),
            seed=self.config.seed,
        )
        self._remember_use(student, "student")
        self._save(student)

    def _train_baseline(self, start: dict[str, Any]) -> Model:
        """The same student from the same start, on gold labels alone, for as many steps and at the same rates."""
        baseline = replace(self.prepared.student, encoder=copy.deepcopy(self.prepared.student.encoder))
        baseline.name = f"{baseline.name} without teacher"
        baseline.encoder.load_state_dict(start)
        counts = self.prepared.step_counts()
        stage = Stage(
            "baseline",
            (HardLabels(kind=self.prepared.task.kind),),
            self.prepared.stages[-1].config,
            steps=sum(steps for steps, _ in counts),
            evaluate_every=counts[-1][1],
        )
        self.console.say("training the same student without the teacher")
        self.stages += run_stages(
            (stage,),
            baseline.encoder,
            self.prepared.gold_rows(),
            lambda: self._score(baseline, self.prepared.splits["selection"], "student"),
            self.workshop,
            selection=self.prepared.splits["selection"].fingerprint(),
            seed=self.config.seed,
        )
        return baseline

    def _predict(self, model: Model, split: Split, side: Side, **options: Any) -> Predictions:
        return predict_split(model.encoder.to(self.device), split, side, self.workshop.accelerator, **options)

    def _remember_use(self, model: Model, side: Side) -> None:
        """Writes into a model's configuration how its inputs are cut and when it gives no answer."""
        remember_use(model.encoder, self.config.data, self._threshold(side, model, side))

    def _threshold(self, role: str, model: Model, side: Side) -> float | None:
        """When a trained model gives no answer, chosen once on the selection rows; None for other tasks."""
        if self.prepared.task.kind != "qa":
            return None
        if role not in self.thresholds:
            self.thresholds[role] = self._predict(model, self.prepared.splits["selection"], side).threshold
        return self.thresholds[role]

    def _score(self, model: Model, split: Split, side: Side) -> float:
        return main_score(split, self._predict(model, split, side))

    def _evaluate(self, models: dict[str, Model]) -> Outcome:
        """Scores every model once on every evaluation split; thresholds come from the selection rows."""
        self.console.say("evaluating")
        outcome = Outcome(models=models, stages=self.stages, notes=self.notes)
        for role, model in models.items():
            side: Side = "teacher" if role == "teacher" else "student"
            threshold = self._threshold(role, model, side)
            for name in ("validation", "test"):
                if name in self.prepared.splits:
                    split = self.prepared.splits[name]
                    predictions = self._predict(model, split, side, report=self._report_scoring(role, name))
                    if threshold is not None:
                        predictions = predictions.with_threshold(threshold)
                    outcome.predictions.setdefault(name, {})[role] = predictions
        return outcome

    def _report_scoring(self, role: str, split: str) -> OnProgress:
        return lambda step, steps, _name: self.console.scoring(step, steps, f"{role} on {split}")

    def _save(self, student: Model) -> None:
        if not self.workshop.accelerator.is_main_process:
            return

        def write(path: Path) -> None:
            save_model(student.encoder, student.tokenizer, path)
            write_model_card(path, self.prepared)

        write_folder(self.folder / STUDENT, write)
