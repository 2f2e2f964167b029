"""What a check finds: a value, so that a run stops at the first that refuses it, and others may hear of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from stillhouse.errors import UserError


@dataclass(frozen=True)
class Finding:
    """One thing that a check has found.

    Attributes:
        what: What is there, as a sentence.
        expected: What would have been right.
        fix: What to do about it.
        severity: Whether it refuses the run, warns of its result, or only says what was decided or measured.
    """

    what: str
    expected: str = ""
    fix: str = ""
    severity: Literal["refuses", "warns", "says"] = "refuses"


def refuse_first(findings: Iterable[Finding]) -> list[str]:
    """What the findings say, in their order; checks behind one that refuses are not run.

    Raises:
        UserError: One refuses.
    """
    said = []
    for finding in findings:
        if finding.severity == "refuses":
            raise UserError(finding.what, expected=finding.expected, fix=finding.fix)
        said.append(finding.what)
    return said


def refusal(check: Callable[[], object]) -> Iterator[Finding]:
    """What a check that raises has found: what it refuses, or nothing."""
    try:
        check()
    except UserError as error:
        yield Finding(error.given, error.expected, error.fix)
