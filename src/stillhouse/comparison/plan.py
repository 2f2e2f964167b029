"""Which lines a comparison has: every method on every student, and one baseline for each distinct start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from stillhouse.comparison.compare_config import CompareConfig, with_rate
from stillhouse.comparison.wording import in_comparison
from stillhouse.config import BASELINE_METHOD, StudentConfig
from stillhouse.console import Console
from stillhouse.errors import UserError
from stillhouse.files import given_path, out_path
from stillhouse.method import Stage
from stillhouse.methods import load_method
from stillhouse.models.adapter import layer_count
from stillhouse.models.digest import weights_digest
from stillhouse.models.spec import Shape
from stillhouse.runs.defaults import with_defaults
from stillhouse.runs.general import General
from stillhouse.runs.names import name_of_all, short_name
from stillhouse.runs.prepare import prepare
from stillhouse.runs.prepared import Prepared
from stillhouse.runs.run_config import RunConfig
from stillhouse.students.build import build_student, find_student
from stillhouse.students.shape import is_shape, parse_shape, student_config
from stillhouse.teachers.new_teacher import find_teacher

Prepare = Callable[[RunConfig], General | None]
"""Makes ready what a run learns from a corpus; None = it has none."""


@dataclass(frozen=True)
class Line:
    """A line of the table: a method on a student, whatever the seed.

    Attributes:
        method: What the table calls the method.
        student: As it was asked for.
        start: What the student starts from, in words.
        config: Its run, in which seed, learning rate and folder are open.
        folder: Name of the folder that holds its runs.
        baseline: The line that it is held against; None for a baseline.
        refusal: Why the method cannot do with these models or data; empty where it can.
    """

    method: str
    student: str
    start: str
    config: RunConfig
    folder: str
    baseline: Line | None = None
    refusal: str = ""

    def run(self, seed: int, rate: float | None, runs: str) -> RunConfig:
        """One of its runs.

        Args:
            seed: Of the student's training.
            rate: Learning rate of the stages that are scored on the selection rows; None = the method's own.
            runs: The folder of all runs.
        """
        method = self.config.method if rate is None else with_rate(self.config.method, rate)
        name = f"seed{seed}" if rate is None else f"rate{rate:g}-seed{seed}"
        return self.config.model_copy(update={"method": method, "seed": seed, "out": f"{runs}/{self.folder}/{name}"})


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Attributes:
        lines: In the order of the table, baselines first.
        notes: What was said about the data.
        inputs: Fingerprints of what all runs are made from, by what it is.
    """

    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    inputs: dict[str, str]


@dataclass(frozen=True)
class _Checked:
    """A method's line, with what decides its baseline, or why it has none.

    Attributes:
        start: The student of the baseline.
        said: What that starts from, in words.
        general: What it went through on a corpus.
    """

    line: Line
    start: StudentConfig
    said: str = ""
    general: tuple[Stage, ...] = ()
    steps: int = 0
    evaluate_every: int = 1
    error: UserError | None = None


def make_plan(
    config: CompareConfig, console: Console, general: Prepare, *, check_teacher: Callable[[Prepared], None] | None = None
) -> Plan:
    """Prepares every method on every student once, so that what cannot be done is known before anything is trained.

    Args:
        config: The comparison.
        console: What is left out is said there.
        general: Makes ready what a run learns from a corpus.
        check_teacher: Told once of a run whose teacher needs no fitting, to score it.

    Raises:
        UserError: A student does not exist, or no method can do with these models and data.
    """
    _check_students(config)
    checked: list[_Checked] = []
    notes: dict[str, None] = {}
    inputs: dict[str, str] = {}
    for label, method in config.methods.items():
        for student in config.students or (method.default_student,):
            name = _free_name(f"{label}-{short_name(student)}", [one.line.folder for one in checked])
            run = _run_of(config, label, student, notes)
            try:
                with in_comparison(label):
                    run = with_defaults(run)
                    prepared, learnt = prepare(run), general(run)
            except UserError as error:
                line = Line(label, student, "", run, name, refusal=str(error))
                checked.append(_Checked(line, run.student, error=error))
                continue
            notes |= dict.fromkeys([*prepared.data_notes, *([learnt.kept.described] if learnt is not None else [])])
            if not inputs or method.uses_plain_text:
                inputs = _inputs(prepared, learnt)
            if check_teacher and prepared.config.needs_fitted_teacher and prepared.teacher_has_head:
                check_teacher(prepared)
                check_teacher = None
            checked.append(_check(prepared, learnt, label, student, name))
    able = [one for one in checked if one.error is None]
    if not able and checked[0].error is not None:
        raise checked[0].error
    for label in config.methods:
        _check_settings([one for one in checked if one.line.method == label], general)
    for one in checked:
        if one.error is not None:
            console.say(f"  {one.line.method} on {one.line.student} is left out: {one.error.given}")
    baselines = _baselines(able, by_rate=not config.grid)
    lines = [
        one.line if one.line.refusal else replace(one.line, baseline=baselines[_key(one, by_rate=not config.grid)])
        for one in checked
    ]
    return Plan((*baselines.values(), *lines), tuple(notes), inputs)


def _check_settings(lines: Sequence[_Checked], general: Prepare) -> None:
    """A method that can do with a student, but not with the settings that it was given, is the user's mistake.

    Raises:
        UserError: No student of the method can be trained with its settings, and one could be without them.
    """
    refused = [(one.line.config, one.error) for one in lines if one.error is not None]
    if len(refused) < len(lines):
        return
    for run, error in refused:
        plain = load_method(run.method.name).model_validate({"stages": run.method.stages.model_dump()})
        if run.method == plain:
            return
        try:
            bare = with_defaults(run.model_copy(update={"method": plain}))
            prepare(bare)
            general(bare)
        except UserError:
            continue
        raise error


def _check_students(config: CompareConfig) -> None:
    """A student that nobody can make is the user's mistake, not a method's; so is one that is named in two ways."""
    teacher = find_teacher(config.teacher).config
    shapes: dict[Shape, str] = {}
    for student in config.students:
        if not is_shape(student):
            find_student(student)
            continue
        shape = parse_shape(student, teacher)
        student_config(teacher, shape)
        if shape in shapes:
            raise UserError(f"--students names {shapes[shape]} and {student}, which are the same", expected="each once")
        shapes[shape] = student


def _run_of(config: CompareConfig, label: str, student: str, notes: dict[str, None]) -> RunConfig:
    method, data = config.methods[label], config.data
    if data.transfer and not method.uses_plain_text and any(other.uses_plain_text for other in config.methods.values()):
        data = data.model_copy(update={"transfer": ()})
        notes[f"{label} learns from gold labels alone: the text of --transfer is for the others"] = None
    return RunConfig(
        data=data,
        corpus=config.corpus,
        teacher=config.teacher,
        student=StudentConfig(shape=student),
        method=method,
        assistant=config.assistant,
        baseline=False,
        engine=config.engine,
        seed=config.seeds[0],
    )


def _inputs(prepared: Prepared, learnt: General | None) -> dict[str, str]:
    """Whatever the method: the rows, the corpus, the teacher as it was given, and how numbers are multiplied."""
    corpus = {} if learnt is None else {"the corpus": learnt.train.fingerprint()}
    splits = {f"the {name} rows": split.fingerprint() for name, split in prepared.splits.items()}
    backbone = prepared.teacher.encoder if prepared.teacher_has_head else prepared.teacher.encoder.base_model
    return {**splits, **corpus, "the teacher": weights_digest(backbone), "the precision": prepared.config.engine.precision}


def _check(prepared: Prepared, learnt: General | None, label: str, student: str, folder: str) -> _Checked:
    config = prepared.config
    counts = prepared.step_counts()
    steps, evaluate_every = sum(steps for steps, _ in counts), counts[-1][1]
    if learnt is not None:
        stages = tuple(stage for learner in learnt.learners for stage in learner.stages)
        line = Line(label, student, _learnt_start(learnt), config, folder)
        return _Checked(line, config.student, line.start, stages, steps, evaluate_every)
    depths = layer_count(prepared.student.encoder.config), layer_count(prepared.teacher.encoder.config)
    own, is_fresh = _own_start(prepared) if config.assistant else (prepared.student.start, prepared.student.is_fresh)
    is_copied = is_shape(student) and not is_fresh
    start = StudentConfig(
        shape=student,
        start="fitted" if config.starts_from_fitted_teacher else None,
        layers=config.copied_layers(*depths) if is_copied else None,
    )
    fitted = " as it solves the task, with its head" if config.starts_from_fitted_teacher else ""
    line = Line(label, student, prepared.student.start + fitted, config, folder)
    return _Checked(line, start, own + fitted, (), steps, evaluate_every)


def _own_start(prepared: Prepared) -> tuple[str, bool]:
    """How a student starts without the assistant, which has been taught: in words, and whether it is fresh."""
    student, teacher = str(prepared.config.student.shape), prepared.teacher
    if not is_shape(student):
        return prepared.student.start, False
    options: dict[str, Any] = {"head": prepared.task.head, "layers_rule": prepared.config.copied_layers}
    _, start = build_student(student, teacher=teacher.encoder, teacher_checkpoint_name=teacher.name, **options)
    return start.description, start.is_fresh


def _learnt_start(learnt: General) -> str:
    """What a student of the task starts from that has learnt from a corpus: `minilm on wiki_en, from layers 1, 4 of bert`."""
    config = learnt.config
    helped = "" if len(learnt.learners) == 1 else f" with assistant {config.assistant}"
    return f"{config.method.name} on {learnt.kept.name}{helped}, from {learnt.student.start}"


def _baselines(checked: Sequence[_Checked], *, by_rate: bool) -> dict[Any, Line]:
    """Fine-tuning from every start, for as many steps as the longest of the methods that share it."""
    longest: dict[Any, _Checked] = {}
    for one in checked:
        key = _key(one, by_rate=by_rate)
        if key not in longest or one.steps > longest[key].steps:
            longest[key] = one
    return {key: _baseline(one) for key, one in longest.items()}


def _baseline(longest: _Checked) -> Line:
    """Steps, batches and schedule are the method's; the learning rate is found as everybody's."""
    line, stage = longest.line, longest.line.config.method.last_config()
    select_on = "selection" if stage.select_on == "none" else stage.select_on
    # So many epochs that it is scored on the selection rows as often as the method.
    changes = {"epochs": longest.steps / longest.evaluate_every, "least_steps": 0, "select_on": select_on}
    settings = {"stages": {"finetune": stage.model_dump() | changes | {"steps": longest.steps}}}
    data = line.config.data.model_copy(update={"transfer": (), "labels": "mixed"})
    method = load_method(BASELINE_METHOD).model_validate(settings)
    update: dict[str, Any] = {"method": method, "student": longest.start, "data": data}
    # What was learnt from a corpus belongs to the start; without one an assistant belongs to the method.
    update |= {"general": line.config.method} if longest.general else {"assistant": None}
    return Line(
        BASELINE_METHOD,
        line.student,
        longest.said,
        line.config.model_copy(update=update),
        f"{BASELINE_METHOD}-like-{line.folder}",
    )


def _key(one: _Checked, *, by_rate: bool) -> tuple[Any, ...]:
    """What decides a baseline: the start and, where no grid finds everybody's learning rate, that of the last stage."""
    start = (one.line.student, one.said, one.start.start, one.start.layers, one.general)
    return (*start, one.line.config.method.last_config().learning_rate) if by_rate else start


def _free_name(name: str, taken: Sequence[str]) -> str:
    """The name, or, where two students in different places have it, the name with a number."""
    numbered = (f"{name}.{number}" for number in count(2))
    return name if name not in taken else next(one for one in numbered if one not in taken)


def comparison_out(config: CompareConfig) -> Path:
    """The folder that was asked for, or `runs/<data>-compare`, with a corpus `runs/<data>-<corpus>-compare`.

    Raises:
        UserError: It can be none, or the data cannot.
    """
    given_path(config.data.task_source, "--data")
    return out_path(f"runs/{name_of_all(config)}-compare" if config.out is None else config.out)
