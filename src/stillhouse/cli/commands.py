"""Commands that have the options of a table: in groups, with choices, and read only when the command is called for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from stillhouse.errors import UserError

if TYPE_CHECKING:
    from stillhouse.runs.option_table import OptionTable, PlacedOption

Function = TypeVar("Function", bound=Callable[..., None])
WHOLE = 10_000  # letters of a summary, so that none is cut short
PLAIN: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}

_with_options: dict[str, Callable[..., None]] = {}  # commands that have the options of a table, by name


def with_options(function: Function) -> Function:
    """Gives a command the options of its table in the place of its `**options`."""
    own = inspect.signature(function, eval_str=True).parameters.values()
    vars(function)["__signature__"] = inspect.Signature([one for one in own if one.kind is not one.VAR_KEYWORD])
    _with_options[function.__name__] = function
    return function


def _table(command: str) -> OptionTable:
    """The options of a command: read when it is called for, since the list of commands has to be there at once."""
    from stillhouse.comparison.compare_options import COMPARE
    from stillhouse.runs.option_table import DISTILL, EVALUATE, PREDICT

    return {"distill": DISTILL, "compare": COMPARE, "evaluate": EVALUATE, "predict": PREDICT}[command]


class Command(TyperCommand):
    """A command whose options are shown in groups, and of which some take several values: `--transfer A B`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for one in self.get_params(ctx):
            shown = one.get_help_record(ctx)
            title = getattr(one, "rich_help_panel", None) or f"{one.param_type_name.title()}s"
            if shown is not None:
                groups.setdefault(title, []).append(shown)
        for title, options in groups.items():
            with formatter.section(title):
                formatter.write_dl(options)

    def get_short_help_str(self, limit: int = WHOLE) -> str:  # noqa: ARG002
        return super().get_short_help_str(WHOLE)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        table = _table(self.name) if self.name in _with_options else {}
        many = [flag for option in table.values() if option.option.takes_many for flag in option.flags]
        args = one_value_an_option(many, args)
        typed = {argument.partition("=")[0] for argument in args}
        for option in table.values():
            if len(names := [name for name in option.flags if name in typed]) > 1:
                raise UserError(f"{' and '.join(names)} are given, which are one option", expected="one of them")
        return super().parse_args(ctx, args)


class Commands(TyperGroup):
    """Commands of which some get the options of a table once they are called for."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name in _with_options:
            single = typer.Typer(add_completion=False, **PLAIN)
            single.command(name, cls=Command)(_whole(_with_options[name], _table(name)))
            command = typer.main.get_command(single)
        return name, command, rest

    def get_short_help_str(self, limit: int = WHOLE) -> str:  # noqa: ARG002
        return super().get_short_help_str(WHOLE)


def _whole(function: Callable[..., None], table: OptionTable) -> Callable[..., None]:
    """The function with the table's options in its signature, after its own that may be given by position."""
    own = list(inspect.signature(function).parameters.values())
    first = [one for one in own if one.kind is not one.KEYWORD_ONLY]
    parameters = [_parameter(name, option) for name, option in table.items()]

    def call(**given: Any) -> None:
        function(**given)

    call.__doc__ = function.__doc__
    vars(call)["__signature__"] = inspect.Signature([*first, *parameters, *own[len(first) :]])
    return call


def _parameter(name: str, option: PlacedOption) -> inspect.Parameter:
    """An option as typer takes it; what its field may hold is checked there, which has the better words."""
    kind: Any = option.type
    choices = get_args(kind)
    words: dict[str, Any] = {"help": option.option.help, "rich_help_panel": option.group or None}
    if get_origin(kind) is Literal:
        kind = str
        words |= {"metavar": f"[{'|'.join(choices)}]", "autocompletion": _completed_from(choices)}
    elif isinstance(kind, UnionType) and str in choices and not option.option.takes_many:  # lists, as text with commas
        kind = str
    elif choices:
        kind = list[str]
    default = typer.Option(None, *option.flags, **words)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind | None)


def _completed_from(choices: Sequence[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def one_value_an_option(options: Collection[str], arguments: Sequence[str]) -> list[str]:
    """`--transfer a b` as `--transfer a --transfer b`, the form that the parser takes.

    Args:
        options: Those after which several values may stand.
        arguments: As they were typed.
    """
    result: list[str] = []
    name = ""  # the option whose values we are among
    for argument in arguments:
        if argument.startswith("-"):
            name = argument if argument in options else ""
        elif name and result[-1] != name:
            result.append(name)
        result.append(argument)
    return result
