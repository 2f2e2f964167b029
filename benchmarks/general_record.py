"""What the runs of `general.py` found, as one record."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records import Record
from stillhouse.evaluation.intervals import Array, Pairing, paired_difference_over_seeds, pooled_difference
from stillhouse.evaluation.recorded import read_predictions, recorded_statistics
from stillhouse.files import METRICS
from stillhouse.task import load_kind

REFERENCE = {"minilm-assistant": "minilm"}  # what a start is held against; the others: a student without a corpus
SETS = ("stsb", "sst2")
LANGUAGE = ("score", "perplexity", "agreement", "kl")


def general_record(out: Path, settings: Mapping[str, Any], planned: Mapping[str, Sequence[str]]) -> Record:
    """What is there, and what is missing.

    Args:
        out: Folder of the runs.
        settings: Of all of them.
        planned: Their folders below it, by block.
    """
    folders = {block: [one for one in parts if (out / one / METRICS).exists()] for block, parts in planned.items()}
    found = {one: _metrics(out / one) for parts in folders.values() for one in parts}
    lines = [line for block, parts in folders.items() for line in _lines(out, block, parts)]
    environments = list({json.dumps(one["environment"]): one["environment"] for one in found.values()}.values())
    given = " ".join(f"--{name.replace('_', '-')} {_said(value)}" for name, value in settings.items())
    last = max(((out / one / METRICS).stat().st_mtime for one in found), default=time.time())
    return {
        "command": f"benchmarks/general.py --corpus wiki_en {given}",
        "date": time.strftime("%Y-%m-%d", time.localtime(last)),
        "environments": environments,
        "settings": dict(settings),
        "general": [_learnt(one, content) for one, content in found.items() if one.startswith("general/")],
        "probe": [_probed(one, content) for one, content in found.items() if one.startswith("probe/")],
        "tuned": [line.entry() for line in lines],
        "pooled": _pooled(lines),
        "missing": {block: [one for one in parts if one not in found] for block, parts in planned.items()},
    }


def _metrics(run: Path) -> Record:
    content: Record = json.loads((run / METRICS).read_text(encoding="utf-8"))
    return content


def _said(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _named(folder: str) -> dict[str, str]:
    """Start and shape of a student, from the folder of its run or runs."""
    start, _, student = folder.split("/")[1].rpartition("-")
    return {"start": start, "student": student}


def _learnt(folder: str, metrics: Record) -> Record:
    """A general student, before and after."""
    learnt = metrics["general"]
    after, teacher = learnt["student"], learnt["teacher"]
    stages = [{name: stage[name] for name in ("name", "steps", "seconds")} for stage in metrics["stages"]]
    return {
        **_named(folder),
        "from": after["start"],
        "corpus": learnt["corpus"],
        "stages": stages,
        "before": after["before"],
        "after": {name: after[name] for name in LANGUAGE},
        "teacher": {name: teacher[name] for name in ("name", "score", "perplexity")},
        "layers": learnt["layers"],
    }


def _probed(folder: str, metrics: Record) -> Record:
    student = metrics["general"]["student"]
    return {**_named(folder), **{name: student[name] for name in ("score", "perplexity")}}


@dataclass(frozen=True)
class _Line:
    """A start beside another on one set, over the seeds that both have.

    Attributes:
        block: Of the plan.
        folder: Of its runs.
        against: Of the other's.
        seeds: Names of the folders that both have.
        metric: Of the set.
        pairing: What both said, row by row.
    """

    block: str
    folder: str
    against: str
    seeds: tuple[str, ...]
    metric: str
    pairing: Pairing

    def entry(self) -> Record:
        found = paired_difference_over_seeds(self.pairing.statistics_a, self.pairing.statistics_b, self.pairing.value)
        sides = {"scores": self.pairing.statistics_a, "without": self.pairing.statistics_b}
        return {
            "block": self.block,
            "set": self.folder.split("/", maxsplit=1)[0],
            **_named(self.folder),
            "against": _named(self.against)["start"],
            "metric": self.metric,
            "seeds": [int(seed.removeprefix("seed")) for seed in self.seeds],
            **{side: [float(self.pairing.value(rows.sum(axis=0))) for rows in runs] for side, runs in sides.items()},
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
        }


def _lines(out: Path, block: str, folders: Sequence[str]) -> list[_Line]:
    lines = []
    for folder in dict.fromkeys(one.rpartition("/")[0] for one in folders if "/seed" in one):
        named = _named(folder)
        other = REFERENCE.get(named["start"], "none")
        against = f"{folder.split('/', maxsplit=1)[0]}/{other}-{named['student']}"
        names = (one.rpartition("/")[2] for one in folders if one.startswith(f"{folder}/"))
        seeds = tuple(name for name in names if f"{against}/{name}" in folders)
        if folder == against or not seeds:
            continue
        kind = load_kind(_metrics(out / folder / seeds[0])["task"])
        sides = ([_statistics(out / side / seed) for seed in seeds] for side in (folder, against))
        pairing = Pairing(*sides, kind.main_metric.value)
        lines.append(_Line(block, folder, against, seeds, kind.main_metric.name, pairing))
    return lines


def _statistics(run: Path) -> Array:
    metrics = _metrics(run)
    return recorded_statistics(load_kind(metrics["task"]), metrics["labels"], read_predictions(run), "student")


def _pooled(lines: Sequence[_Line]) -> list[Record]:
    """Of every start that was fine-tuned on all sets, the gain over them, each weighing the same."""
    pooled = []
    for name in dict.fromkeys(line.folder.partition("/")[2] for line in lines):
        of = [line for line in lines for data in SETS if line.folder == f"{data}/{name}"]
        if len(of) == len(SETS):
            found = pooled_difference([line.pairing for line in of])
            gained = {"difference": found.difference, "low": found.low, "high": found.high}
            pooled.append({**_named(of[0].folder), "sets": list(SETS), **gained})
    return pooled
