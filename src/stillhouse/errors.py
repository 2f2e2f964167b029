"""The few exceptions of Stillhouse, and helpers that say what was given, what was expected and how to fix it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 200  # characters of what was given that a message shows
_LONGEST_NAME = 60  # characters


class StillhouseError(Exception):
    """Base of every error raised on purpose. The command line prints its text and leaves with `exit_status`."""

    exit_status = 1


class UserError(StillhouseError):
    """A mistake in what the user gave: found before anything expensive, shown without a traceback.

    Args:
        given: What was given, as a sentence.
        expected: What would have been right.
        fix: What to do about it.
    """

    exit_status = 2

    def __init__(self, given: str, *, expected: str = "", fix: str = "") -> None:
        self.given = given
        self.expected = expected
        self.fix = fix
        lines = [given]
        if expected:
            lines.append(f"expected: {expected}")
        if fix:
            lines.append(f"fix: {fix}")
        super().__init__("\n  ".join(lines))


class CheckpointError(UserError):
    """What an interrupted run left cannot be gone on from."""


class TrainingDiverged(StillhouseError):
    """An objective became NaN or infinite; the last good checkpoint is kept."""


class NotFinite(StillhouseError):
    """The outputs of a model are NaN or infinite."""


def nearest(given: str, valid: Iterable[str]) -> str | None:
    """The valid name that is closest to `given`, or None where nothing is close."""
    names = list(valid)
    by_folded = {name.casefold(): name for name in names}
    matches = get_close_matches(given.casefold(), by_folded, n=1, cutoff=0.5)
    return by_folded[matches[0]] if matches else None


def unknown_name(kind: str, given: str, valid: Iterable[str]) -> UserError:
    """The error for a name that is not one of the valid ones; it lists them and says which is nearest."""
    names = sorted(valid)
    close = nearest(given, names)
    fix = f"did you mean {close!r}?" if close else "use one of the names above"
    return UserError(f"unknown {kind} {given!r}", expected=f"one of {', '.join(names)}", fix=fix)


def shown(value: object) -> str:
    """A value as a message shows it: as Python spells it, cut."""
    try:
        return cut(repr(value))
    except (ValueError, RecursionError):  # a number of more digits than Python writes; what is nested too deep
        return f"a {type(value).__name__} that is too long to show"


def cut(text: str) -> str:
    """The beginning of a text, where it is too long for a message."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."


def listed(names: Iterable[str], *, most: int = 10) -> str:
    """Names for a message, the first few of many, each cut where it is long."""
    every = list(names)
    first = ", ".join(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]} ..." for name in every[:most])
    return f"{first} and {len(every) - most:,} more" if len(every) > most else first


def option_name(name: str) -> str:
    """An option as it is typed: `max_train` -> `--max-train`."""
    return f"--{name.replace('_', '-')}"
