"""Keeping transformers quiet while it loads or saves: what matters is said by Stillhouse in its own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging

_logging: Any = logging  # half of its functions have no types


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No log lines below errors and no progress bars from transformers inside; both as they were afterwards."""
    verbosity = _logging.get_verbosity()
    bars = _logging.is_progress_bar_enabled()
    _logging.set_verbosity_error()
    _logging.disable_progress_bar()
    try:
        yield
    finally:
        _logging.set_verbosity(verbosity)
        if bars:
            _logging.enable_progress_bar()
