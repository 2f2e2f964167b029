"""What a finished run folder says, read for its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.documents import DocumentError, read_json
from stillhouse.errors import UserError
from stillhouse.files import LOG, METRICS, PREDICTIONS, RUN_CONFIG
from stillhouse.sealed import CHECKSUMS, damaged_beside, read_sealed

SCHEMA = 1


@dataclass(frozen=True)
class RunRecord:
    """The files of a run folder.

    Attributes:
        name: Name of the folder.
        config: Text of run.yaml; empty where there is none.
        metrics: Content of metrics.json.
        log: Lines of log.jsonl in order.
        predictions: Lines of predictions.jsonl in order.
        damage: What was left out of either, in words.
    """

    name: str
    config: str
    metrics: dict[str, Any]
    log: list[dict[str, Any]]
    predictions: list[dict[str, Any]]
    damage: tuple[str, ...] = ()


def read_run(run_folder: Path) -> RunRecord:
    """Reads a finished run.

    Raises:
        UserError: The folder is no finished run, or its metrics.json is damaged.
    """
    metrics_path = run_folder / METRICS
    if not metrics_path.is_file():
        raise UserError(
            f"{run_folder} holds no metrics.json",
            expected="the folder of a finished run",
            fix="finish the run by giving its distill command again",
        )
    metrics = read_sealed(metrics_path, fix="give the run's command again with --overwrite")
    if metrics.get("schema") != SCHEMA or not isinstance(metrics.get("student"), dict):
        raise UserError(
            f"{metrics_path} is not a run's record of schema {SCHEMA}",
            expected=f'"schema": {SCHEMA} and a student with its scores',
            fix="write it again with this version of Stillhouse",
        )
    log, *damage = _read_lines(run_folder / LOG, metrics, _is_log_line)
    predictions, said = _read_lines(run_folder / PREDICTIONS, metrics, _is_like)
    damage.append(said)
    config_path = run_folder / RUN_CONFIG
    return RunRecord(
        name=run_folder.resolve().name,
        config=config_path.read_text(encoding="utf-8", errors="replace") if config_path.is_file() else "",
        metrics=metrics,
        log=log,
        predictions=predictions,
        damage=tuple(said for said in damage if said),
    )


def _read_lines(path: Path, metrics: Mapping[str, Any], is_good: Callable[[Any, Any], bool]) -> tuple[list[Any], str]:
    """The lines of a file that are as they were written, as far as that can be told, and what is said of the others."""
    if not path.is_file():
        return [], ""
    # Split on newline bytes only: text may hold other characters that Python counts as line ends.
    lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    read = list(map(_parsed, lines))
    has_changed = damaged_beside(path.parent / METRICS, metrics, path.name) is not None
    if path.name in metrics.get(CHECKSUMS, {}) and not has_changed:
        return read, ""
    objects = [value for value in read if isinstance(value, dict)]
    usual = Counter(map(_form, objects)).most_common(1)
    like = next((value for value in objects if _form(value) == usual[0][0]), None)
    good = [value for value in objects if is_good(value, like)]
    left = f"{len(read) - len(good)} of its {len(read)} lines are left out"
    if len(good) == len(read) and not has_changed:
        return good, ""  # of an older version, which wrote no checksums
    return good, f"{path.name} is damaged: {left if len(good) < len(read) else 'what is shown of it may be wrong'}"


def _parsed(line: bytes) -> Any:
    try:
        return read_json(line, "")
    except DocumentError:
        return None


def _is_log_line(value: Any, _: Any) -> bool:
    return isinstance(value.get("step"), int) and isinstance(value.get("objectives", {}), dict)


def _form(value: Any) -> Any:
    """The keys of an object and the kinds of its values, to be counted."""
    if isinstance(value, dict):
        return tuple((name, _form(one)) for name, one in value.items())
    return (list, *map(_form, value[:1])) if isinstance(value, list) else type(value)


def _is_like(value: Any, other: Any) -> bool:
    """Whether two JSON values are of one form; null is of any but an object's."""
    if value is None or other is None:
        return not isinstance(value, dict) and not isinstance(other, dict)
    if isinstance(other, dict):
        return (
            isinstance(value, dict) and value.keys() == other.keys() and all(_is_like(value[key], other[key]) for key in other)
        )
    if isinstance(other, list):
        return isinstance(value, list) and all(_is_like(one, other[0]) for one in value if other)
    return isinstance(value, str) == isinstance(other, str) and not isinstance(value, dict | list)
