"""Trains one stage, whatever method it belongs to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import DistributedDataParallelKwargs
from safetensors.torch import save_file
from torch import Tensor

from stillhouse.config import EngineConfig
from stillhouse.console import OnProgress
from stillhouse.data.batch import Batch
from stillhouse.data.seeds import process_seed
from stillhouse.data.text import Rows, Step, Text, Unit, training_order
from stillhouse.errors import NotFinite, TrainingDiverged
from stillhouse.features import LOGITS
from stillhouse.files import checksum_of, write_atomically
from stillhouse.method import Role, Stage
from stillhouse.models.capture import attend_in_blocks
from stillhouse.speed.dropout import fast_dropout
from stillhouse.speed.embedding import RowEmbedding, clip_gradients, trained_rows
from stillhouse.students.side import StudentSide
from stillhouse.teachers.source import Teacher
from stillhouse.training.learning_rate import learning_rate_factor
from stillhouse.training.log import RunLog
from stillhouse.training.optimizer import build_optimizer
from stillhouse.training.resume import (
    CHECKPOINT,
    Progress,
    best_name,
    load_checkpoint,
    read_weights,
    restore_random_state,
    save_checkpoint,
)


@dataclass(frozen=True)
class StageResult:
    """What a stage did.

    Attributes:
        name: The stage.
        model: Who learnt.
        steps: Optimiser steps.
        seconds: Time spent training, scoring on the selection rows and writing checkpoints included.
        examples: Examples trained on.
        score: Score on the selection rows of the state that was kept; None where none was scored.
        step: The step of that state.
        teacher_seconds: Time in which the teacher scored the text before the first step.
    """

    name: str
    model: Role
    steps: int
    seconds: float
    examples: int
    score: float | None
    step: int
    teacher_seconds: float = 0.0


def steps_an_epoch(stage: Stage, rows: int) -> int:
    """Optimiser steps in which a stage sees every row once."""
    return max(1, math.ceil(rows / stage.config.batch_size))


def stage_steps(stage: Stage, rows: int) -> tuple[int, int]:
    """All optimiser steps of a stage, and the steps between two scores on the selection rows."""
    per_epoch = steps_an_epoch(stage, rows)
    asked = max(1, math.ceil(stage.config.epochs * per_epoch))
    steps = stage.config.steps or max(asked, stage.config.least_steps)
    # Where more steps are taken than the epochs ask for, scoring does not become more frequent with it.
    every = per_epoch if steps <= asked else math.ceil(steps / max(1, stage.config.epochs))
    return steps, stage.evaluate_every or min(every, steps)


class Trainer:
    """Trains one stage, from its start or from its last checkpoint.

    Args:
        stage: What is minimised and how.
        student: The student side.
        text: The training rows.
        teacher: Source of the teacher's features.
        score: Score of the student on the selection rows, higher is better.
        accelerator: The engine.
        folder: Where the stage's checkpoint and best weights are.
        engine: Logging and checkpoint intervals.
        seed: The stage's seed: order of the rows and dropout.
        identity: Fingerprint of everything that decides the outcome.
        log: Where steps are logged.
        report: Told step, steps and a short text after every step.
    """

    def __init__(
        self,
        stage: Stage,
        student: StudentSide,
        text: Text,
        teacher: Teacher,
        score: Callable[[], float],
        *,
        accelerator: Any,
        folder: Path,
        engine: EngineConfig,
        seed: int,
        identity: str,
        log: RunLog,
        report: OnProgress,
    ) -> None:
        self.stage = stage
        self.text = text
        self.teacher = teacher
        self.score = score
        self.accelerator = accelerator
        self.folder = folder
        self.engine = engine
        self.seed = seed
        self.identity = identity
        self.log = log
        self.report = report
        self.steps, self.evaluate_every = stage_steps(stage, len(text.lengths))
        self.steps_per_epoch = steps_an_epoch(stage, len(text.lengths))
        self.student = student.to(accelerator.device)
        self.weights = torch.tensor([objective.weight for objective in stage.objectives], device=accelerator.device)
        self.progress = Progress()
        self.row_layers: list[RowEmbedding] = []
        self._unread: list[Tensor] = []

    @property
    def _checkpoint(self) -> Path:
        return self.folder / CHECKPOINT

    @property
    def _best(self) -> Path:
        return self.folder / best_name(self.progress.best_step)

    def run(self) -> StageResult:
        """Trains to the end and leaves the student with the best state on the selection rows, or the last.

        Raises:
            TrainingDiverged: An objective or the gradient became NaN or infinite; the last good checkpoint is kept.
        """
        torch.manual_seed(self.seed)
        on_cpu = self.accelerator.device.type == "cpu"
        if on_cpu:
            for model in self.student.models:
                attend_in_blocks(model)
        is_alone = on_cpu and self.accelerator.num_processes == 1
        embeddings = trained_rows(self.student.encoder, self.text.tokens, is_on=is_alone)
        with fast_dropout(self.student.models), embeddings as self.row_layers:
            self._prepare()
            self._resume()
            if self.accelerator.process_index:  # the first process goes on with its own stream; no other draws the same
                torch.manual_seed(process_seed(self.seed, self.progress.step, self.accelerator.process_index))
            self.module.train(self.stage.dropout)
            return self._train()

    def _prepare(self) -> None:
        """The engine's module and optimiser, and what of the module is trained."""
        optimizer = build_optimizer(self.student, self.stage.config, self.student.encoder, self.stage.trained)
        # What follows the last layer that is read gets no gradient, nor does what Theseus does not draw.
        is_partly_idle = self.student.may_rest or LOGITS not in self.student.needs
        self.accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=is_partly_idle)
        self.module, self.optimizer = self.accelerator.prepare(self.student, optimizer)
        self.trainable = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        for parameter in self.student.measured:
            parameter.requires_grad_(True)

    def _train(self) -> StageResult:
        started = last_checkpoint = last_log = time.perf_counter()
        spent, logged_examples = self.progress.seconds, self.progress.examples
        for coming in self._remaining():
            self._step(coming)
            step = self.progress.step
            now = time.perf_counter()
            at_end = step == self.steps
            at_evaluation = at_end or step % self.evaluate_every == 0
            at_log = at_evaluation or step % self.engine.log_every == 0
            if not at_log:
                continue
            self._log_step((self.progress.examples - logged_examples) / max(1e-9, now - last_log))
            last_log, logged_examples = now, self.progress.examples
            if at_evaluation:
                self._evaluate()
                last_log = time.perf_counter()
            self.progress.seconds = spent + time.perf_counter() - started
            due = at_evaluation or time.perf_counter() - last_checkpoint >= self.engine.checkpoint_seconds
            if due and not at_end:
                self._save()
                last_checkpoint = time.perf_counter()
        self.progress.seconds = spent + time.perf_counter() - started
        self._restore_best()
        return StageResult(
            self.stage.name,
            self.stage.student,
            self.steps,
            self.progress.seconds,
            self.progress.examples,
            self.progress.best_score,
            self.progress.best_step or self.steps,
        )

    def _remaining(self) -> Iterator[Step]:
        """Every step that is still to be taken."""
        epoch, position = 0, 0
        while position < self.steps:
            order = training_order(self.text.lengths, self.stage.config.batch_size, (self.seed, epoch))
            for rows in order[: self.steps - position]:
                if position >= self.progress.step:
                    yield Step(position, self.steps, rows, self.seed)
                position += 1
            epoch += 1

    def _step(self, step: Step) -> None:
        """One optimiser step on the mean loss of all its rows, however many processes and micro-batches share them.

        Gradients are averaged over processes, hence the factor: each process sees only its own part of the mean.
        """
        rows, processes = step.rows, self.accelerator.num_processes
        is_shared = 1 < processes <= len(rows)
        share = rows[self.accelerator.process_index :: processes] if is_shared else rows
        counts = self.text.counts(rows, step)
        parts = _cut(share, min(self.stage.config.accumulate, len(share)))
        batches = [self.text.batch(part, step).to(self.accelerator.device) for part in parts]
        factor = learning_rate_factor(step.number, self.steps, self.stage.config)
        for parameter_group in self.optimizer.param_groups:
            parameter_group["lr"] = parameter_group["peak"] * factor
        self.student.before_step(step)
        totals = torch.zeros(len(self.stage.objectives) + 1, device=self.accelerator.device)
        for number, (part, batch) in enumerate(zip(parts, batches, strict=True)):
            last = number == len(batches) - 1
            own = counts if len(part) == len(rows) else self.text.counts(part, step)
            with nullcontext() if last else self.accelerator.no_sync(self.module):
                values = self._objectives(batch, self._shares(own, counts, processes if is_shared else 1))
                loss = (values * self.weights).sum()
                if loss.requires_grad or not self.student.may_rest:
                    self.accelerator.backward(loss)
                totals[:-1] += values.detach()
        if self.stage.config.max_grad_norm > 0:
            totals[-1] = self._clip()
        self.optimizer.step()
        for layer in self.row_layers:
            rate = self.stage.config.learning_rate * self.stage.trained.embeddings * factor
            layer.finish_step(1 - rate * self.stage.config.weight_decay)
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        self.progress.examples += len(rows)
        self._unread.append(totals)
        self.report(self.progress.step, self.steps, self.stage.name)

    def _clip(self) -> Tensor:
        """Clips the gradients of what is trained, and gives the norm by which they were."""
        for parameter in self.student.measured:
            if parameter.grad is not None and self.accelerator.num_processes > 1:  # nobody else averages these
                parameter.grad = self.accelerator.reduce(parameter.grad, "mean")
        return clip_gradients([*self.trainable, *self.student.measured], self.row_layers, self.stage.config.max_grad_norm)

    def _shares(self, own: Mapping[Unit, int], counts: Mapping[Unit, int], processes: int) -> list[float]:
        """For each objective the share of the whole step's mean that a batch makes up; see `Text.counts`."""
        units = [objective.unit for objective in self.stage.objectives]
        return [processes * own[unit] / max(1, counts[unit]) for unit in units]

    def _objectives(self, batch: Batch, shares: Sequence[float]) -> Tensor:
        """Every objective of the stage on one batch, times its share, unweighted, `(objectives,)`."""
        teacher = self.teacher.features(batch)
        student = self.module(batch)
        with torch.autocast(self.accelerator.device.type, enabled=False):
            pairs = zip(self.stage.objectives, shares, strict=True)
            return torch.stack([objective(student, teacher, batch) * share for objective, share in pairs])

    def _read_objectives(self) -> dict[str, float]:
        """Means of the objectives since the last reading; the one place where the loop waits for the device."""
        # Each process has seen its own share of every step.
        table = self.accelerator.reduce(torch.stack(self._unread), "mean").cpu()
        first_step = self.progress.step - len(self._unread) + 1
        self._unread = []
        names = [objective.name for objective in self.stage.objectives]
        finite = torch.isfinite(table)
        if not finite.all():
            row = int((~finite).any(dim=1).nonzero()[0])
            column = int((~finite[row]).nonzero()[0])
            what = f"objective {names[column]!r}" if column < len(names) else "the gradient's norm"
            raise self._diverged(first_step + row, f"{what} is {table[row, column].item()}")
        return dict(zip(names, table[:, :-1].mean(dim=0).tolist(), strict=True))

    def _diverged(self, step: int, what: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"stage {self.stage.name!r}, step {step}: {what}; the last good state is kept in {self._checkpoint}\n"
            f"  fix: with --overwrite, a lower learning rate (now {self.stage.config.learning_rate:g})"
            + (" or --precision fp32" if self.accelerator.mixed_precision == "bf16" else "")
        )

    def _log_step(self, speed: float) -> None:
        means = self._read_objectives()
        step = self.progress.step
        loss = sum(objective.weight * means[objective.name] for objective in self.stage.objectives)
        factor = learning_rate_factor(step - 1, self.steps, self.stage.config)
        self.log.write(
            self.stage.name,
            step,
            epoch=round(step / self.steps_per_epoch, 4),
            objectives=means,
            loss=loss,
            learning_rate=self.stage.config.learning_rate * factor,
            examples_per_second=round(speed, 1),
            **self.student.values(),
        )

    def _evaluate(self) -> None:
        self._check_weights()
        if self.stage.config.select_on == "none":
            return
        try:
            score = self.score()
        except NotFinite as error:
            raise self._diverged(self.progress.step, str(error)) from error
        self.module.train(self.stage.dropout)
        step = self.progress.step
        self.log.write(self.stage.name, step, epoch=round(step / self.steps_per_epoch, 4), selection=score)
        # A tie goes to the later state: it has seen more, at a lower learning rate.
        best = self.progress.best_score
        if best is None or score >= best or self.stage.config.select_on == "last":
            self.progress.best_score, self.progress.best_step = score, step
            if self.accelerator.is_main_process and step != self.steps:  # the last state is saved when the stage ends
                write_atomically(self._best, lambda path: save_file(contiguous(self.student.state_dict()), path))
                self.progress.best_checksum = checksum_of(self._best)

    def _check_weights(self) -> None:
        # A gradient that was not clipped may have been infinite while every objective was finite.
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.trainable):
            raise self._diverged(self.progress.step, "the weights are not finite")

    def _save(self) -> None:
        self.log.sync()
        self._check_weights()
        if not self.accelerator.is_main_process:
            return
        save_checkpoint(
            self._checkpoint,
            self.progress,
            identity=self.identity,
            module=self.student.state_dict(),
            optimizer=self.optimizer.state_dict(),
        )
        for older in self.folder.glob("best-*.safetensors"):
            if older != self._best:
                older.unlink()

    def _resume(self) -> None:
        found = load_checkpoint(self._checkpoint, self.identity, self.student.state_dict().keys())
        if found is None:
            # The state before the first step: a kill or a diverging loss always finds something to go back to.
            self.log.forget(self.stage.name, 0)
            self._save()
            return
        self.progress, content = found
        self.student.load_state_dict(content["module"])
        self.optimizer.load_state_dict(content["optimizer"])
        restore_random_state(content["random"])
        self.log.forget(self.stage.name, self.progress.step)

    def _restore_best(self) -> None:
        self.accelerator.wait_for_everyone()
        if self.progress.best_step not in (0, self.steps):
            self.student.load_state_dict(read_weights(self._best))
        self.student.eval()


def _cut(rows: Rows, parts: int) -> list[Rows]:
    size = math.ceil(len(rows) / parts)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tied weights, which safetensors refuses to store twice, as copies of their own."""
    seen: set[int] = set()
    result = {}
    for name, tensor in state.items():
        shared = tensor.data_ptr() in seen
        seen.add(tensor.data_ptr())
        result[name] = tensor.detach().clone() if shared else tensor.detach().contiguous()
    return result
