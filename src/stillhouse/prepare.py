"""From a configuration to data, teacher and student, ready to train: every mistake that can be found early is found here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stillhouse.advice import another_method
from stillhouse.data.batch import TokenizedSplit, tokenized_split
from stillhouse.data.dataset import align_labels, load_dataset
from stillhouse.data.task import Dataset, Examples, Task
from stillhouse.data.tokenize import cut_notes, encode
from stillhouse.errors import UserError
from stillhouse.evaluation.evaluate import Split
from stillhouse.method import Stage
from stillhouse.models.adapter import dimensions, layer_count
from stillhouse.models.checkpoint import Checkpoint, find_checkpoint, head_kind, head_labels
from stillhouse.models.limits import max_length
from stillhouse.models.loading import load_encoder, load_tokenizer, same_tokens
from stillhouse.names import data_name, short_name
from stillhouse.rehearsal import rehearse
from stillhouse.run_config import RunConfig
from stillhouse.students.build import build_student, find_student, is_shape, load_student
from stillhouse.teachers.store import store_root
from stillhouse.training.engine import resolve_precision
from stillhouse.training.seeding import stage_seed
from stillhouse.training.trainer import stage_steps

# Streams of the run's seed from which fresh weights are drawn, apart from those of the stages.
STUDENT_STREAM, TEACHER_STREAM = 1000, 1001


@dataclass
class Model:
    """An encoder with a head, its tokenizer, and what reports call it.

    Attributes:
        start: Where its weights come from, in words.
        is_fresh: Whether none of them come from anywhere.
    """

    name: str
    encoder: Any
    tokenizer: Any
    start: str = ""
    is_fresh: bool = False


@dataclass(frozen=True)
class Prepared:
    """All that a run works with.

    Attributes:
        config: The complete configuration.
        dataset: The data, labels in the teacher's order.
        teacher: The teacher; to be fine-tuned first where `teacher_has_head` is false.
        student: The student at its start.
        stages: What the student is trained with, in order.
        splits: `train`, `selection`, `validation` and, where there is one with labels, `test`.
        data_notes: What was decided about the data.
        model_notes: How the student starts, and from which layers it learns.
    """

    config: RunConfig
    dataset: Dataset
    teacher: Model
    teacher_has_head: bool
    student: Model
    stages: tuple[Stage, ...]
    splits: dict[str, Split]
    data_notes: tuple[str, ...]
    model_notes: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.data_notes, *self.model_notes)

    @property
    def task(self) -> Task:
        return self.dataset.task

    def student_rows(self) -> TokenizedSplit:
        """The training rows as the student sees them: which labels it may use."""
        train = self.splits["train"].tokens
        if self.config.data.labels == "gold" or not self.config.method.uses_plain_text:
            return self.gold_rows()
        return train.without_labels() if self.config.data.labels == "teacher" else train

    def gold_rows(self) -> TokenizedSplit:
        """The training rows that have a gold label.

        Raises:
            UserError: There are none.
        """
        rows = self.splits["train"].tokens.labelled()
        if len(rows) == 0:
            raise UserError(
                "no training row has a label",
                expected="labels to train on",
                fix="use --labels teacher, or data with labels",
            )
        return rows

    def step_counts(self) -> list[tuple[int, int]]:
        """For each stage its optimiser steps, and the steps between two scores on the selection rows."""
        rows = self.student_rows()
        return [stage_steps(stage, len(rows.labelled() if stage.needs_gold else rows)) for stage in self.stages]


def with_defaults(config: RunConfig) -> RunConfig:
    """The configuration with every default that needs neither data nor models.

    Raises:
        UserError: Settings that contradict each other, or a store that can be none.
    """
    method = config.method
    if config.teacher.store is not None:
        store_root(config.teacher.store)
    if not method.uses_teacher and config.baseline:
        raise UserError(
            f"--baseline is given, but method {method.name} has no teacher: it is the baseline itself",
            expected="a method that learns from a teacher",
            fix="leave --baseline out (--no-baseline where a run file asks for it)",
        )
    if not method.uses_plain_text and config.data.labels == "teacher":
        reason = "learns from gold labels alone" if method.uses_teacher else "has no teacher to give them"
        raise UserError(
            f"--labels teacher is given, but method {method.name} {reason}",
            expected="--labels gold or mixed",
            fix="leave --labels out, or choose a method that learns from the teacher's labels",
        )
    if config.data.transfer and (not method.uses_plain_text or config.data.labels == "gold"):
        if method.uses_plain_text:
            reason = "--labels gold leaves"
        else:
            why = "learns from gold labels alone" if method.uses_teacher else "has no teacher"
            reason = f"method {method.name}, which {why}, leaves"
        raise UserError(
            f"--transfer is given, but {reason} text without a label out",
            expected="a teacher that labels the text",
            fix="leave --transfer out, or use --labels mixed and a method that learns from the teacher's labels",
        )
    if method.starts_from_fitted_teacher and not config.starts_from_fitted_teacher:
        raise UserError(
            f"student.start is {config.student.start}, but method {method.name} makes its student out of the fitted teacher",
            fix="leave student.start out",
        )
    shape = config.student.shape or method.default_student
    baseline = config.data.source == "pydocs" and method.uses_teacher if config.baseline is None else config.baseline
    return config.model_copy(
        update={
            "student": config.student.model_copy(update={"shape": shape}),
            "baseline": baseline,
            "out": config.out or str(Path("runs") / f"{data_name(config.data.source)}-{method.name}-{short_name(shape)}"),
        }
    )


def prepare(config: RunConfig) -> Prepared:
    """Loads data, teacher and student and checks that they fit.

    Args:
        config: As `with_defaults` gives it.

    Raises:
        UserError: Something does not fit; nothing has been written.
    """
    method, shape = config.method, str(config.student.shape)
    checkpoint = find_checkpoint(config.teacher.source)
    student_checkpoint = None if is_shape(shape) else find_student(shape)
    dataset = _aligned(load_dataset(config.data), checkpoint, config)
    task, data_notes, model_notes = dataset.task, list(dataset.notes), []
    unused = len(dataset.train) - len(dataset.train.labelled)
    if unused and (config.data.labels == "gold" or not method.uses_plain_text):
        data_notes.append(f"train: the {unused:,} rows without a label are left out")

    tokenizer = load_tokenizer(checkpoint)
    torch.manual_seed(stage_seed(config.teacher.seed, TEACHER_STREAM))
    encoder, has_head_weights = load_encoder(checkpoint, task)
    teacher = Model(checkpoint.name, encoder, tokenizer, f"{checkpoint.name} as given")
    torch.manual_seed(stage_seed(config.seed, STUDENT_STREAM))
    if student_checkpoint is None:
        student, said = _build_student(config, teacher, task)
    else:
        student, said = _load_student(config, student_checkpoint, task)
    if said:
        model_notes.append(f"student starts from {student.start}: {said}")

    one_tokenizer = not method.uses_teacher or same_tokens(tokenizer, student.tokenizer)
    stages = method.plan(task.kind, dimensions(student.encoder.config), dimensions(encoder.config))
    _check_stages(stages, config, student.encoder, encoder)
    model_notes += _layer_notes(stages, config, layer_count(student.encoder.config), layer_count(encoder.config))
    if not one_tokenizer:
        _check_tokens(stages, config, teacher, student, task)
    models = [(model.encoder, model.tokenizer) for model in (teacher, student)]
    length = max_length(config.data.max_length, task.kind, models)
    config = _completed(config, {**dataset.columns, "task": task.kind, "max_length": length})
    splits = {
        name: _tokens(examples, task, student.tokenizer, None if one_tokenizer else tokenizer, config)
        for name in ("train", "selection", "validation", "test")
        if (examples := getattr(dataset, name)) is not None
    }
    rehearse(stages, student.encoder, encoder, splits["train"].tokens)
    data_notes += cut_notes({name: split.tokens.student for name, split in splits.items()}, task, length)
    notes = tuple(data_notes), tuple(model_notes)
    return Prepared(config, dataset, teacher, has_head_weights, student, stages, splits, *notes)


def _aligned(dataset: Dataset, checkpoint: Checkpoint, config: RunConfig) -> Dataset:
    """The data with the labels of a teacher that knows the task, in its order."""
    knows_task = head_kind(checkpoint.config) == dataset.task.kind
    if knows_task and (config.needs_fitted_teacher or config.data.label_map):
        return align_labels(dataset, head_labels(checkpoint.config), config.data.label_map)
    if knows_task:
        with suppress(UserError):  # nothing is learnt from it: it may have labels of its own
            return align_labels(dataset, head_labels(checkpoint.config), {})
    elif config.data.label_map:
        raise UserError(
            "--label-map is given, but the teacher has no labels of its own",
            expected="a teacher that was fine-tuned for the task",
            fix="leave --label-map out",
        )
    return dataset


def _build_student(config: RunConfig, teacher: Model, task: Task) -> tuple[Model, str]:
    """A new student of the teacher's family, and what there is to say of its start yet."""
    shape = str(config.student.shape)
    encoder, start = build_student(
        shape, teacher=teacher.encoder, teacher_checkpoint_name=teacher.name, task=task, layers_rule=config.copied_layers
    )
    if start.is_fresh and (config.student.layers or config.student.start == "fitted"):
        raise UserError(
            f"student {shape} has another width than its teacher, of which it is told to start",
            expected=f"a student of width {dimensions(teacher.encoder.config).width}",
            fix="choose such a student, or leave student.layers and student.start out",
        )
    name = f"{data_name(config.data.source)}-{config.method.name}-{shape}"
    student = Model(name, encoder, teacher.tokenizer, start.description, start.is_fresh)
    return student, "" if config.starts_from_fitted_teacher else start.sentence()


def _load_student(config: RunConfig, checkpoint: Checkpoint, task: Task) -> tuple[Model, str]:
    """A student that is a model already, and where its weights come from."""
    shape = str(config.student.shape)
    if config.starts_from_fitted_teacher:
        method = config.method
        what = f"method {method.name}" if method.starts_from_fitted_teacher else "student.start: fitted"
        raise UserError(
            f"{what} makes its student out of its teacher, but --student names a model, {shape}",
            expected="LxH such as 3x384 (layers x width), or half",
        )
    encoder, start = load_student(shape, task)
    return Model(checkpoint.name, encoder, load_tokenizer(checkpoint), start.description), start.sentence()


def _check_tokens(stages: Sequence[Stage], config: RunConfig, teacher: Model, student: Model, task: Task) -> None:
    """Refuses what cannot be done with two tokenizers."""
    both = f"teacher {teacher.name} and student {student.name}"
    if any(stage.teacher_needs.inside for stage in stages):
        raise UserError(
            f"method {config.method.name} compares tokens, but {both} cut text differently",
            expected="one tokenizer for both",
            fix=f"choose a student of the teacher's family (such as --student half), or {another_method('logit')}",
        )
    if task.kind == "qa":
        raise UserError(
            f"{both} cut text into different tokens",
            expected="one tokenizer for question answering, whose answers are positions of tokens",
            fix="choose a student of the teacher's family (such as --student half)",
        )


def _completed(config: RunConfig, found: dict[str, Any]) -> RunConfig:
    """The configuration with what was found out about the data, and with the precision that `auto` means here."""
    data = config.data.model_copy(update=found)
    engine = config.engine.model_copy(update={"precision": resolve_precision(config.engine.precision)})
    return config.model_copy(update={"data": data, "engine": engine})


def _check_stages(stages: Sequence[Stage], config: RunConfig, student: Any, teacher: Any) -> None:
    """Refuses what no method can do, whichever it is."""
    gold = [stage.name for stage in stages if stage.needs_gold]
    if gold and config.data.labels == "teacher":
        raise UserError(
            f"--labels teacher leaves stage {gold[0]!r} of method {config.method.name} nothing to learn from",
            expected="--labels gold or mixed, where a stage learns from gold labels alone",
        )
    for stage in stages:
        if not any(objective.weight for objective in stage.objectives):
            raise UserError(
                f"all weights of stage {stage.name!r} of method {config.method.name} are 0: there is nothing to learn",
                expected="at least one weight above 0",
            )
    depths = layer_count(student.config), layer_count(teacher.config)
    if depths[0] > depths[1] and any(stage.student_needs.inside for stage in stages):
        raise UserError(
            f"the student has {depths[0]} layers and its teacher {depths[1]}, and method {config.method.name} looks inside",
            expected=f"at most {depths[1]} layers",
            fix=f"ask for fewer layers, or {another_method('logit')}",
        )


def _layer_notes(stages: Sequence[Stage], config: RunConfig, own_layers: int, its_layers: int) -> list[str]:
    """Which layer of the student learns from which layer of the teacher."""
    notes: dict[str, None] = {}
    is_rounded = getattr(config.method, "layer_map", None) in ("uniform", "skip") and its_layers % own_layers
    rounded = f" ({own_layers} does not divide {its_layers}: halves are rounded up)" if is_rounded else ""
    for stage in stages:
        for objective in stage.objectives:
            pairs = [pair for pair in getattr(objective, "layers", ()) if pair != (0, 0)]
            if pairs:
                said = ", ".join(f"{own} from {its}" for own, its in pairs)
                notes[f"stage {stage.name}: layer {said} of the teacher{rounded}"] = None
    return list(notes)


def _tokens(examples: Examples, task: Task, student: Any, teacher: Any | None, config: RunConfig) -> Split:
    assert config.data.max_length is not None
    limits = {"max_length": config.data.max_length, "stride": config.data.stride}
    student_tokens = encode(examples, task, student, **limits)
    teacher_tokens = None if teacher is None else encode(examples, task, teacher, **limits)
    return Split(examples, tokenized_split(examples, task, student_tokens, teacher_tokens))
