"""What a run produced -> metrics.json and predictions.jsonl, the record that every table and report is made from."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stillhouse.evaluation.evaluate import Predictions, Split, main_statistics
from stillhouse.evaluation.fidelity import gap_closed, retention
from stillhouse.evaluation.intervals import paired_difference
from stillhouse.evaluation.likeness import Likeness, likeness_to_teacher
from stillhouse.evaluation.scores import scores_entry
from stillhouse.files import LOG, PREDICTIONS, write_text
from stillhouse.machine.engine import environment
from stillhouse.machine.memory import peak_memory_mib
from stillhouse.measure.latency import conditions_of, forward_passes, measure_latency, random_inputs
from stillhouse.measure.size import count_parameters, weights_mib
from stillhouse.models.adapter import input_names
from stillhouse.models.model import Model
from stillhouse.runs.names import run_name
from stillhouse.runs.prepared import Prepared
from stillhouse.runs.run_folder import RunFolder
from stillhouse.training.trainer import StageResult

LATENCY_TOKENS_MINIMUM = 8


@dataclass
class Outcome:
    """What a run produced.

    Attributes:
        models: `teacher`, `student` and `baseline`, as far as they were run.
        stages: Every stage on the task in the order in which it ran.
        notes: What was said on the way, beside what `Prepared` says.
        predictions: By split (`validation`, `test`), then by model.
        seconds: What was spent outside of the stages, by part of the run.
        general: What its general phase left, where it has one.
        general_stages: Every stage of that phase which this run trained, in order.
    """

    models: dict[str, Model]
    stages: list[StageResult]
    notes: list[str] = field(default_factory=list)
    predictions: dict[str, dict[str, Predictions]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    general: dict[str, Any] | None = None
    general_stages: list[StageResult] = field(default_factory=list)


def write_outcome(folder: RunFolder, prepared: Prepared, outcome: Outcome, accelerator: Any) -> None:
    """Writes predictions, then metrics: the run counts as finished only when both are whole."""
    split = prepared.splits["validation"]
    predictions = outcome.predictions["validation"]
    teacher = predictions.get("teacher")
    likeness = {
        role: likeness_to_teacher(split, teacher, other)
        for role, other in predictions.items()
        if teacher is not None and role != "teacher"
    }
    write_text(folder / PREDICTIONS, "".join(_prediction_lines(split, predictions, likeness)))
    metrics = plain(_metrics(prepared, outcome, likeness, accelerator))
    folder.write_result(metrics, [LOG, PREDICTIONS, *folder.models])


def _metrics(prepared: Prepared, outcome: Outcome, likeness: Mapping[str, Likeness], accelerator: Any) -> dict[str, Any]:
    config, task = prepared.config, prepared.task
    models = {
        role: model_entry(model, scores_entry(prepared.splits["validation"], outcome.predictions["validation"][role]))
        for role, model in outcome.models.items()
    }
    started = time.perf_counter()
    tokens = max(LATENCY_TOKENS_MINIMUM, int(np.median(prepared.splits["validation"].tokens.lengths)))
    latency, conditions = latency_of(outcome.models, tokens)
    outcome.seconds["latency"] = time.perf_counter() - started
    for role, entry in models.items():
        entry["latency_ms"] = latency[role]
        if role in likeness:
            entry |= {"agreement": likeness[role].agreement, "kl": likeness[role].kl}
    teacher, assistant, student, baseline = (models.get(role) for role in ("teacher", "assistant", "student", "baseline"))
    assert student is not None
    result: dict[str, Any] = {
        "schema": 1,
        "data": run_name(config),
        "split": "validation",
        "task": task.kind.name,
        "method": config.method.name,
        "seed": config.seed,
        "metric": task.kind.main_metric.name,
        "teacher": teacher,
        "student": student,
    }
    if assistant is not None:
        result["assistant"] = assistant
    if baseline is not None:
        result["baseline"] = baseline
    if outcome.general is not None:
        result["general"] = outcome.general
    mine = likeness.get("student")
    result |= {
        "retention": retention(teacher, student),
        "gap_closed": gap_closed(teacher, student, baseline),
        "agreement": None if mine is None else mine.agreement,
        "kl": None if mine is None else mine.kl,
        "comparisons": _comparisons(prepared.splits["validation"], outcome.predictions["validation"]),
        "cost": cost_of(outcome.stages, outcome.seconds, general=outcome.general_stages),
        "stages": [stage_entry(stage) for stage in (*outcome.general_stages, *outcome.stages)],
        "splits": _split_sizes(prepared),
        "labels": list(task.labels),
        "notes": [*prepared.notes, *outcome.notes],
        "latency": conditions,
        "environment": environment(accelerator),
    }
    if "test" in outcome.predictions:
        result["test"] = {
            role: scores_entry(prepared.splits["test"], predictions)
            for role, predictions in outcome.predictions["test"].items()
        }
    return result


def stage_entry(stage: StageResult) -> dict[str, Any]:
    """What metrics.json says of a stage."""
    return {"name": stage.name, "steps": stage.steps, "seconds": round(stage.seconds, 2), "selection": stage.score}


def model_entry(model: Model, scores: Mapping[str, Any]) -> dict[str, Any]:
    """What metrics.json says of a model, its scores among it."""
    return {
        "name": model.name,
        **scores,
        "parameters": count_parameters(model.encoder),
        "size_mib": round(weights_mib(model.encoder), 2),
        "start": model.start,
    }


def _comparisons(split: Split, predictions: Mapping[str, Predictions]) -> dict[str, Any]:
    """Paired differences of the main score between the student and the others, each with its 95 % interval."""
    table = {role: main_statistics(split, prediction) for role, prediction in predictions.items()}
    result = {}
    for other in ("baseline", "teacher"):
        if other in table:
            metric, student = table["student"]
            paired = paired_difference(student, table[other][1], metric.value)
            result[f"student_minus_{other}"] = {
                "difference": paired.difference,
                "low": paired.low,
                "high": paired.high,
            }
    return result


def cost_of(
    stages: Sequence[StageResult], seconds: Mapping[str, float], *, general: Sequence[StageResult] = ()
) -> dict[str, Any]:
    """What metrics.json says of time and memory.

    Args:
        stages: The stages that are told apart by who learnt.
        seconds: What was spent outside of all stages, by part of the run.
        general: The stages of a general phase before them: their time is one part, `general`, with what `seconds` has of it.
    """

    def spent(role: str) -> float:
        return sum(stage.seconds for stage in stages if stage.model == role)

    own = [stage for stage in stages if stage.model == "student"]
    training, scoring, fitting = spent("student"), sum(stage.teacher_seconds for stage in own), spent("teacher")
    between = {"assistant": spent("assistant")} if any(stage.model == "assistant" for stage in stages) else {}
    alone = spent("baseline")
    parts = {"teacher": fitting, "features": scoring, **between, "student": training, "baseline": alone, **seconds}
    if general:
        on_text = sum(stage.seconds + stage.teacher_seconds for stage in general)
        parts["general"] = parts.get("general", 0.0) + on_text
    return {
        "train_seconds": round(training, 2),
        "teacher_seconds": round(fitting + scoring, 2),
        "examples_per_second": round(sum(stage.examples for stage in own) / max(training + scoring, 1e-9), 1),
        "peak_memory_mib": round(peak_memory_mib(), 1),
        "parts": {name: round(seconds, 2) for name, seconds in parts.items()},
    }


def _split_sizes(prepared: Prepared) -> dict[str, int]:
    sizes = {name: len(split.examples) for name, split in prepared.splits.items()}
    return {"train": sizes.pop("train"), "labelled": len(prepared.splits["train"].examples.labelled), **sizes}


def latency_of(models: Mapping[str, Model], tokens: int) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Milliseconds that a single text of so many tokens takes, all models measured in turn; and how that was measured."""
    inputs = {
        role: random_inputs(model.encoder, batch=1, tokens=tokens, names=input_names(model.encoder))
        for role, model in models.items()
    }
    encoders = {role: model.encoder for role, model in models.items()}
    # In fp32, as plain transformers runs the saved model: under autocast a pass would mostly cast weights.
    with forward_passes(encoders, inputs) as passes:
        measured = measure_latency(passes)
    held = conditions_of(*next(zip(encoders.values(), inputs.values(), strict=True)))
    conditions = {name: getattr(held, name) for name in ("batch", "tokens", "threads", "precision")}
    return {role: {"p50": value.p50_ms, "p95": value.p95_ms} for role, value in measured.items()}, conditions


def _prediction_lines(split: Split, predictions: Mapping[str, Predictions], likeness: Mapping[str, Likeness]) -> Iterator[str]:
    examples, task = split.examples, split.task
    for row in range(len(examples)):
        line: dict[str, Any] = {"id": examples.ids[row], "text": examples.text[row]}
        if examples.text_pair is not None:
            line["text_pair"] = examples.text_pair[row]
        line["gold"] = task.kind.to_names(examples.labels[row], task)
        line |= {role: task.kind.written(split, prediction, row) for role, prediction in predictions.items()}
        if "student" in likeness and likeness["student"].per_example is not None:
            line["kl"] = round(float(likeness["student"].per_example[row]), 6)
        yield json.dumps(plain(line), ensure_ascii=False) + "\n"


def plain(value: Any) -> Any:
    """NumPy numbers as Python's, and numbers that JSON does not have as null."""
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
