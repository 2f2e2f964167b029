"""Every option by its name: where it stands in the configuration, what Python may give for it, and what help says of it."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, Union, get_args, get_origin

from stillhouse.config import GROUPS, Frozen, KindName, OfficialSettings, Option, RunSettings, StageConfig
from stillhouse.errors import option_name


@dataclass(frozen=True)
class PlacedOption:
    """An option, and the field that it sets.

    Attributes:
        flags: Its names on the command line; `--baseline/--no-baseline` where a flag may be left open.
        place: The full name of the field; an option of a method's last stage has `{last}` for the name of the stage.
        type: What Python may give; None, which is not among it, means the default.
        group: Title of the options among which help shows it, if any.
        option: What the field says of it.
    """

    flags: tuple[str, ...]
    place: str
    type: Any
    group: str
    option: Option

    def says(self, words: str) -> PlacedOption:
        """The same with other words in its help."""
        return replace(self, option=replace(self.option, help=words))


OptionTable = Mapping[str, PlacedOption]  # by the name in Python


def options_of(model: type[Frozen], *, place: str = "") -> dict[str, PlacedOption]:
    """The options of a configuration, those of its parts too, but for the stages: they belong to a method.

    Args:
        model: Of which fields say that they are options.
        place: Where it stands in the whole configuration, with a dot at the end.
    """
    found: dict[str, PlacedOption] = {}
    for name, field in model.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, Frozen) and part is not StageConfig:
            found |= options_of(part, place=f"{place}{name}.")
        for option in field.metadata:
            if isinstance(option, Option):
                own, given = option.name or name, option.given or _plain(part)
                flag = option_name(own) + (f"/{option_name(f'no_{own}')}" if given is bool and part is not bool else "")
                group = option.group or model.group
                found[own] = PlacedOption((flag, *option.also), f"{place}{name}", given, group, option)
    return found


def in_groups(options: OptionTable) -> dict[str, PlacedOption]:
    """The options in the order in which help shows them."""
    return dict(sorted(options.items(), key=lambda entry: GROUPS.index(entry[1].group)))


def ungrouped(options: OptionTable) -> dict[str, PlacedOption]:
    """The same options of a command that has too few for groups."""
    return {name: replace(option, group="") for name, option in options.items()}


def _plain(annotation: Any) -> Any:
    """A type without its limits, and without None."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return reduce(or_, (_plain(part) for part in get_args(annotation) if part is not type(None)))
    return annotation


class ScoringOptions(TypedDict, total=False):
    """The options of `predict` that are those of a run."""

    max_length: int | None
    precision: Literal["auto", "fp32", "bf16"] | None


class ColumnOptions(ScoringOptions, total=False):
    """The options of `evaluate` that are those of a run."""

    text: str | None
    text_pair: str | None
    label: str | None
    label_map: Mapping[str, str] | Sequence[str] | None


class TrainingOptions(ColumnOptions, total=False):
    """The options that `distill` and `compare` have in common."""

    data: str | Path | None
    task: KindName | None
    max_train: int | None
    max_labels: int | None
    transfer: Sequence[str | Path] | None
    labels: Literal["gold", "teacher", "mixed"] | None
    teacher: str | Path | None
    vocab: str | Path | None
    allow_weak_teacher: bool | None
    teacher_features: Literal["auto", "online", "store"] | None
    store: str | Path | None
    compat: Literal["official"] | None
    epochs: float | None
    batch_size: int | None
    learning_rate: float | None
    track: Sequence[str] | None
    out: str | Path | None


class DistillOptions(TrainingOptions, total=False):
    """The options of `distill`."""

    corpus: str | Path | Sequence[str | Path] | None
    method: str | None
    student: str | Path | None
    assistant: str | None
    baseline: bool | None
    seed: int | None


LAST_STAGE = options_of(StageConfig, place="method.stages.{last}.")
COMPAT = options_of(OfficialSettings, place="method.")
DISTILL = in_groups(LAST_STAGE | options_of(RunSettings) | COMPAT)
EVALUATE = ungrouped({name: DISTILL[name] for name in DISTILL if name in ColumnOptions.__annotations__})
EVALUATE["label_map"] = EVALUATE["label_map"].says("data=model label names where they differ.")
PREDICT = ungrouped({name: DISTILL[name] for name in DISTILL if name in ScoringOptions.__annotations__})
