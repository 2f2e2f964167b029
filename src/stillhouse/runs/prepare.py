"""From a configuration to data, teacher and student, ready to train: every mistake that can be found early is found here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch

from stillhouse.data.alignment import align_labels
from stillhouse.data.batch import Inputs
from stillhouse.data.dataset import load_dataset, open_data
from stillhouse.data.examples import Dataset, Examples
from stillhouse.data.seeds import FRESH_TEACHER, stage_seed
from stillhouse.data.splits import sample
from stillhouse.data.text import SOME_ROWS, some_inputs
from stillhouse.data.tokenize import encode
from stillhouse.data.tokenized_split import tokenized_split
from stillhouse.errors import UserError
from stillhouse.evaluation.evaluate import Split
from stillhouse.features import Dimensions
from stillhouse.method import Stage
from stillhouse.models.architecture import head_kind, head_labels
from stillhouse.models.checkpoint import Checkpoint
from stillhouse.models.limits import max_length
from stillhouse.models.loading import load_encoder, load_tokenizer, notes_on, same_tokens
from stillhouse.models.model import Model
from stillhouse.runs.checks import check_lengths, check_tokens
from stillhouse.runs.defaults import with_precision
from stillhouse.runs.findings import refuse_first
from stillhouse.runs.learning import given, named_student, plans_of, ready
from stillhouse.runs.prepared import Prepared
from stillhouse.runs.rehearsal import rehearse, try_to_read
from stillhouse.runs.run_config import RunConfig
from stillhouse.task import Kind, Task
from stillhouse.teachers.new_teacher import find_teacher

WIDTH_FIX = "choose a student of the teacher's width, such as --student half, or a folder or hub id"


def prepare(config: RunConfig) -> Prepared:
    """Loads data, teacher and student and checks that they fit.

    What a method cannot do is known from configurations and columns alone: it is refused before any weight is loaded.

    Args:
        config: As `with_defaults` gives it.

    Raises:
        UserError: Something does not fit; nothing has been written.
    """
    checkpoint, own = find_teacher(config.teacher), named_student(config)
    opened = open_data(config.data)
    plans = plans_of(config, checkpoint, own, partial(_planned, config, opened.columns.kind))
    stages = [stage for _, planned in plans for stage in planned]
    tokenizer = load_tokenizer(checkpoint)
    student_tokenizer = tokenizer if own is None else load_tokenizer(own)
    one_tokenizer = not config.method.uses_teacher or same_tokens(tokenizer, student_tokenizer)
    if own is not None and not one_tokenizer:
        refuse_first(check_tokens(stages, config, checkpoint.name, own.name, opened.columns.kind))
        if config.assistant is not None:
            raise UserError(
                f"teacher {checkpoint.name} and student {own.name} cut text differently, and an assistant stands between them",
                expected="one tokenizer for all three",
                fix="choose a student of the teacher's family (such as --student half), or leave --assistant out",
            )

    known = head_labels(checkpoint.config) if head_kind(checkpoint.config) == opened.columns.kind else ()
    dataset = _aligned(load_dataset(config.data, opened, known=known), checkpoint, config)
    task, data_notes = dataset.task, list(dataset.notes)
    unused = len(dataset.train) - len(dataset.train.labelled)
    if unused and (config.data.labels == "gold" or not config.method.uses_plain_text):
        data_notes.append(f"train: the {unused:,} rows without a label are left out")

    torch.manual_seed(stage_seed(config.teacher.seed, FRESH_TEACHER))
    encoder, has_head_weights = load_encoder(checkpoint, task.head)
    teacher = Model(checkpoint.name, encoder, tokenizer, f"{checkpoint.name} as given", view=0 if one_tokenizer else 1)
    named = partial(given, own, student_tokenizer, task.head, config.seed)
    is_known = not (config.starts_from_fitted_teacher or config.corpus.source)
    building = config.without_start if config.corpus.source else config  # what is learnt from the corpus takes its place
    some = partial(_some_text, config, dataset, teacher)
    learners, model_notes = ready(plans, building, teacher, named, task.head, seed=config.seed, text=some, says_start=is_known)
    student = learners[-1].model
    model_notes = [*notes_on(checkpoint, tokenizer), *(notes_on(own, student_tokenizer) if own else ()), *model_notes]
    models = [(model.encoder.config, model.tokenizer) for model in (teacher, student)]
    length = max_length(config.data.max_length, task.kind, models)
    found = {**dataset.columns, "task": task.kind.name, "max_length": length}
    config = with_precision(config).model_copy(update={"data": config.data.model_copy(update=found)})
    tokenizers = (student.tokenizer,) if one_tokenizer else (student.tokenizer, tokenizer)
    splits = {
        name: _tokens(examples, task, tokenizers, config)
        for name in ("train", "selection", "validation", "test")
        if (examples := getattr(dataset, name)) is not None
    }
    texts = [split.tokens for split in splits.values()]
    try_to_read(teacher, "the teacher", texts, "choose another teacher")
    try_to_read(student, "the student", texts, "choose another student, such as --student half" if own else WIDTH_FIX)
    by_role = {"teacher": teacher, **{learner.role: learner.model for learner in learners}}
    for learning, planned in plans:
        teaching = by_role[learning.teacher]
        rehearse(planned, by_role[learning.role].encoder, teaching.encoder, splits["train"].tokens, view=teaching.view)
    data_notes += refuse_first(check_lengths({name: split.tokens.learner for name, split in splits.items()}, task, length))
    notes = tuple(data_notes), tuple(model_notes)
    return Prepared(config, dataset, teacher, has_head_weights, learners, splits, *notes)


def _planned(config: RunConfig, kind: Kind, student: Dimensions, teacher: Dimensions) -> Iterator[Stage]:
    """The method's stages on the task."""
    for stage in config.method.plan(kind, student, teacher):
        if not (stage.without_corpus and config.corpus.source):
            yield stage


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


def _some_text(config: RunConfig, dataset: Dataset, teacher: Model) -> Iterator[Inputs]:
    """A few of the training rows, as the teacher reads them."""
    task, seed = dataset.task, config.data.seed
    chosen = sample([None] * len(dataset.train), SOME_ROWS, seed=seed, purpose="slice")
    length = max_length(config.data.max_length, task.kind, [(teacher.encoder.config, teacher.tokenizer)])
    few = dataset.train.select(chosen)
    rows = encode(few, task, teacher.tokenizer, max_length=length, stride=config.data.stride)
    return some_inputs(tokenized_split(few, task, rows), seed)


def _tokens(examples: Examples, task: Task, tokenizers: Sequence[Any], config: RunConfig) -> Split:
    """Rows in one view for each tokenizer."""
    assert config.data.max_length is not None
    limits = {"max_length": config.data.max_length, "stride": config.data.stride}
    views = (encode(examples, task, tokenizer, **limits) for tokenizer in tokenizers)
    return Split(examples, tokenized_split(examples, task, *views))
