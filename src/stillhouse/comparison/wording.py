"""What a run's message says in a comparison, which has several methods, and whose runs share one folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from stillhouse.errors import StillhouseError, UserError

# What a message of a run says -> what that is in a comparison.
IN_COMPARISON = (
    # But in a list of what differs from the run that is in a folder: there stand the keys of its run.yaml.
    (r"(?<![\w./-])method\.(?=[a-z_])(?![\w.]+ is [^;\n]+ there, )", "methods.{label}."),
    (r"(?<![\w./-])method has (?=[a-z_]+(,|$))", "methods.{label} has "),  # the settings that there are
    (r"(?<![\w-])--method [a-z0-9_]+", "leave {label} out of --methods"),
    # The folder holds more than the run that is spoken of: nobody is to delete it.
    (r"\bwith --overwrite\b", "with another --out"),
    (r", or --overwrite to delete that run\b", ""),
)


def said_in_comparison(message: str, label: str) -> str:
    """A run's message as a comparison has to say it.

    Args:
        message: Of `method.temperature`, `--method logit` or `--overwrite`.
        label: What the comparison calls the method.
    """
    for pattern, words in IN_COMPARISON:
        message = re.sub(pattern, words.format(label=label), message, flags=re.MULTILINE)
    return message


@contextmanager
def in_comparison(label: str) -> Iterator[None]:
    """Errors that are raised within it speak of a method as one of several.

    Args:
        label: What the comparison calls it.
    """
    try:
        yield
    except StillhouseError as error:
        error.args = (said_in_comparison(str(error), label),)
        if isinstance(error, UserError):
            parts = (error.given, error.expected, error.fix)
            error.given, error.expected, error.fix = (said_in_comparison(part, label) for part in parts)
        raise
