"""The configuration of a comparison: a run's, with several methods, students and seeds in the place of one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SerializeAsAny

from stillhouse.comparison.compare_options import COMPARE, CompareSettings
from stillhouse.comparison.wording import in_comparison
from stillhouse.config import BASELINE_METHOD, StageConfig
from stillhouse.errors import UserError, nearest, option_name
from stillhouse.files import given_path
from stillhouse.method import Method
from stillhouse.methods import general_methods, load_method, method_names
from stillhouse.runs.option_table import COMPAT, LAST_STAGE
from stillhouse.runs.options import changed, check_compat, check_epochs, over_demo, refuse_two_values
from stillhouse.runs.reading import has_corpus, parse_config, read_config, set_value, spelled_out
from stillhouse.runs.run_config import RunConfig

# By the full name of the field: the options that change every method's own settings are not among them.
PLACES = {option.place: name for name, option in COMPARE.items() if name not in {*LAST_STAGE, *COMPAT, "methods"}}
COMMON = ("data", "corpus", "teacher", "assistant", "engine")  # what the runs have from their comparison
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


class CompareConfig(CompareSettings):
    """Everything that decides a comparison; `stillhouse compare --config compare.yaml` repeats it."""

    methods: dict[str, SerializeAsAny[Method]]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Files, folders and names that the comparison is made from."""
        teacher = (self.teacher.source, *([] if self.teacher.vocab is None else [self.teacher.vocab]))
        return (self.data.task_source, *self.corpus.source, *self.data.transfer, *teacher, *self.students)


def comparison_from_options(
    options: Mapping[str, Any], *, config: Path | None = None, changes: Sequence[str] = ()
) -> CompareConfig:
    """A comparison's configuration from a file, over which single changes and options go.

    Args:
        options: Values by the name of an option of `compare`; `grid` may be empty. None means not given.
        config: A comparison file.
        changes: Single changes such as `methods.pkd.temperature=4`.

    Raises:
        UserError: An unknown key, a value that does not fit, or one setting by an option and by a change.
    """
    given = {name: value for name, value in options.items() if value is not None}
    in_file = {} if config is None else read_config(config)
    mapping = changed(config, changes)
    # Settings of a method given one by one choose none; a file, and a list, do.
    choosing = mapping if not isinstance(mapping.get("methods"), Mapping) else in_file
    if choosing.get("methods") is not None and "methods" not in given:
        given["methods"] = _list("methods", choosing["methods"])
    for place, name in PLACES.items():
        if name in given:
            set_value(mapping, place, given[name])
    _check_keys(mapping)
    methods = _methods(mapping, given, in_file, has_corpus=has_corpus(spelled_out(mapping)))
    runs = {label: _run(mapping, label, settings, given) for label, settings in methods.items()}
    check_compat({label: type(run.method) for label, run in runs.items()}, given)
    first = next(iter(runs.values()))
    if not first.has_task:
        raise UserError(
            f"{'--corpus is given without --data' if first.corpus.source else 'there is no --data'}, "
            "but a comparison is of scores on a task",
            expected="--data",
            fix="give it, or make one student from plain text alone: `stillhouse distill --corpus`",
        )
    default = {name: CompareConfig.model_fields[name].default for name in ("seeds", "grid")}
    demo_student = (first.student.shape,) if first.student.shape else ()
    grid: Any = () if "learning_rate" in given else _or(mapping.get("grid"), default["grid"])
    if given.get("grid") and "learning_rate" in given:
        raise UserError("--grid and --learning-rate are given", expected="one of them", fix="leave --learning-rate out")
    if isinstance(given.get("grid"), str) and not _list("grid", given["grid"]):
        raise UserError(f"--grid {given['grid']!r} names no rate", expected="rates such as 3e-5,1e-4", fix="or give --no-grid")
    grid = given.get("grid", grid)
    for label, run in runs.items():
        if grid and run.method.last_config().select_on == "none":
            last = run.method.last_stage()
            raise UserError(
                f"stage {last} of {label} is not scored on the selection rows, by which learning rates are chosen",
                expected=f"methods.{label}.stages.{last}.select_on: selection or last",
                fix="or give --no-grid",
            )
    refuse_two_values(changes, _places(runs, given, has_grid=bool(grid)))
    out = mapping.get("out")
    if out is not None and not isinstance(out, str):
        raise UserError(f"out is {out!r}", expected="the path of a folder")
    return CompareConfig(
        **{name: getattr(first, name) for name in COMMON},
        methods={label: run.method for label, run in runs.items()},
        students=_students(mapping.get("students") or demo_student),
        seeds=_unique("seeds", _numbers("seeds", _or(mapping.get("seeds"), default["seeds"]), int)),
        grid=tuple(sorted(_unique("grid", _numbers("grid", grid, float)))),
        out=out,
    )


def with_rate(method: Method, rate: float) -> Method:
    """The method with a learning rate for every stage that is scored on the selection rows.

    Stages that train no head keep their own: what they want is another matter, and no score tells it.
    """
    stages = {name: config.model_copy(update={"learning_rate": rate}) for name, config in _scored(method).items()}
    return method.model_copy(update={"stages": method.stages.model_copy(update=stages)})


def _scored(method: Method) -> dict[str, StageConfig]:
    """The stages that are scored on the selection rows."""
    general = method.general_stages  # trained once for all rates
    return {name: config for name, config in method.stages if config.select_on != "none" and name not in general}


def _places(runs: Mapping[str, RunConfig], given: Mapping[str, Any], *, has_grid: bool) -> dict[str, str]:
    """What options and the grid set in a comparison file -> by what it is set."""
    places = dict(PLACES)
    for label, run in runs.items():
        last = run.method.last_stage()
        places |= {f"methods.{label}.stages.{last}.{name}": name for name in LAST_STAGE}
    by = {place: option_name(name) for place, name in places.items() if name in given}
    if has_grid or "learning_rate" in given:
        rates = option_name("learning_rate") if "learning_rate" in given else "a grid (--no-grid leaves it out)"
        by |= {
            f"methods.{label}.stages.{name}.learning_rate": rates for label, run in runs.items() for name in _scored(run.method)
        }
    return by


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _check_keys(mapping: Mapping[str, Any]) -> None:
    valid = CompareConfig.model_fields.keys()
    for name in mapping:
        if name in valid:
            continue
        close = {"method": "methods", "student": "students", "seed": "seeds"}.get(name) or nearest(name, valid)
        hint = f"did you mean {close!r}? " if close else ""
        raise UserError(f"unknown key {name!r}: {hint}a comparison has {', '.join(valid)}")


def _require_general(methods: Mapping[str, type[Method]]) -> None:
    """Refuses methods, by label, that cannot learn from the corpus that is there."""
    unable = [label for label, method in methods.items() if not method.general_stages]
    if unable:
        labels = ", ".join(unable)
        raise UserError(
            f"--corpus is given, but there are methods that learn from the rows of a task alone: {labels}",
            expected=f"methods that learn from plain text: {', '.join(_able())}",
            fix=f"leave {labels} out of --methods, or leave --corpus out",
        )


def _able() -> list[str]:
    """The methods that learn from a corpus and a teacher."""
    return [name for name in general_methods() if load_method(name).uses_teacher]


def _methods(
    mapping: Mapping[str, Any], given: Mapping[str, Any], in_file: Mapping[str, Any], *, has_corpus: bool
) -> dict[str, dict[str, Any]]:
    """The settings of every method that is compared, by label; those of a file may be more than are."""
    known, from_file = (_by_label(source.get("methods")) for source in (mapping, in_file))
    labels = _unique("methods", _list("methods", given.get("methods", _able() if has_corpus else method_names())))
    if known.get(BASELINE_METHOD):
        raise UserError(
            f"there are settings of {BASELINE_METHOD}, but the baseline takes its steps and schedule from the methods",
            fix=f"leave methods.{BASELINE_METHOD} out",
        )
    result = {}
    for label in labels:
        own = known.get(label) or {}
        own = {"name": own} if isinstance(own, str) else own
        if not isinstance(own, Mapping):
            raise UserError(f"methods.{label} is {own!r}", expected="settings, such as {temperature: 4}, or a method's name")
        settings = {"name": label, **own}
        if not _LABEL.fullmatch(label):
            raise UserError(f"--methods {label!r}", expected="names such as pkd, of letters, digits, dots and dashes")
        method = load_method(str(settings["name"]))
        if label != BASELINE_METHOD and label.startswith(BASELINE_METHOD):
            raise UserError(
                f"--methods {label!r}", expected=f"a name that does not begin with {BASELINE_METHOD}, the baseline's"
            )
        if method.uses_teacher:  # the baseline is always there
            result[label] = settings
    for label in from_file.keys() - {*labels}:  # a file may have more than are asked for, but no unknown ones
        own = from_file[label] or {}
        load_method(str(own.get("name", label) if isinstance(own, Mapping) else own))
    unused = [label for label in known if label not in labels and known[label] != from_file.get(label)]
    if unused:
        raise UserError(
            f"there are settings of {unused[0]}, which is not among the methods {', '.join(labels)}",
            fix=f"add it to --methods, or leave methods.{unused[0]} out",
        )
    if has_corpus:
        _require_general({label: load_method(str(settings["name"])) for label, settings in result.items()})
    if not result:
        named = f"--methods {','.join(labels)} leaves nothing to compare" if labels else "--methods names no method"
        raise UserError(
            f"{named}; {BASELINE_METHOD} is the baseline, which is always there",
            expected=f"one of {', '.join(name for name in method_names() if name != BASELINE_METHOD)}, or several",
        )
    return result


def _by_label(methods: Any) -> Mapping[str, Any]:
    """Settings by label, of a mapping or a list."""
    methods = methods or {}
    return methods if isinstance(methods, Mapping) else {label: {} for label in _list("methods", methods)}


def _run(mapping: Mapping[str, Any], label: str, settings: Mapping[str, Any], given: Mapping[str, Any]) -> RunConfig:
    """A method's run, in which student and seed are open."""
    method = load_method(settings["name"])
    whole: dict[str, Any] = {name: mapping[name] for name in COMMON if name in mapping}
    whole = over_demo(spelled_out({**whole, "method": dict(settings)}), with_method=False)
    places = {option.place.format(last=method.last_stage()): name for name, option in LAST_STAGE.items() if name in given}
    for place, name in places.items():
        set_value(whole, place, given[name])
    places |= {option.place: name for name, option in COMPAT.items()}
    if "compat" in given and "compat" in method.model_fields:
        set_value(whole, COMPAT["compat"].place, given["compat"])
    with in_comparison(label):
        run = parse_config(whole, {place: option_name(name) for place, name in (PLACES | places).items()})
    check_epochs(run.method, f"methods.{label}", given)
    if "learning_rate" in given:
        run = run.model_copy(update={"method": with_rate(run.method, given["learning_rate"])})
    return run


def _list(name: str, value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Sequence | Mapping):
        raise UserError(f"{name} is {value!r}", expected="a list, or values with commas between")
    return tuple(str(part).strip() for part in parts if str(part).strip())


def _students(value: Any) -> tuple[str, ...]:
    """Each once, whatever path it is reached by."""
    students = _list("students", value)
    places = [given_path(student, "--students") for student in students]
    _unique("students", tuple(str(place.resolve()) if place.exists() else str(place) for place in places))
    return students


def _numbers(name: str, value: Any, kind: type[int] | type[float]) -> tuple[Any, ...]:
    numbers = []
    for part in _list(name, [value] if isinstance(value, int | float) else value):
        try:
            number = kind(part)
        except ValueError:
            number = None
        if number is None or not 0 <= number < float("inf") or (kind is float and number == 0):
            expected = "whole numbers from 0, such as 0,1,2" if kind is int else "positive numbers, such as 3e-5,1e-4"
            raise UserError(f"--{name} {part!r}", expected=expected)
        numbers.append(number)
    if not numbers and name == "seeds":
        raise UserError("--seeds names none", expected="whole numbers from 0, such as 0,1,2")
    return tuple(numbers)


def _unique(name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value in values:
        if values.count(value) > 1:
            raise UserError(f"--{name} names {value} twice", expected="each once")
    return values
