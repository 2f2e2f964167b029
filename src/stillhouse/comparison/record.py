"""The finished runs of a comparison -> comparison.json, which every table and plot is made from."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stillhouse.comparison.compare_config import CompareConfig
from stillhouse.comparison.folder import ComparisonFolder
from stillhouse.comparison.plan import Line, Plan
from stillhouse.evaluation.fidelity import gap_closed, retention
from stillhouse.evaluation.intervals import Array, paired_difference_over_seeds
from stillhouse.evaluation.recorded import read_predictions, recorded_agreement, recorded_statistics
from stillhouse.runs.names import data_name
from stillhouse.runs.run_folder import RunFolder
from stillhouse.task import load_kind

Key = tuple[str, int, float | None]  # a line's folder, a seed, a learning rate (None = the method's own)
MEANS = ("retention", "gap_closed", "agreement", "train_seconds", "general_seconds", "test_score")
MEASURED = ("score", "retention", "gap_closed", "agreement", "parameters", "latency_ms_p50", "train_seconds", "steps")


@dataclass
class ComparisonProgress:
    """How far a comparison is.

    Attributes:
        done: Folders of the finished runs.
        failed: Why the others failed, of those that were begun.
        selection: Score of the finished runs on the selection rows.
        rates: By line the learning rate that was chosen.
        notes: What the runs said of the teacher.
    """

    done: dict[Key, RunFolder] = field(default_factory=dict)
    failed: dict[Key, str] = field(default_factory=dict)
    selection: dict[Key, float | None] = field(default_factory=dict)
    rates: dict[str, float | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Record:
    """What comparison.json holds, of the runs that are finished so far.

    Args:
        config: The comparison.
        plan: Its lines.
        progress: What has been run.
        folder: Its folder.
        with_pairs: With all that has to be made from the rows' predictions: intervals, and the baselines' agreement.
        is_complete: Whether there is nothing left to run.
    """

    def __init__(
        self,
        config: CompareConfig,
        plan: Plan,
        progress: ComparisonProgress,
        folder: ComparisonFolder,
        *,
        with_pairs: bool,
        is_complete: bool,
    ) -> None:
        self.with_pairs, self.is_complete = with_pairs, is_complete
        self.config, self.plan, self.progress, self.folder = config, plan, progress, folder
        self.runs = {
            (line.folder, seed): progress.done[key]
            for line in plan.lines
            for seed in config.seeds
            if line.folder in progress.rates and (key := (line.folder, seed, progress.rates[line.folder])) in progress.done
        }
        self.metrics = {key: run.result() for key, run in self.runs.items()}
        self.any = next(iter(self.metrics.values()), {})
        self.taught = next((key for key, found in self.metrics.items() if found["teacher"]), None)
        self.teacher = None if self.taught is None else self.metrics[self.taught]["teacher"]

    def content(self) -> dict[str, Any]:
        rows = [self._row(line, seed) for seed in self.config.seeds for line in self.plan.lines]
        _share_latencies(rows)
        return {
            "schema": 1,
            "complete": self.is_complete,
            "data": data_name(self.config.data.task_source),
            **self._corpus(),
            "split": "validation",
            **{name: self.any.get(name) for name in ("task", "metric")},
            "teacher": self._teacher(),
            "seeds": list(self.config.seeds),
            "grid": list(self.config.grid),
            "rows": rows,
            "pairs": self._pairs() if self.with_pairs else [],
            "summary": [self._summary(line, rows) for line in self.plan.lines],
            "tries": [self._try(line, rate) for line in self.plan.lines for rate in self.config.grid if not line.refusal],
            "notes": [*self.plan.notes, *self.progress.notes],
            **{name: self.any.get(name) for name in ("splits", "latency", "environment")},
        }

    def _row(self, line: Line, seed: int) -> dict[str, Any]:
        row = {"method": line.method, "student": line.student, "start": line.start, "seed": seed}
        row |= dict.fromkeys(MEASURED)
        status, reason = self._status(line, seed)
        rate = self._rate(line)
        row |= {"status": status, "reason": reason, "line": line.folder, "learning_rate": rate, "selection": None, "run": None}
        found = self.metrics.get((line.folder, seed))
        if found is None:
            return row
        student, own = found["student"], _own_stages(found, line)
        general = found.get("general")
        baseline = self.metrics.get((line.baseline.folder, seed)) if line.baseline else None
        row |= {
            "start": student["start"] if general is None else line.start,
            "score": student["score"],
            "retention": retention(self.teacher, student),
            "gap_closed": gap_closed(self.teacher, student, baseline and baseline["student"]),
            "agreement": self._agreement((line.folder, seed)),
            "parameters": student["parameters"],
            "latency_ms_p50": student["latency_ms"]["p50"],
            "train_seconds": round(sum(stage["seconds"] for stage in own), 2),
            "steps": sum(stage["steps"] for stage in own),
            "selection": self.progress.selection[line.folder, seed, self.progress.rates[line.folder]],
            "run": self.runs[line.folder, seed].path.relative_to(self.folder.path).as_posix(),
        }
        if general is not None:
            row["general_seconds"] = round(sum(stage["seconds"] for stage in general["stages"]), 2)
        if "test" in found:
            row["test_score"] = found["test"]["student"]["score"]
        return row

    def _corpus(self) -> dict[str, str]:
        """The corpus that all students learnt from first, where there is one."""
        name = next((found["general"]["data"] for found in self.metrics.values() if "general" in found), None)
        return {} if name is None else {"corpus": name}

    def _status(self, line: Line, seed: int) -> tuple[str, str]:
        """`done`, `missing`, `failed` or `refused`, and the reason of the last two."""
        if line.refusal:
            return "refused", line.refusal
        if (line.folder, seed) in self.metrics:
            return "done", ""
        if line.folder in self.progress.rates:
            reason = self.progress.failed.get((line.folder, seed, self.progress.rates[line.folder]))
            return ("missing", "") if reason is None else ("failed", reason)
        # Before a learning rate is chosen the tries, all with the first seed, are the line's runs.
        first = self.config.seeds[0]
        tries = [self.progress.failed.get((line.folder, first, rate)) for rate in self.config.grid or (None,)]
        if any(reason is None for reason in tries):
            return "missing", ""
        return "failed", str(tries[0]) if seed == first else f"not tried: with seed {first} every learning rate failed"

    def _agreement(self, key: tuple[str, int]) -> float | None:
        """With the teacher; of a baseline, whose own run has none, with the teacher of another run on the same rows."""
        own = self.metrics[key]["agreement"]
        if own is not None or self.taught is None or not self.with_pairs:
            return None if own is None else float(own)
        teacher, student = (read_predictions(self.runs[one].path) for one in (self.taught, key))
        return recorded_agreement(load_kind(self.any["task"]), self.metrics[key]["labels"], teacher, student)

    def _rate(self, line: Line) -> float | None:
        """The learning rate of a line's last stage, where it is known."""
        if self.config.grid:
            return self.progress.rates.get(line.folder)
        return line.config.method.last_config().learning_rate

    def _teacher(self) -> dict[str, Any] | None:
        if self.teacher is None:
            return None
        latencies = [found["teacher"]["latency_ms"]["p50"] for found in self.metrics.values() if found["teacher"]]
        entry = {name: self.teacher[name] for name in ("name", "score", "interval", "parameters", "start")}
        assert self.taught is not None
        test = self.metrics[self.taught].get("test")
        return entry | {
            "latency_ms_p50": statistics.median(latencies),
            "test_score": test["teacher"]["score"] if test else None,
        }

    def _pairs(self) -> list[dict[str, Any]]:
        return [pair for line in self.plan.lines if line.baseline and (pair := self._pair(line, line.baseline))]

    def _pair(self, line: Line, baseline: Line) -> dict[str, Any] | None:
        """A line against its baseline, over the seeds that both have; None where there is none."""
        both = [seed for seed in self.config.seeds if {(line.folder, seed), (baseline.folder, seed)} <= self.runs.keys()]
        if not both:
            return None
        ours, theirs = (self._statistics((one.folder, seed) for seed in both) for one in (line, baseline))
        paired = paired_difference_over_seeds(ours, theirs, load_kind(self.any["task"]).main_metric.value)
        return {
            "method": line.method,
            "student": line.student,
            "minus_baseline": paired.difference,
            "low": paired.low,
            "high": paired.high,
            "seeds": len(both),
            "examples": len(ours[0]),
            "line": line.folder,
            "baseline": baseline.folder,
        }

    def _statistics(self, keys: Iterable[tuple[str, int]]) -> list[Array]:
        kind = load_kind(self.any["task"])
        return [
            recorded_statistics(kind, self.metrics[key]["labels"], read_predictions(self.runs[key].path), "student")
            for key in keys
        ]

    def _summary(self, line: Line, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """A line over its finished seeds."""
        own = [row for row in rows if row["line"] == line.folder and row["status"] == "done"]
        scores = [row["score"] for row in own]
        result = {
            "method": line.method,
            "student": line.student,
            "start": own[0]["start"] if own else line.start,
            "line": line.folder,
            "learning_rate": self._rate(line),
            "seeds": len(own),
            "mean": statistics.mean(scores) if own else None,
            "standard_deviation": statistics.stdev(scores) if len(own) > 1 else None,
            **{name: own[0][name] if own else None for name in ("parameters", "latency_ms_p50", "steps")},
        }
        for name in MEANS:
            values = [row[name] for row in own if row.get(name) is not None]
            result[name] = statistics.mean(values) if values else None
        return result

    def _try(self, line: Line, rate: float) -> dict[str, Any]:
        key = (line.folder, self.config.seeds[0], rate)
        status = "done" if key in self.progress.done else "failed" if key in self.progress.failed else "missing"
        chosen = self.progress.rates.get(line.folder) == rate
        said = {"line": line.folder, "learning_rate": rate, "selection": self.progress.selection.get(key)}
        return said | {"status": status, "reason": self.progress.failed.get(key, ""), "chosen": chosen}


def _own_stages(found: Mapping[str, Any], line: Line) -> list[dict[str, Any]]:
    """The student's stages on the task: no teacher's, no assistant's, and none on a corpus, which all its runs share."""
    method = line.config.method
    names = {name for name, _ in method.stages} - {*method.general_stages}
    return [stage for stage in found["stages"] if stage["name"] in names]


def _share_latencies(rows: Sequence[dict[str, Any]]) -> None:
    """One latency for all rows with the same architecture, the median of theirs: what differs between them is noise."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["latency_ms_p50"] is not None:
            groups.setdefault((row["student"], row["parameters"]), []).append(row)
    for group in groups.values():
        middle = statistics.median(row["latency_ms_p50"] for row in group)
        for row in group:
            row["latency_ms_p50"] = middle
