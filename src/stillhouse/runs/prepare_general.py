"""From a configuration to the general phase of its run: mistakes are found before the corpus is prepared, where they can be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from stillhouse.console import OnProgress
from stillhouse.corpus.kept_corpus import prepare_corpus
from stillhouse.data.seeds import FRESH_TEACHER, stage_seed
from stillhouse.data.text import some_inputs
from stillhouse.errors import UserError
from stillhouse.features import VOCABULARY
from stillhouse.models.checkpoint import Checkpoint
from stillhouse.models.limits import position_limit
from stillhouse.models.loading import load_encoder, load_tokenizer, notes_on, same_tokens
from stillhouse.models.model import Model
from stillhouse.runs.general import General
from stillhouse.runs.learning import given, named_student, plans_of, ready
from stillhouse.runs.rehearsal import rehearse
from stillhouse.runs.run_config import RunConfig
from stillhouse.task import MASKED_LM, NO_HEAD
from stillhouse.teachers.new_teacher import find_teacher


def prepare_general(config: RunConfig, *, say: Callable[[str], None], report: OnProgress) -> General:
    """Loads teacher and student, prepares the corpus, and checks that they fit.

    Args:
        config: As `with_defaults` gives it.
        say: Told what people have to know while the corpus is prepared.
        report: Told how far that is.

    Raises:
        UserError: Something does not fit; nothing has been trained.
    """
    method = config.method
    checkpoint, own = find_teacher(config.teacher), named_student(config)
    plans = plans_of(config, checkpoint, own, method.general)
    stages = [stage for _, planned in plans for stage in planned]
    tokenizer = load_tokenizer(checkpoint)
    student_tokenizer = tokenizer if own is None else load_tokenizer(own)
    if method.uses_teacher and own is not None:
        _require_one_vocabulary(checkpoint, tokenizer, own, student_tokenizer)
    read_by = [checkpoint] if own is None else [own, checkpoint] if method.uses_teacher else [own]
    _check_block_length(config.corpus.block_length, min(position_limit(one.config, student_tokenizer) for one in read_by))

    head = MASKED_LM if any(VOCABULARY in stage.student_needs for stage in stages) else NO_HEAD
    if method.uses_teacher and own is not None and head == MASKED_LM:
        _require_one_size(checkpoint, own)
    torch.manual_seed(stage_seed(config.teacher.seed, FRESH_TEACHER))
    encoder, knows = load_encoder(checkpoint, MASKED_LM if config.has_new_teacher else head)
    teacher = Model(checkpoint.name, encoder, tokenizer, f"{checkpoint.name} as given")
    fits_teacher = method.uses_teacher and not knows
    named = partial(given, own, student_tokenizer, head, config.general_seed)
    about = [*notes_on(checkpoint, tokenizer), *(notes_on(own, student_tokenizer) if own else ())]

    kept = prepare_corpus(
        config.corpus.source,
        student_tokenizer,
        text=config.corpus.text,
        block_length=config.corpus.block_length,
        heldout_share=config.corpus.heldout_share,
        seed=config.corpus.seed,
        say=say,
        report=report,
    )
    some = partial(some_inputs, kept.train(), config.corpus.seed)
    seed = config.general_seed
    learners, notes = ready(plans, config, teacher, named, head, seed=seed, text=some, fits_teacher=fits_teacher)
    taught = teacher if method.uses_teacher else None
    general = General(config, kept, head, taught, fits_teacher, learners, (kept.described, *about, *notes))
    _check_text(general, encoder)
    return general


def _require_one_vocabulary(teacher: Checkpoint, its: Any, student: Checkpoint, own: Any) -> None:
    if not same_tokens(its, own):
        raise UserError(
            f"teacher {teacher.name} and student {student.name} cut text differently, and a corpus is read by both at once",
            expected="one tokenizer for both",
            fix="choose a student of the teacher's family, such as --student half",
        )


def _require_one_size(teacher: Checkpoint, student: Checkpoint) -> None:
    sizes = [int(one.config.vocab_size) for one in (teacher, student)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"teacher {teacher.name} scores {sizes[0]:,} tokens and student {student.name} {sizes[1]:,}",
            expected="one vocabulary for both",
            fix="choose a student of the teacher's vocabulary, or a method that compares what is inside, such as minilmv2",
        )


def _check_block_length(asked: int, limit: int) -> None:
    if asked > limit:
        raise UserError(
            f"corpus.block_length is {asked}, more than the models have positions for",
            expected=f"at most {limit}",
            fix=f"--set corpus.block_length={limit}",
        )


def _check_text(general: General, teacher: Any) -> None:
    """Whether there are enough blocks, their masks can be drawn, and each model reads one."""
    encoders = {"teacher": teacher, **{learner.role: learner.model.encoder for learner in general.learners}}
    for learner in general.learners:
        for stage in learner.stages:
            text = general.text_of(stage)
            text.require_batch(stage.config.batch_size)
            rehearse([stage], learner.model.encoder, encoders[learner.teacher or "teacher"], text)
    if (fit := general.teacher_stage) is not None:
        general.text_of(fit).require_batch(fit.config.batch_size)
