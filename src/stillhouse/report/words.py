"""The outcome of a run in words that a newcomer understands, and the way in which its numbers are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ERRORS = frozenset({"mse", "rmse", "mae"})
CORRELATIONS = frozenset({"pearson", "spearman", "mcc"})
ROLES = ("teacher", "assistant", "student", "baseline")
LEAST_SECONDS = 0.05  # a part of a run that took less took no time

_METRIC_NAMES = {
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "mcc": "Matthews correlation",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "span_f1": "span F1",
    "token_accuracy": "accuracy by word",
    "exact": "exact match",
    "HasAns_exact": "exact match, answerable",
    "HasAns_f1": "F1, answerable",
    "NoAns_exact": "exact match, unanswerable",
    "NoAns_f1": "F1, unanswerable",
    "f1": "F1",
    "mse": "mean squared error",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "ece": "calibration error",
}
_AGREEMENT = {
    "classification": "Student and teacher give the same answer for {share} of the rows.",
    "multilabel": "Student and teacher agree on {share} of the label decisions.",
    "tagging": "Student and teacher give the same tag to {share} of the words.",
    "qa": "Student and teacher give the same answer to {share} of the questions.",
    "pretraining": "Student and teacher give the same token at {share} of the masked positions.",
}
_PARTS = {
    "preparing": "data and models",
    "assistant": "the assistant's training",
    "general": "training on plain text",
    "teacher": "the teacher's training",
    "features": "features of the teacher",
    "student": "the student's training",
    "baseline": "the same student without the teacher",
    "scoring": "scoring",
    "latency": "latency",
}
_UNITS = {"qa": "question", "tagging": "sentence"}


def task_lines(metrics: Mapping[str, Any]) -> list[str]:
    """What a run showed of its task, one plain sentence a line: scores, what the teacher added, sizes, speed, and how sure.

    Args:
        metrics: The content of a run's metrics.json.
    """
    lines = [headline(metrics), _difference_to_teacher(metrics), _teacher_added(metrics), agreement(metrics), costs(metrics)]
    return [line for line in [*lines, _test_split(metrics), _reach(metrics)] if line]


def time_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Where a run's time went, a part a line; nothing for records that do not know it.

    Args:
        metrics: The content of a run's metrics.json.
    """
    spent = time_by_part(metrics.get("cost") or {})
    if not spent:
        return []
    said = [duration(seconds) for _, seconds in spent]
    width = max(map(len, said))
    lines = [f"  {time:>{width}}  {name}" for time, (name, _) in zip(said, spent, strict=True)]
    return [f"Where the time went ({duration(sum(seconds for _, seconds in spent))}):", *lines]


def time_by_part(cost: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The parts of a run that took time, in their order, with their seconds."""
    parts = cost.get("parts") or {}
    named = _PARTS | {part: str(part).replace("_", " ") for part in parts if part not in _PARTS}
    return [(name, float(parts[part])) for part, name in named.items() if parts.get(part, 0.0) >= LEAST_SECONDS]


def metric_name(metric: str) -> str:
    """A metric's name as it is said: `macro_f1` -> macro F1."""
    return _METRIC_NAMES.get(metric, metric.replace("_", " "))


def score(value: float | None) -> str:
    """A score with three decimals."""
    return "–" if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """A difference with its sign; one that rounds to zero has none."""
    if value is None:
        return "–"
    text = f"{value:+.3f}"
    return text[1:] if float(text) == 0 else text


def interval(low: float, high: float) -> str:
    """A 95 % interval of a difference, in words."""
    return f"95 % interval {signed(low)} to {signed(high)}"


def percent(share: float) -> str:
    """A share of 0..1 with one decimal; what is not quite everything never reads 100.0 %."""
    value = round(100 * share, 1)
    if value == 100 and share < 1:
        value = 99.9
    return f"{value:.1f} %"


def count(number: float | None) -> str:
    """A large number for people: 22,713,216 -> 22.7 M."""
    if number is None:
        return "–"
    for scale, unit in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if number >= scale * 0.9995:
            value = number / scale
            return f"{value:.0f}{unit}" if value >= 99.95 else f"{value:.1f}{unit}"
    return f"{number:.0f}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 3.2 s, 4 min 5 s, 2 h 10 min."""
    if seconds is None:
        return "–"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def milliseconds(value: float | None) -> str:
    """A latency: two decimals below 10 ms, one below 100 ms, none above."""
    if value is None:
        return "–"
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} ms"


def mebibytes(value: float | None) -> str:
    """A size in MiB."""
    return "–" if value is None else f"{value:.{1 if value < 999.95 else 0}f} MiB"


def typeset(sentence: str) -> str:
    """A sentence of this module as a printer would set it: true minus signs, no line break inside `95 %`."""
    return re.sub(r"(?<![\w.])-(?=\d)", "−", sentence).replace(" %", "\u00a0%").replace(" ms", "\u00a0ms")


def verdict(low: float, high: float, metric: str) -> int:
    """What a difference's 95 % interval says: 1 = better beyond noise, -1 = worse beyond noise, 0 = within noise."""
    if metric in ERRORS:
        low, high = -high, -low
    return 1 if low > 0 else -1 if high < 0 else 0


def latency(model: Mapping[str, Any] | None, quantile: str = "p50") -> float | None:
    """A model's latency in ms at a quantile; None where it was not measured."""
    value = ((model or {}).get("latency_ms") or {}).get(quantile)
    return None if value is None else float(value)


def speed(metrics: Mapping[str, Any]) -> float | None:
    """How many times as fast as the teacher the student answers (median latency); None where not measured."""
    teacher, student = latency(metrics.get("teacher")), latency(metrics.get("student"))
    return teacher / student if teacher and student else None


def conditions(metrics: Mapping[str, Any]) -> str:
    """Under what conditions latency was measured: `batch 1, 32 tokens, 2 threads, fp32`."""
    measured = metrics.get("latency") or {}
    parts = []
    if "batch" in measured:
        parts.append(f"batch {measured['batch']}")
    for key in ("tokens", "threads"):
        if key in measured:
            parts.append(f"{measured[key]} {key if measured[key] != 1 else key[:-1]}")
    if "precision" in measured:
        parts.append(str(measured["precision"]))
    return ", ".join(parts)


def headline(metrics: Mapping[str, Any]) -> str:
    """The main score, beside the teacher's where there is one, and what the student saves."""
    metric, student, teacher = str(metrics["metric"]), metrics["student"], metrics.get("teacher")
    name = metric_name(metric)
    ours = float(student["score"])
    if teacher is None:
        return (
            f"The model reaches {_article(name)} {name} of {score(ours)}{_within(student)}; it was trained without a teacher."
        )
    theirs = float(teacher["score"])
    saved = gains(metrics)
    lower = " (lower is better)" if metric in ERRORS else ""
    if score(ours) == score(theirs):
        return f"The student matches the teacher's {name} ({score(theirs)}{lower.replace(' (', '; ').rstrip(')')}){saved}."
    is_above = ours < theirs if metric in ERRORS else ours > theirs
    outcome = _outcome(metrics, "student_minus_teacher")
    if is_above and outcome is not None:
        said = "scores better than its teacher" if outcome > 0 else "scores as well as its teacher, within noise"
        return f"The student {said}: {name} {score(ours)} against {score(theirs)}{lower}{saved}."
    if is_above or metric in ERRORS or metric in CORRELATIONS or metrics.get("retention") is None or theirs <= 0:
        return f"The student's {name} is {score(ours)}, the teacher's {score(theirs)}{lower}{in_sentence(saved)}."
    return (
        f"The student keeps {percent(metrics['retention'])} of the teacher's {name} ({score(ours)} of {score(theirs)}){saved}."
    )


def gains(metrics: Mapping[str, Any]) -> str:
    """` with 23 % fewer parameters and answers 1.9 times as fast`, as far as both models were measured."""
    parts = []
    teacher, student = metrics["teacher"].get("parameters"), metrics["student"].get("parameters")
    if teacher and student:
        share = student / teacher - 1
        if abs(share) < 0.005:
            parts.append("with as many parameters")
        else:
            decimals = 1 if 0.985 < -share < 1 else 0
            parts.append(f"with {100 * abs(share):.{decimals}f} % {'fewer' if share < 0 else 'more'} parameters")
    ratio = speed(metrics)
    if ratio is not None:
        if round(ratio, 1) == 1:
            parts.append("answers about as fast")
        elif ratio > 1:
            parts.append(f"answers {_times(ratio)} times as fast")
        else:
            parts.append(f"takes {_times(1 / ratio)} times as long to answer")
    return " " + " and ".join(parts) if parts else ""


def in_sentence(saved: str) -> str:
    """`gains` after a statement about something else."""
    return f"; the student comes{saved}" if saved.startswith(" with") else f"; the student{saved}" if saved else ""


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


def _comparison(metrics: Mapping[str, Any], name: str) -> tuple[float, float, float] | None:
    found = (metrics.get("comparisons") or {}).get(name)
    return None if found is None else (float(found["difference"]), float(found["low"]), float(found["high"]))


def _outcome(metrics: Mapping[str, Any], name: str) -> int | None:
    """The `verdict` on one of a run's comparisons; None where it has no interval."""
    found = _comparison(metrics, name)
    return None if found is None else verdict(found[1], found[2], str(metrics["metric"]))


def _difference_to_teacher(metrics: Mapping[str, Any]) -> str:
    found = _comparison(metrics, "student_minus_teacher") if metrics.get("teacher") else None
    if found is None:
        return ""
    difference, low, high = found
    noise = "more than noise" if _outcome(metrics, "student_minus_teacher") else "within noise"
    return f"Student minus teacher is {signed(difference)} ({interval(low, high)}), which is {noise}."


def _teacher_added(metrics: Mapping[str, Any]) -> str:
    baseline = metrics.get("baseline")
    if metrics.get("teacher") is None:
        return ""
    if baseline is None:
        return "The same student was not trained without the teacher, so this run cannot say what the teacher added."
    alone = f"The same student trained without the teacher gets {score(float(baseline['score']))}"
    found = _comparison(metrics, "student_minus_baseline")
    if found is None:
        difference = float(metrics["student"]["score"]) - float(baseline["score"])
        return f"{alone}; the difference is {signed(difference)}, and no interval says whether that is noise."
    difference, low, high = found
    said = f"{alone}; the difference is {signed(difference)} ({interval(low, high)}), which is"
    outcome = verdict(low, high, str(metrics["metric"]))
    if outcome > 0:
        closed = metrics.get("gap_closed")
        # A share of a gap means something only where the student lies between its baseline and its teacher.
        share = f" and closed {percent(closed)} of the gap to it" if closed is not None and 0 < closed <= 1 else ""
        return f"{said} above noise: the teacher helped{share}."
    if outcome < 0:
        return f"{said} worse by more than noise: here the teacher did harm."
    return f"{said} within noise: this run does not show that the teacher helped."


def agreement(metrics: Mapping[str, Any]) -> str:
    """How often student and teacher say the same; "" where nobody knows."""
    value = metrics.get("agreement")
    if value is None or metrics.get("teacher") is None:
        return ""
    if metrics.get("task") in _AGREEMENT:
        return _AGREEMENT[metrics["task"]].format(share=percent(value))
    return f"The student's outputs correlate with the teacher's at {score(value)} (Pearson)."


def costs(metrics: Mapping[str, Any]) -> str:
    """Parameters, size and latency of the student, with the teacher's."""
    student, teacher = metrics["student"], metrics.get("teacher") or {}
    parts = [_instead(count, student.get("parameters"), teacher.get("parameters"), " parameters")]
    parts.append(_instead(mebibytes, student.get("size_mib"), teacher.get("size_mib")))
    one_at_a_time = (metrics.get("latency") or {}).get("batch", 1) == 1
    unit = " a " + (_UNITS.get(str(metrics.get("task")), "text") if one_at_a_time else "batch")
    time = _instead(milliseconds, latency(student), latency(teacher), unit)
    if time:
        stated = conditions(metrics)
        parts.append(time + (f" ({stated})" if stated else ""))
    said = "; ".join(part for part in parts if part)
    return f"Size and speed: {said}." if said else ""


def _instead(write: Any, student: float | None, teacher: float | None, unit: str = "") -> str:
    if student is None:
        return ""
    return f"{write(student)}{unit}" + (f" instead of {write(teacher)}" if teacher is not None else "")


def _test_split(metrics: Mapping[str, Any]) -> str:
    test = metrics.get("test") or {}
    names = {role: f"the {role}" for role in ROLES} | {"baseline": "the student without the teacher"}
    if metrics.get("teacher") is None:
        names["student"] = "the model"
    said = [f"{names[role]} {score(test[role]['score'])}" for role in ROLES if test.get(role)]
    return f"On the test split: {', '.join(said)}." if said else ""


def _reach(metrics: Mapping[str, Any]) -> str:
    split = metrics.get("split", "validation")
    rows = (metrics.get("splits") or {}).get(split)
    shown = f" ({rows:,} rows)" if isinstance(rows, int) else ""
    seeds = "; intervals are over its rows, not over seeds" if metrics["student"].get("interval") else ""
    return f"Scored once, on the {split} split of {metrics.get('data', 'the data')}{shown}, with one seed{seeds}."


def _within(model: Mapping[str, Any]) -> str:
    bounds = model.get("interval")
    return f" (95 % interval {score(bounds[0])} to {score(bounds[1])})" if bounds else ""


def _article(name: str) -> str:
    return "an" if name[0].lower() in "aeiou" or name == "F1" else "a"
