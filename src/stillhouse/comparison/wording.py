"""A run's messages in the words of a comparison: whose settings they speak of, and what there is to do about it."""

from __future__ import annotations

import re

from stillhouse.errors import UserError


def in_comparison(text: str, label: str) -> str:
    """The same advice for a method that is one of several.

    Args:
        text: Of a run, which has one method, one student and a folder of its own.
        label: What the comparison calls the method.
    """
    text = re.sub(r"(?<![\w.])method(?=\.\w| has )", f"methods.{label}", text)
    text = re.sub(r"(choose )?--method \w+( \([^)]*\))?", f"leave {label} out of --methods", text)
    text = re.sub(r"--student (?=\w)", "--students ", text)
    return text.replace("with --overwrite", "with another --out")


def error_in_comparison(error: UserError, label: str) -> UserError:
    """A run's error as one of the comparison."""
    given, expected, fix = (in_comparison(text, label) for text in (error.given, error.expected, error.fix))
    return UserError(given, expected=expected, fix=fix)
