"""What a finished run folder says, read for its report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.errors import UserError
from stillhouse.files import LOG, METRICS, PREDICTIONS, RUN_CONFIG

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
    """

    name: str
    config: str
    metrics: dict[str, Any]
    log: list[dict[str, Any]]
    predictions: list[dict[str, Any]]


def read_run(run_folder: Path) -> RunRecord:
    """Reads a finished run.

    Raises:
        UserError: The folder is no finished run, or one of its files is damaged.
    """
    metrics_path = run_folder / METRICS
    if not metrics_path.is_file():
        raise UserError(
            f"{run_folder} holds no metrics.json",
            expected="the folder of a finished run",
            fix="finish the run by giving its distill command again",
        )
    metrics = _parse(metrics_path.read_bytes(), str(metrics_path))
    if metrics.get("schema") != SCHEMA or not isinstance(metrics.get("student"), dict):
        raise UserError(
            f"{metrics_path} is not a run's record of schema {SCHEMA}",
            expected=f'"schema": {SCHEMA} and a student with its scores',
            fix="write it again with this version of Stillhouse",
        )
    config_path = run_folder / RUN_CONFIG
    return RunRecord(
        name=run_folder.resolve().name,
        config=config_path.read_text(encoding="utf-8", errors="replace") if config_path.is_file() else "",
        metrics=metrics,
        log=_read_lines(run_folder / LOG),
        predictions=_read_lines(run_folder / PREDICTIONS),
    )


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    # Split on newline bytes only: text may hold other characters that Python counts as line ends.
    lines = path.read_bytes().split(b"\n")
    return [_parse(line, f"line {number} of {path}") for number, line in enumerate(lines, start=1) if line.strip()]


def _parse(content: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise UserError(
            f"{where} is damaged: {error}", expected="JSON", fix="give the run's command again with --overwrite"
        ) from error
    if not isinstance(value, dict):
        raise UserError(
            f"{where} is damaged: no JSON object", expected="a JSON object", fix="give the run's command again with --overwrite"
        )
    return value
