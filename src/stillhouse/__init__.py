"""Stillhouse distils BERT-like encoders: a teacher and data in, a small fast student and an honest report out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stillhouse.errors import StillhouseError, TrainingDiverged, UserError

if TYPE_CHECKING:
    from stillhouse.api import Comparison, Run, compare, distill, evaluate, predict
    from stillhouse.features import Features, Needs
    from stillhouse.method import Method, Stage
    from stillhouse.runs.run_config import RunConfig

__version__ = "0.1.0"

# Looked up when they are first used, so that `stillhouse --help` loads neither torch nor transformers.
_HOMES = {
    "Comparison": "stillhouse.api",
    "Features": "stillhouse.features",
    "Method": "stillhouse.method",
    "Needs": "stillhouse.features",
    "Run": "stillhouse.api",
    "RunConfig": "stillhouse.runs.run_config",
    "Stage": "stillhouse.method",
    "compare": "stillhouse.api",
    "distill": "stillhouse.api",
    "evaluate": "stillhouse.api",
    "predict": "stillhouse.api",
}

__all__ = [
    "Comparison",
    "Features",
    "Method",
    "Needs",
    "Run",
    "RunConfig",
    "Stage",
    "StillhouseError",
    "TrainingDiverged",
    "UserError",
    "compare",
    "distill",
    "evaluate",
    "predict",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'stillhouse' has no attribute {name!r}")
