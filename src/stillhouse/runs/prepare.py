"""From a configuration to data, teacher and student, ready to train: every mistake that can be found early is found here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch

from stillhouse.data.alignment import align_labels
from stillhouse.data.dataset import load_dataset, open_data
from stillhouse.data.examples import Dataset, Examples
from stillhouse.data.seeds import FRESH_STUDENT, FRESH_TEACHER, stage_seed
from stillhouse.data.tokenize import encode
from stillhouse.data.tokenized_split import tokenized_split
from stillhouse.errors import UserError
from stillhouse.evaluation.evaluate import Split
from stillhouse.machine.engine import resolve_precision
from stillhouse.method import Stage
from stillhouse.models.adapter import dimensions
from stillhouse.models.architecture import head_kind, head_labels
from stillhouse.models.checkpoint import Checkpoint, find_checkpoint
from stillhouse.models.limits import max_length
from stillhouse.models.loading import load_encoder, load_tokenizer, notes_on, same_tokens
from stillhouse.models.model import Model
from stillhouse.models.start import Start
from stillhouse.runs.checks import check_lengths, check_stages, check_tokens
from stillhouse.runs.findings import refuse_first
from stillhouse.runs.names import run_name
from stillhouse.runs.prepared import Prepared
from stillhouse.runs.rehearsal import rehearse, try_to_read
from stillhouse.runs.run_config import RunConfig
from stillhouse.students.build import build_student, find_student, load_student, plan_student
from stillhouse.students.shape import is_shape
from stillhouse.task import Kind, Task

WIDTH_FIX = "choose a student of the teacher's width, such as --student half, or a folder or hub id"


def prepare(config: RunConfig) -> Prepared:
    """Loads data, teacher and student and checks that they fit.

    What a method cannot do is known from configurations and columns alone: it is refused before any weight is loaded.

    Args:
        config: As `with_defaults` gives it.

    Raises:
        UserError: Something does not fit; nothing has been written.
    """
    checkpoint, own = find_checkpoint(config.teacher.source), _named_student(config)
    opened = open_data(config.data)
    stages, layers = _plan(config, opened.columns.kind, checkpoint, own)
    tokenizer = load_tokenizer(checkpoint)
    student_tokenizer = tokenizer if own is None else load_tokenizer(own)
    one_tokenizer = not config.method.uses_teacher or same_tokens(tokenizer, student_tokenizer)
    if own is not None and not one_tokenizer:
        refuse_first(check_tokens(stages, config, checkpoint.name, own.name, opened.columns.kind))

    known = head_labels(checkpoint.config) if head_kind(checkpoint.config) == opened.columns.kind else ()
    dataset = _aligned(load_dataset(config.data, opened, known=known), checkpoint, config)
    task, data_notes = dataset.task, list(dataset.notes)
    unused = len(dataset.train) - len(dataset.train.labelled)
    if unused and (config.data.labels == "gold" or not config.method.uses_plain_text):
        data_notes.append(f"train: the {unused:,} rows without a label are left out")

    torch.manual_seed(stage_seed(config.teacher.seed, FRESH_TEACHER))
    encoder, has_head_weights = load_encoder(checkpoint, task.head)
    teacher = Model(checkpoint.name, encoder, tokenizer, f"{checkpoint.name} as given", view=0 if one_tokenizer else 1)
    torch.manual_seed(stage_seed(config.seed, FRESH_STUDENT))
    student, start = _student(config, teacher, own, student_tokenizer, task)
    model_notes = [] if config.starts_from_fitted_teacher else [f"student starts from {student.start}: {start.sentence()}"]
    model_notes = [*notes_on(checkpoint, tokenizer), *(notes_on(own, student_tokenizer) if own else ()), *model_notes]
    model_notes += _layer_notes(stages, config, *layers)
    models = [(model.encoder.config, model.tokenizer) for model in (teacher, student)]
    length = max_length(config.data.max_length, task.kind, models)
    config = _completed(config, {**dataset.columns, "task": task.kind.name, "max_length": length})
    tokenizers = (student.tokenizer,) if one_tokenizer else (student.tokenizer, tokenizer)
    splits = {
        name: _tokens(examples, task, tokenizers, config)
        for name in ("train", "selection", "validation", "test")
        if (examples := getattr(dataset, name)) is not None
    }
    texts = [split.tokens for split in splits.values()]
    try_to_read(teacher, "the teacher", texts, "choose another teacher")
    try_to_read(student, "the student", texts, "choose another student, such as --student half" if own else WIDTH_FIX)
    rehearse(stages, student.encoder, encoder, splits["train"].tokens, view=teacher.view)
    data_notes += refuse_first(check_lengths({name: split.tokens.learner for name, split in splits.items()}, task, length))
    notes = tuple(data_notes), tuple(model_notes)
    return Prepared(config, dataset, teacher, has_head_weights, student, stages, splits, *notes)


def _named_student(config: RunConfig) -> Checkpoint | None:
    """The student where it is a model already; None where it is a shape."""
    shape, method = str(config.student.shape), config.method
    if is_shape(shape):
        return None
    found = find_student(shape)
    if config.starts_from_fitted_teacher:
        what = f"method {method.name}" if method.starts_from_fitted_teacher else "student.start: fitted"
        raise UserError(
            f"{what} makes its student out of its teacher, but --student names a model, {shape}",
            expected="LxH such as 3x384 (layers x width), or half",
        )
    return found


def _plan(
    config: RunConfig, kind: Kind, teacher: Checkpoint, own: Checkpoint | None
) -> tuple[tuple[Stage, ...], tuple[int, int]]:
    """What the method does with these models, and how many layers student and teacher have."""
    if own is None:
        shape = str(config.student.shape)
        student, copied = plan_student(shape, teacher.config, config.copied_layers)
        if copied is None and (config.student.layers or config.student.start == "fitted"):
            raise UserError(
                f"student {shape} has another width than its teacher, of which it is told to start",
                expected=f"a student of width {dimensions(teacher.config).width}",
                fix="choose such a student, or leave student.layers and student.start out",
            )
    sizes = dimensions(student if own is None else own.config), dimensions(teacher.config)
    stages = config.method.plan(kind, *sizes)
    if config.corpus.source:
        stages = tuple(stage for stage in stages if not stage.without_corpus)
    refuse_first(check_stages(stages, config, *(one.layers for one in sizes)))
    return stages, (sizes[0].layers, sizes[1].layers)


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
    dataset.task.kind.check_own_names(dataset.task.labels, config.data.task_source)
    return dataset


def _student(config: RunConfig, teacher: Model, own: Checkpoint | None, tokenizer: Any, task: Task) -> tuple[Model, Start]:
    """A new student of the teacher's family, or one that is a model already."""
    shape = str(config.student.shape)
    if own is not None:
        encoder, start = load_student(own, task.head)
        return Model(own.name, encoder, tokenizer, start.description), start
    encoder, start = build_student(
        shape, teacher=teacher.encoder, teacher_checkpoint_name=teacher.name, head=task.head, layers_rule=config.copied_layers
    )
    name = f"{run_name(config)}-{config.method.name}-{shape}"
    return Model(name, encoder, tokenizer, start.description, start.is_fresh), start


def _completed(config: RunConfig, found: dict[str, Any]) -> RunConfig:
    """The configuration with what was found out about the data, and with the precision that `auto` means here."""
    data = config.data.model_copy(update=found)
    engine = config.engine.model_copy(update={"precision": resolve_precision(config.engine.precision)})
    return config.model_copy(update={"data": data, "engine": engine})


def _layer_notes(stages: Sequence[Stage], config: RunConfig, own_layers: int, its_layers: int) -> list[str]:
    """Which layer of the student learns from which layer of the teacher."""
    notes: dict[str, None] = {}
    is_rounded = config.method.spreads_layers and its_layers % own_layers
    rounded = f" ({own_layers} does not divide {its_layers}: halves are rounded up)" if is_rounded else ""
    for stage in stages:
        for objective in stage.objectives:
            if pairs := [pair for pair in objective.layer_pairs if pair != (0, 0)]:
                said = ", ".join(f"{own} from {its}" for own, its in pairs)
                notes[f"stage {stage.name}: layer {said} of the teacher{rounded}"] = None
    return list(notes)


def _tokens(examples: Examples, task: Task, tokenizers: Sequence[Any], config: RunConfig) -> Split:
    """Rows in one view for each tokenizer."""
    assert config.data.max_length is not None
    limits = {"max_length": config.data.max_length, "stride": config.data.stride}
    views = (encode(examples, task, tokenizer, **limits) for tokenizer in tokenizers)
    return Split(examples, tokenized_split(examples, task, *views))
