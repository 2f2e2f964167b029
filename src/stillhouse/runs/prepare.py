"""From a configuration to data, teacher and student, ready to train: every mistake that can be found early is found here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch

from stillhouse.data.batch import tokenized_split
from stillhouse.data.dataset import align_labels, load_dataset
from stillhouse.data.examples import Dataset, Examples
from stillhouse.data.tokenize import cut_notes, encode
from stillhouse.errors import UserError
from stillhouse.evaluation.evaluate import Split
from stillhouse.machine.engine import resolve_precision
from stillhouse.method import Stage
from stillhouse.models.adapter import dimensions, layer_count
from stillhouse.models.checkpoint import Checkpoint, find_checkpoint, head_kind, head_labels
from stillhouse.models.limits import max_length
from stillhouse.models.loading import load_encoder, load_tokenizer, same_tokens
from stillhouse.models.model import Model
from stillhouse.runs.checks import check_stages, check_tokens, rehearse
from stillhouse.runs.names import data_name
from stillhouse.runs.prepared import Prepared
from stillhouse.runs.run_config import RunConfig
from stillhouse.students.build import build_student, find_student, is_shape, load_student
from stillhouse.task import Task
from stillhouse.training.seeding import stage_seed

# Streams of the run's seed from which fresh weights are drawn, apart from those of the stages.
STUDENT_STREAM, TEACHER_STREAM = 1000, 1001


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
    check_stages(stages, config, student.encoder, encoder)
    model_notes += _layer_notes(stages, config, layer_count(student.encoder.config), layer_count(encoder.config))
    if not one_tokenizer:
        check_tokens(stages, config, teacher, student, task)
    models = [(model.encoder, model.tokenizer) for model in (teacher, student)]
    length = max_length(config.data.max_length, task.kind, models)
    config = _completed(config, {**dataset.columns, "task": task.kind.name, "max_length": length})
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


def _completed(config: RunConfig, found: dict[str, Any]) -> RunConfig:
    """The configuration with what was found out about the data, and with the precision that `auto` means here."""
    data = config.data.model_copy(update=found)
    engine = config.engine.model_copy(update={"precision": resolve_precision(config.engine.precision)})
    return config.model_copy(update={"data": data, "engine": engine})


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
