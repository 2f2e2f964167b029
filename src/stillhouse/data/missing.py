"""The marks that programs write where a value is missing."""

from __future__ import annotations

from typing import Any

SURE_MARKS = frozenset({"-", "nan", "NaN", "-nan", "-NaN", "<NA>", "#N/A", "#NA"})
LIKELY_MARKS = frozenset({"None", "N/A", "n/a", "NA", "null", "NULL"})  # each may also be a class, or the text of a word
MARKS = SURE_MARKS | LIKELY_MARKS


def missing_mark(value: Any) -> str | None:
    """How a cell says that it holds no value: "" for null or nothing, else one of `MARKS`; None where there is a value."""
    if isinstance(value, str):
        text = value.strip()
        return text if not text or text in MARKS else None
    if value is None:
        return ""
    return "NaN" if is_nan(value) else None


def is_nan(value: Any) -> bool:
    """Whether a value is the float that is no number, which data frames hold for a missing value."""
    return isinstance(value, float) and value != value
