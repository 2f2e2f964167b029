"""What a run on a corpus alone left -> metrics.json, as the run of a task has it."""

from __future__ import annotations

import time
from typing import Any

from stillhouse.evaluation.fidelity import retention
from stillhouse.files import LOG
from stillhouse.machine.engine import environment
from stillhouse.report.general_words import PRETRAINING
from stillhouse.runs.general import General
from stillhouse.runs.general_run import GeneralOutcome
from stillhouse.runs.names import run_name
from stillhouse.runs.outcome import cost_of, latency_of, plain, stage_entry
from stillhouse.runs.run_folder import RunFolder


def write_general_outcome(
    folder: RunFolder, general: General, outcome: GeneralOutcome, seconds: dict[str, float], accelerator: Any
) -> None:
    """Writes metrics.json: the run counts as finished then."""
    folder.write_result(plain(_metrics(general, outcome, seconds, accelerator)), [LOG, *folder.models])


def _metrics(general: General, outcome: GeneralOutcome, seconds: dict[str, float], accelerator: Any) -> dict[str, Any]:
    record, config = outcome.record, general.config
    started = time.perf_counter()
    latency, conditions = latency_of({str(role): model for role, model in outcome.models.items()}, config.corpus.block_length)
    seconds |= {"scoring": outcome.seconds, "latency": time.perf_counter() - started}
    models = {
        role: {**record[role], "ece": None, "latency_ms": latency[role]}
        for role in ("teacher", "assistant", "student")
        if record.get(role) is not None
    }
    student, teacher = models["student"], models.get("teacher")
    return {
        "schema": 1,
        "data": run_name(config),
        "split": "held_out",
        "task": PRETRAINING,
        "method": config.method.name,
        "seed": config.seed,
        "metric": record["metric"],
        "teacher": None,
        **models,
        "retention": retention(teacher, student),
        "gap_closed": None,
        "agreement": student["agreement"],
        "kl": student["kl"],
        "comparisons": {},
        "cost": cost_of(outcome.stages, seconds),
        "stages": [stage_entry(stage) for stage in outcome.stages],
        "splits": {name: count for name, count in record["splits"].items() if name != "block_length"},
        "labels": [],
        "notes": record["notes"],
        "latency": conditions,
        "environment": environment(accelerator),
        "general": record,
    }
