"""What was given by options, in the command line or in Python -> the configuration of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from stillhouse.documents import read_yaml
from stillhouse.errors import UserError, cut, nearest, option_name, shown
from stillhouse.method import Method
from stillhouse.methods import load_method, method_names
from stillhouse.runs.option_table import DISTILL, LAST_STAGE, OptionTable
from stillhouse.runs.reading import has_task, merged, method_settings, parse_config, read_config, set_value, spelled_out
from stillhouse.runs.run_config import RunConfig

DEMO = Path(__file__).with_name("demo.yaml")
DEMO_PARTS = ("data", "teacher")


def given_options(function: Callable[..., object], table: OptionTable, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a function was given of its options, as the command line would have it.

    Args:
        function: Whose options they are.
        table: All that it has.
        options: Values by name; None means not given.

    Raises:
        TypeError: There is no such option.
        UserError: A label map that is none.
    """
    for name in options:
        if name not in table:
            close = nearest(name, [*table, *signature(function).parameters])
            hint = f". Did you mean {close!r}?" if close else ""
            raise TypeError(f"{function.__name__}() got an unexpected keyword argument {name!r}{hint}")
    given = {name: _text_of_paths(value) for name, value in options.items() if value is not None}
    if "label_map" in given:
        given["label_map"] = parse_label_map(given["label_map"])
    return given


def _text_of_paths(value: Any) -> Any:
    """Paths as text, in a list too; anything else as it is."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_text_of_paths, value))
    return str(value) if isinstance(value, Path) else value


def scoring_config(given: Mapping[str, Any], source: str | None = None) -> RunConfig:
    """How a model is scored: the options that a run has too, and the data.

    Raises:
        UserError: A value that does not fit.
    """
    mapping: dict[str, Any] = {} if source is None else {"data": {"source": source}}
    for name, value in given.items():
        set_value(mapping, DISTILL[name].place, value)
    return parse_config(mapping)


def config_from_options(options: Mapping[str, Any], *, config: Path | None = None, changes: Sequence[str] = ()) -> RunConfig:
    """A run's configuration from a run file, over which single changes `key=value` and options go.

    Args:
        options: Values by the name of an option of `distill`; None means not given.
        config: A run file.
        changes: Single changes such as `method.temperature=4`; values are read as YAML.

    Raises:
        UserError: An unknown key, a value that does not fit, or one setting by an option and by a change.
    """
    mapping = changed(config, changes)
    given = {name: value for name, value in options.items() if value is not None}
    if "method" in given:  # first: it may drop the settings of another
        _use_method(mapping, given["method"])
    for name, value in given.items():
        if name != "method" and name not in LAST_STAGE:
            set_value(mapping, DISTILL[name].place, value)
    mapping = over_demo(spelled_out(mapping))
    method = load_method(method_settings(mapping).get("name", "logit"))
    check_compat({str(method.model_fields["name"].default): method}, given)
    last = method.last_stage(has_task=has_task(mapping))
    places = {name: option.place.format(last=last) for name, option in DISTILL.items()}
    refuse_two_values(changes, {places[name]: option_name(name) for name in given})
    for name in given.keys() & LAST_STAGE.keys():
        set_value(mapping, places[name], given[name])
    parsed = parse_config(mapping, {place: option_name(name) for name, place in places.items()})
    check_epochs(parsed.method, "method", given, has_task=parsed.has_task)
    return parsed


def check_epochs(method: Method, place: str, given: Mapping[str, Any], *, has_task: bool = True) -> None:
    """Refuses `--epochs` where the number of steps is set, which decides.

    Args:
        method: Whose last stage the option is for.
        place: Where the configuration has the method.
        given: Options by name.
        has_task: Whether the last stage is one of a task.
    """
    if "epochs" in given and method.last_config(has_task=has_task).steps is not None:
        steps = f"{place}.stages.{method.last_stage(has_task=has_task)}.steps"
        raise UserError(f"--epochs and {steps} are given, which decide the same", expected="one of them")


def check_compat(methods: Mapping[str, type[Method]], given: Mapping[str, Any]) -> None:
    """Refuses `--compat` where no method has it.

    Args:
        methods: By the name that the user gives them.
        given: Options by name.
    """
    if "compat" in given and not any("compat" in method.model_fields for method in methods.values()):
        knowing = [name for name in method_names() if "compat" in load_method(name).model_fields]
        raise UserError(
            f"--compat {given['compat']} is given, but there is none for {', '.join(methods)}",
            expected=f"a method that has one: {', '.join(knowing)}",
            fix="leave --compat out",
        )


def changed(config: Path | None, changes: Sequence[str]) -> dict[str, Any]:
    """What a run file holds, with single changes `key=value` to it.

    Raises:
        UserError: The file cannot be read, or a change is none.
    """
    mapping = {} if config is None else read_config(config)
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not all(map(str.strip, key.split("."))):
            raise UserError(f"--set {shown(change)}", expected="key=value, such as --set method.temperature=4")
        given = read_yaml(value, f"--set {shown(change)}: the value", expected="a number, a word, or [a, list]")
        set_value(mapping, key.strip(), given)
    return mapping


def refuse_two_values(changes: Sequence[str], places: Mapping[str, str]) -> None:
    """A change of what something else sets: whoever gave both has overlooked one.

    Args:
        changes: `key=value`.
        places: The keys that are set -> by what, such as an option as it is typed.

    Raises:
        UserError: There is such a pair.
    """
    for change in changes:
        for key in _keys(spelled_out(changed(None, [change]))):
            if key in places:
                raise UserError(f"{places[key]} and --set {cut(change)} are given, which set the same", expected="one of them")


def _keys(mapping: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The full names of the values in nested dictionaries: `a.b.c`."""
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def over_demo(mapping: dict[str, Any], *, with_method: bool = True) -> dict[str, Any]:
    """What is given over the settings of the demo, where the data and the teacher are the built-in ones.

    The demo is small, so that it takes minutes; what suits it would suit no other data. Its settings of a method hold for
    that method alone, and not in a comparison, where every method has its own (`with_method` off).
    """
    demo = read_config(DEMO)
    chosen = merged(demo, mapping)
    sources = [chosen[part].get("source") if isinstance(chosen[part], dict) else None for part in DEMO_PARTS]
    if not all(isinstance(source, str) for source in sources) or sources != [demo[part]["source"] for part in DEMO_PARTS]:
        return mapping
    if not with_method or method_settings(mapping).get("name", demo["method"]["name"]) != demo["method"]["name"]:
        del demo["method"]
    return merged(demo, mapping)


def _use_method(mapping: dict[str, Any], name: str) -> None:
    """Names the method; settings of another method that a run file may hold don't carry over."""
    current = mapping.get("method")
    if isinstance(current, dict) and current.get("name", name) == name:
        current["name"] = name
    else:
        mapping["method"] = {"name": name}


def parse_label_map(pairs: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """`data=teacher` pairs as a mapping."""
    if isinstance(pairs, Mapping):
        return dict(pairs)
    if not isinstance(pairs, Sequence):
        raise UserError(f"label_map is {pairs!r}", expected="names of the data -> names of the teacher")
    mapping: dict[str, str] = {}
    for pair in pairs:
        data, equals, teacher = str(pair).partition("=")
        if not equals or not data or not teacher:
            raise UserError(f"--label-map {pair!r}", expected="data=teacher, such as --label-map pos=POSITIVE")
        if mapping.get(data, teacher) != teacher:
            raise UserError(f"--label-map sends {data!r} to {mapping[data]!r} and to {teacher!r}", expected="one of them")
        mapping[data] = teacher
    return mapping
