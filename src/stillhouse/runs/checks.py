"""What is known before anything is trained: each check gives what it finds, cheap ones before those that need models.

A run stops at the first finding that refuses it, see `refuse_first`; run to its end, a check gives all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from accelerate import Accelerator

from stillhouse.config import DataConfig
from stillhouse.data.tokenize import Encoded
from stillhouse.errors import NotFinite, option_name
from stillhouse.evaluation.evaluate import Predictions, Split, main_score, predict_split
from stillhouse.evaluation.floor import floor_score, is_within_noise
from stillhouse.features import ONLY_LOGITS, ONLY_VOCABULARY, VOCABULARY
from stillhouse.files import explained, free_space, given_path
from stillhouse.method import Stage
from stillhouse.methods import general_methods
from stillhouse.models.model import Model
from stillhouse.runs.findings import Finding, refusal
from stillhouse.runs.general import General
from stillhouse.runs.prepared import Prepared
from stillhouse.runs.run_config import RunConfig
from stillhouse.task import Kind, Task
from stillhouse.teachers.store import store_root


def check_settings(config: RunConfig) -> Iterator[Finding]:
    """Paths that can be none, and settings that contradict each other."""
    method = config.method
    given: list[tuple[str, str | None]] = [
        ("--data", config.data.source),
        *(("--transfer", one) for one in config.data.transfer),
    ]
    given += [("--corpus", one) for one in config.corpus.source if not one.startswith("hub:")]
    given += [("--teacher", config.teacher.source), ("--vocab", config.teacher.vocab)]
    given += [("--student", config.student.shape), ("--out", config.out)]
    for option, path in given:
        if path is not None:
            yield from refusal(partial(given_path, path, option))
    if config.teacher.store is not None:
        yield from refusal(partial(store_root, config.teacher.store))
    yield from _check_new_teacher(config)
    yield from _check_corpus(config)
    if not (method.uses_teacher or config.general_method.uses_teacher) and config.assistant is not None:
        yield Finding(
            f"--assistant is given, but method {method.name} has no teacher: "
            "an assistant learns from the teacher and teaches the student",
            expected="a method that learns from a teacher",
            fix="leave --assistant out",
        )
    if not method.uses_teacher and config.baseline:
        yield Finding(
            f"--baseline is given, but method {method.name} has no teacher: it is the baseline itself",
            expected="a method that learns from a teacher",
            fix="leave --baseline out (--no-baseline where a run file asks for it)",
        )
    if not method.uses_plain_text and config.data.labels == "teacher":
        reason = "learns from gold labels alone" if method.uses_teacher else "has no teacher to give them"
        yield Finding(
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
        yield Finding(
            f"--transfer is given, but {reason} text without a label out",
            expected="a teacher that labels the text",
            fix="leave --transfer out, or use --labels mixed and a method that learns from the teacher's labels",
        )
    if method.starts_from_fitted_teacher and not config.starts_from_fitted_teacher:
        yield Finding(
            f"student.start is {config.student.start}, but method {method.name} makes its student out of the fitted teacher",
            fix="leave student.start out",
        )
    if config.student.start == "fresh" and config.student.layers:
        yield Finding(
            "student.layers names layers to start from, but student.start is fresh",
            expected="one of them",
            fix="leave student.start or student.layers out",
        )


def _check_new_teacher(config: RunConfig) -> Iterator[Finding]:
    """Whether a vocabulary is for a new teacher, and there is text for that."""
    teacher, vocab = config.teacher.source, config.teacher.vocab
    if vocab is not None and not config.has_new_teacher:
        yield Finding(
            f"--vocab {vocab} is given, but --teacher {teacher} is a model that has a vocabulary",
            expected="--teacher LxH, such as 4x256, for a new one",
            fix="leave --vocab out, or give such a shape",
        )
    if config.has_new_teacher and not config.corpus.source:
        yield Finding(
            f"--teacher {teacher} makes a new model, and there is no text from which it could learn language",
            expected="--corpus with plain text",
            fix="give one, or name a model folder or hub id as the teacher",
        )


def _check_corpus(config: RunConfig) -> Iterator[Finding]:
    """Whether the method learns from a corpus that is given, and the options of a task have one."""
    method, has_corpus = config.general_method, bool(config.corpus.source)
    if has_corpus and not method.general_stages:
        yield Finding(
            f"--corpus is given, but method {method.name} learns from the rows of a task alone",
            expected=f"a method that learns from plain text: {', '.join(general_methods())}",
            fix="--method distilbert, for one, or leave --corpus out",
        )
    elif has_corpus and config.starts_from_fitted_teacher:
        yield Finding(
            "student.start is fitted, the teacher as it solves the task, but with --corpus a student learns language first",
            expected="another start, or no corpus",
            fix="leave student.start out, or --corpus",
        )
    if config.general is not None and not (has_corpus and config.has_task):
        missing = "task" if has_corpus else "corpus"
        yield Finding(
            f"general is {method.name}, the method on a corpus before a task, but there is no {missing}",
            expected="--data and --corpus",
            fix="leave general out",
        )
    if config.has_task:
        return
    if not has_corpus:
        yield Finding(
            "there is neither data nor a corpus to learn from",
            expected="--data for a task, --corpus for plain text, or both",
        )
    if config.baseline:
        yield Finding(
            "--baseline is given, but there is no task on which a baseline could be scored",
            expected="--data beside --corpus",
            fix="leave --baseline out; `--method finetune --corpus` trains such a student",
        )
    if config.teacher.features == "store" or config.teacher.store is not None:
        option = "--teacher-features store" if config.teacher.features == "store" else "--store"
        yield Finding(
            f"{option} is given, but there is no task: features of plain text are not kept",
            expected="--data beside --corpus",
            fix="leave it out",
        )
    usual = DataConfig()
    for name, value in config.data:
        if name != "source" and value != getattr(usual, name):
            instead = {"text": "--set corpus.text=...", "max_length": "--set corpus.block_length=...", "seed": "corpus.seed"}
            yield Finding(
                f"{option_name(name)} is given (data.{name}), but there is no task: a corpus is plain text",
                expected="--data beside --corpus",
                fix=f"leave it out{', or ' + instead[name] if name in instead else ''}",
            )


def check_stages(stages: Sequence[Stage], config: RunConfig, student_layers: int, teacher_layers: int) -> Iterator[Finding]:
    """What no method can do, whichever it is."""
    gold = [stage.name for stage in stages if stage.needs_gold]
    if gold and config.data.labels == "teacher":
        yield Finding(
            f"--labels teacher leaves stage {gold[0]!r} of method {config.method.name} nothing to learn from",
            expected="--labels gold or mixed, where a stage learns from gold labels alone",
        )
    for stage in stages:
        if not any(objective.weight for objective in stage.objectives):
            yield Finding(
                f"all weights of stage {stage.name!r} of method {config.method.name} are 0: there is nothing to learn",
                expected="at least one weight above 0",
            )
        if stage.text == "corpus" and VOCABULARY not in stage.student_needs and stage.config.select_on != "none":
            yield Finding(
                f"stage {stage.name!r} has select_on: {stage.config.select_on}, but it trains no head that could be scored",
                expected="select_on: none",
            )
    if student_layers > teacher_layers and any(stage.student_needs - ONLY_LOGITS - ONLY_VOCABULARY for stage in stages):
        yield Finding(
            f"the student has {student_layers} layers and its teacher {teacher_layers}, "
            f"and method {config.method.name} looks inside",
            expected=f"at most {teacher_layers} layers",
            fix="ask for fewer layers" + ("" if stages[0].text == "corpus" else ", or --method logit"),
        )


def check_tokens(stages: Sequence[Stage], config: RunConfig, teacher: str, student: str, kind: Kind) -> Iterator[Finding]:
    """What cannot be done with two tokenizers."""
    both = f"teacher {teacher} and student {student}"
    if any(stage.teacher_needs - ONLY_LOGITS for stage in stages):
        yield Finding(
            f"method {config.method.name} compares tokens, but {both} cut text differently",
            expected="one tokenizer for both",
            fix="choose a student of the teacher's family (such as --student half), or --method logit",
        )
    if kind.needs_one_tokenizer:
        yield Finding(
            f"{both} cut text into different tokens",
            expected=f"one tokenizer for {kind.needs_one_tokenizer}",
            fix="choose a student of the teacher's family (such as --student half)",
        )


def check_lengths(encoded: Mapping[str, Encoded], task: Task, max_length: int) -> Iterator[Finding]:
    """What of each split lies beyond `max_length`."""
    for name, rows in encoded.items():
        if note := task.kind.cut_note(rows, max_length):
            yield Finding(f"{name}: {note}", severity="warns")


def check_teacher(prepared: Prepared, accelerator: Accelerator) -> Iterator[Finding]:
    """What the teacher knows of the task: one finding, by scoring the selection rows."""
    teacher, selection = prepared.teacher, prepared.splits["selection"]
    try:
        predictions = predict_split(teacher.encoder.to(accelerator.device), selection, accelerator, view=teacher.view)
    except NotFinite as error:
        fix = "check its weights, or use --precision fp32"
        yield Finding(f"teacher {teacher.name}: {error}", expected="numbers", fix=fix)
    else:
        options = {"allow_weak": prepared.config.teacher.allow_weak, "is_fitted": not prepared.teacher_has_head}
        yield against_floor(teacher.name, selection, predictions, **options)


def against_floor(name: str, split: Split, predictions: Predictions, *, allow_weak: bool, is_fitted: bool = True) -> Finding:
    """A teacher beside what knowing nothing scores.

    Args:
        name: Of the teacher.
        split: The selection rows.
        predictions: The teacher's.
        allow_weak: Go on where it is no better.
        is_fitted: Whether the run has fine-tuned it; then it may be trained longer.

    Returns:
        Its score in words. It refuses a teacher that is not above the floor, unless `allow_weak` is on, and warns of one
        within two standard errors above it; for tags, label sets and answers where the 95 % interval of its score reaches
        down to it.
    """
    score, floor = main_score(split, predictions), floor_score(split)
    metric = split.task.kind.main_metric.name
    said = f"{metric} {score:.3f} on {len(split)} selection rows (knowing nothing: {floor:.3f})"
    warning = ""
    if floor == 1:
        warning = "these rows all have one label, so they cannot tell what the teacher knows"
    elif score <= floor and not allow_weak:
        longer = "train the teacher longer (--overwrite --set teacher.finetune.epochs=5)"
        another = longer if is_fitted else "choose another teacher"
        return Finding(
            f"the teacher is no better than always giving the most frequent answer: {said}",
            expected="a teacher that has learnt the task",
            fix=f"check that labels fit texts, {another}, or go on all the same with --allow-weak-teacher",
        )
    elif score <= floor:
        warning = "no better than knowing nothing"
    elif is_within_noise(split, predictions, score, floor):
        warning = "within two standard errors of knowing nothing"
    if warning:
        return Finding(f"teacher {name}: {said}; warning: {warning}", severity="warns")
    return Finding(f"teacher {name}: {said}", severity="says")


def check_space(needed: int, folder: Path) -> Iterator[Finding]:
    """A disk too full for so many bytes; what is there already counts as room."""
    with explained(folder):
        written = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        free = free_space(folder) + written
    if free < needed:
        yield Finding(
            f"no space left for {folder}: {free // 2**20:,.0f} MiB are free",
            expected=f"about {-(-needed // 2**20):,} MiB for weights and checkpoints",
            fix="free some, or choose another --out",
        )


def bytes_needed(prepared: Prepared | None, general: General | None) -> int:
    """What the run folder holds at its fullest, with a little to spare.

    While a model is trained a stage has two checkpoints for a moment, with AdamW's two moments beside the weights, and its best
    weights: 7 models; a student may have several stages, and a baseline. Afterwards a model's last weights are there twice, in
    a checkpoint and in its folder.
    """

    def size(model: Model) -> int:
        return sum(int(tensor.nbytes) for tensor in model.encoder.state_dict().values())

    left = fullest = 0
    for part in (general, prepared):
        if part is None:
            continue
        trained = [(8, part.teacher)] if part.fits_teacher and part.teacher is not None else []
        for copies, model in trained + [(10, learner.model) for learner in part.learners]:
            fullest = max(fullest, left + copies * size(model))
            left += 2 * size(model)
    return fullest
