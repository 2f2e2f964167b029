"""Which lines a comparison has: every method on every student, and one baseline for each distinct start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from stillhouse.comparison.config import BASELINE, CompareConfig, with_rate
from stillhouse.config import StudentConfig
from stillhouse.console import Console
from stillhouse.errors import UserError
from stillhouse.methods import load_method
from stillhouse.models.adapter import layer_count
from stillhouse.prepare import Prepared, data_name, prepare, short_name, with_defaults
from stillhouse.run_config import RunConfig
from stillhouse.students.build import is_shape


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
    """The lines in the order of the table, baselines first, and what was said about the data."""

    lines: tuple[Line, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Checked:
    """A method's line, with what decides its baseline."""

    line: Line
    start: StudentConfig
    steps: int = 0
    evaluate_every: int = 1


def make_plan(config: CompareConfig, console: Console) -> Plan:
    """Prepares every method on every student once, so that what cannot be done is known before anything is trained.

    Raises:
        UserError: No method can do with these models and data.
    """
    checked: list[_Checked] = []
    notes: dict[str, None] = {}
    first_error: UserError | None = None
    for label, method in config.methods.items():
        for student in config.students or (method.default_student,):
            run = _run_of(config, label, student)
            try:
                prepared = prepare(run)
            except UserError as error:
                first_error = first_error or error
                console.say(f"  {label} on {student} is left out: {error.given}")
                line = Line(label, student, "", run, _folder(label, student), refusal=str(error))
                checked.append(_Checked(line, run.student))
                continue
            notes |= dict.fromkeys(note for note in prepared.notes if not note.startswith(("student starts", "stage ")))
            checked.append(_check(prepared, label, student))
    if first_error is not None and all(one.line.refusal for one in checked):
        raise first_error
    folders = [one.line.folder for one in checked]
    for number, name in enumerate(folders):  # two students of one name in different places
        if name in folders[:number]:
            checked[number] = replace(checked[number], line=replace(checked[number].line, folder=f"{name}-{number + 1}"))
    baselines = _baselines([one for one in checked if not one.line.refusal])
    lines = [replace(one.line, baseline=None if one.line.refusal else baselines[_key(one)]) for one in checked]
    return Plan((*baselines.values(), *lines), tuple(notes))


def _run_of(config: CompareConfig, label: str, student: str) -> RunConfig:
    method = config.methods[label]
    data = config.data
    if not method.uses_plain_text:  # it would be refused the text that it leaves out
        data = data.model_copy(update={"transfer": (), "labels": "mixed"})
    return with_defaults(
        RunConfig(
            data=data,
            teacher=config.teacher,
            student=StudentConfig(shape=student),
            method=method,
            baseline=False,
            engine=config.engine,
            seed=config.seeds[0],
        )
    )


def _check(prepared: Prepared, label: str, student: str) -> _Checked:
    config = prepared.config
    counts = prepared.step_counts()
    depths = layer_count(prepared.student.encoder.config), layer_count(prepared.teacher.encoder.config)
    is_copied = is_shape(student) and prepared.student.start.startswith("layer")
    start = StudentConfig(
        shape=student,
        start="fitted" if config.starts_from_fitted_teacher else None,
        layers=config.copied_layers(*depths) if is_copied else None,
    )
    said = prepared.student.start + (" as it solves the task, with its head" if config.starts_from_fitted_teacher else "")
    line = Line(label, student, said, config, _folder(label, student))
    return _Checked(line, start, sum(steps for steps, _ in counts), counts[-1][1])


def _baselines(checked: Sequence[_Checked]) -> dict[Any, Line]:
    """By start: fine-tuning from it, for as many steps as the longest of the methods that share it."""
    longest: dict[Any, _Checked] = {}
    for one in checked:
        if _key(one) not in longest or one.steps > longest[_key(one)].steps:
            longest[_key(one)] = one
    return {key: _baseline(one) for key, one in longest.items()}


def _baseline(longest: _Checked) -> Line:
    """Steps, batches and schedule are the method's; the learning rate is found as everybody's."""
    line = longest.line
    stage = list(line.config.method.stages)[-1][1]
    select_on = "selection" if stage.select_on == "none" else stage.select_on
    # So many epochs that it is scored on the selection rows as often as the method.
    changes = {"epochs": longest.steps / longest.evaluate_every, "least_steps": 0, "select_on": select_on}
    settings = {"steps": longest.steps, "stages": {"finetune": stage.model_dump() | changes}}
    data = line.config.data.model_copy(update={"transfer": (), "labels": "mixed"})
    update = {"method": load_method(BASELINE).model_validate(settings), "student": longest.start, "data": data}
    folder = f"{BASELINE}-like-{line.folder}"
    return Line(BASELINE, line.student, line.start, line.config.model_copy(update=update), folder)


def _key(one: _Checked) -> tuple[Any, ...]:
    return one.line.student, one.line.start, one.start.start, one.start.layers


def _folder(label: str, student: str) -> str:
    return f"{label}-{short_name(student)}"


def comparison_out(config: CompareConfig) -> str:
    """The folder that was asked for, or `runs/<data>-compare`."""
    return config.out or f"runs/{data_name(config.data.source)}-compare"
