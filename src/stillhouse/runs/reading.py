"""A run's configuration from plain values and YAML; every mistake that needs no data is found here, all of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from stillhouse.config import StageConfig
from stillhouse.documents import read_yaml
from stillhouse.errors import UserError, nearest, shown
from stillhouse.files import given_path
from stillhouse.method import Method
from stillhouse.methods import load_method
from stillhouse.runs.run_config import RunConfig


def parse_config(mapping: Mapping[str, Any], options: Mapping[str, str] | None = None) -> RunConfig:
    """The configuration from plain values.

    Args:
        mapping: Keys and values.
        options: What else users call some keys, for messages: `engine.precision` -> `--precision`.

    Raises:
        UserError: Unknown keys (with the nearest valid one), values out of range or of the wrong type; all in one message.
    """
    plain = spelled_out(mapping)
    methods = {"method": method_settings(plain)}
    if plain.get("general") is not None:
        methods["general"] = method_settings(plain, "general")
    classes = {place: load_method(settings.get("name", "logit")) for place, settings in methods.items()}
    usual = RunConfig.model_validate({}).model_dump(mode="json", exclude={"method"})
    plain = merged(usual, {name: value for name, value in plain.items() if name not in methods})
    task = has_task(plain)
    problems: list[Any] = []
    for place, settings in methods.items():
        # What is given changes the defaults of its own place: one key of a stage must not reset the stage's other keys.
        preset = classes[place].preset(settings.get("compat")).model_dump(mode="json")
        try:
            plain[place] = classes[place].model_validate(merged(preset, settings))
        except ValidationError as error:
            problems += [{**problem, "loc": (place, *problem["loc"])} for problem in error.errors()]
    try:
        config = RunConfig.model_validate(plain)
    except ValidationError as error:
        problems += error.errors()
    if problems:
        lines = [
            _explain(problem, classes, options or {}, classes["method"].last_stage(has_task=task))
            for problem in _by_field(problems)
        ]
        many = f"{len(lines)} mistakes in the configuration:\n  " if len(lines) > 1 else ""
        raise UserError(many + "\n  ".join(lines))
    return config


def method_settings(mapping: Mapping[str, Any], place: str = "method") -> dict[str, Any]:
    """What a configuration says of a method, as keys and values; a name alone is enough.

    Raises:
        UserError: It is neither.
    """
    method = mapping.get(place)
    if isinstance(method, Mapping):
        return {**method, "name": str(method["name"])} if "name" in method else dict(method)
    if method is None or isinstance(method, str):
        return {} if method is None else {"name": method}
    raise UserError(f"{place} is {shown(method)}", expected="a name such as logit, or keys and values such as {name: logit}")


def spelled_out(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The same configuration without the short forms: `data: reviews.csv` becomes `data: {source: reviews.csv}`.

    A corpus without data has no task, rather than the built-in one.
    """
    plain = dict(mapping)
    for name in SHORT_FORMS.keys() & plain.keys():
        if isinstance(plain[name], str):
            plain[name] = {SHORT_FORMS[name]: plain[name]}
    data = plain.get("data", {})
    if has_corpus(plain) and isinstance(data, Mapping) and "source" not in data:
        plain["data"] = {**data, "source": None}
    return plain


def has_corpus(mapping: Mapping[str, Any]) -> bool:
    """Whether a configuration, spelled out, names a corpus."""
    corpus = mapping.get("corpus")
    return isinstance(corpus, Mapping) and bool(corpus.get("source"))


def has_task(mapping: Mapping[str, Any]) -> bool:
    """Whether a configuration, spelled out, asks for a task."""
    data = mapping.get("data")
    return not isinstance(data, Mapping) or data.get("source", "") is not None


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` over `base`, key by key at every depth."""
    result = dict(base)
    for name, value in changes.items():
        below = base.get(name)
        result[name] = merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    if "epochs" in changes and "least_steps" in base:  # epochs that are asked for are taken at their word
        given = {name: changes[name] for name in ("least_steps", "steps") if name in changes}
        result |= {"least_steps": 0, "steps": None, **given}
    return result


def read_config(path: Path) -> dict[str, Any]:
    """A run file as plain values.

    Raises:
        UserError: The file is missing, is not YAML, or does not hold keys and values.
    """
    path = given_path(path, "--config")
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", fix="check --config") from None
    content = read_yaml(text, str(path), fix="see the run.yaml of a finished run")
    if content is None:
        raise UserError(f"{path} is empty", expected="keys and values, such as `seed: 1`")
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}", expected="keys and values, such as `seed: 1`")
    return content


def set_value(mapping: dict[str, Any], path: str, value: Any) -> None:
    """Sets `a.b.c` in nested dictionaries, making those that are missing.

    Raises:
        UserError: Something else than keys and values stands on the way: it would be lost.
    """
    *parents, last = path.split(".")
    for depth, parent in enumerate(parents):
        child = mapping.get(parent)
        if isinstance(child, str) and depth == 0 and parent in SHORT_FORMS:
            child = {SHORT_FORMS[parent]: child}
        if child is not None and not isinstance(child, dict):
            place = ".".join(parents[: depth + 1])
            raise UserError(f"{place} is {shown(child)}, so that {path} cannot be set", expected="keys and values")
        mapping[parent] = child = {} if child is None else child
        mapping = child
    mapping[last] = value


# What a single word stands for.
SHORT_FORMS = dict.fromkeys(("data", "corpus", "teacher"), "source") | {"student": "shape"}
SHORT_FORMS |= dict.fromkeys(("method", "general"), "name")


def _by_field(problems: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One problem a field: pydantic has one for each type that a field might have, and names the type in the location."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for problem in problems:
        parts = problem["loc"]
        tag = next((place for place, part in enumerate(parts) if isinstance(part, str) and "[" in part), len(parts))
        one = found.setdefault(parts[:tag], {**problem, "loc": parts[:tag], "msg": ""})
        one["msg"] += f", or {problem['msg'][0].lower()}{problem['msg'][1:]}" if one["msg"] else problem["msg"]
    return list(found.values())


def _explain(
    problem: Mapping[str, Any], methods: Mapping[str, type[Method]], options: Mapping[str, str], last_stage: str
) -> str:
    location = [str(part) for part in problem["loc"]]
    place = ".".join(location)
    name = f"{options[place]} ({place})" if place in options else place
    if problem["type"] == "extra_forbidden":
        valid = _keys(location[:-1], methods)
        close = nearest(location[-1], valid)
        if location[:-1] == ["method"] and location[-1] in StageConfig.model_fields:
            close = f"stages.{last_stage}.{location[-1]}"
        hint = f"did you mean {close!r}? " if close else ""
        where = ".".join(location[:-1]) or "the configuration"
        return f"unknown key {name!r}: {hint}{where} has {', '.join(sorted(valid))}"
    return f"{name}: {problem['msg'][0].lower()}{problem['msg'][1:]}, given {shown(problem['input'])}"


def _keys(location: list[str], methods: Mapping[str, type[Method]]) -> list[str]:
    """Valid keys at a place of the configuration."""
    model: type[BaseModel] = RunConfig
    for part in location:
        field = model.model_fields.get(part)
        annotation = None if field is None else field.annotation
        if model is RunConfig and part in methods:
            annotation = methods[part]
        kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not kinds:
            return []
        model = kinds[0]
    return list(model.model_fields)
