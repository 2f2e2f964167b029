"""A narrower student that starts as a slice of its teacher, against one that starts with random weights, on real data sets.

    python benchmarks/starts.py stsb sst2-2000-labels --data FOLDER [--out runs/starts] [--json docs/results/starts.json]

Each set is used as by `benchmarks/sets.py`, with one learning rate. Both starts have the same seeds, rows and steps. Given
again, the command goes on with what is missing; `--only-write` writes the record of the pairs that are there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from sets import SETS, Protocol, stage_settings

import stillhouse
from stillhouse.evaluation.intervals import paired_difference_over_seeds
from stillhouse.evaluation.recorded import read_predictions, recorded_statistics
from stillhouse.files import METRICS, write_json
from stillhouse.methods import load_method
from stillhouse.task import load_kind

STARTS = ("fresh", "slice")
SEEDS = {"stsb": (0, 1, 2), "sst2-2000-labels": (0,)}


def main() -> None:
    """Runs what is missing, a seed after the other, then writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", choices=SEEDS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", default="finetune,logit,minilmv2")
    parser.add_argument("--student", default="3x312")
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--out", type=Path, default=Path("runs/starts"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only-write", action="store_true", help="run nothing: write the record of what is there")
    options = parser.parse_args()
    methods = options.methods.split(",")
    for seed in () if options.only_write else range(1 + max(map(max, SEEDS.values()))):
        for name in (name for name in options.sets if seed in SEEDS[name]):
            for method in methods:
                for start in STARTS:
                    _run(SETS[name], method, start, seed, options, options.out / name / method / f"{start}-seed{seed}")
    if options.json:
        write_json(options.json, _record(options, methods))


def _run(protocol: Protocol, method: str, start: str, seed: int, options: argparse.Namespace, out: Path) -> None:
    changes = [change.replace(f"methods.{method}.", "method.") for change in stage_settings(protocol, [method])]
    stages = dict(load_method(method)().stages)
    rates = [f"method.stages.{name}.learning_rate={options.rate}" for name, one in stages.items() if one.select_on != "none"]
    found = stillhouse.distill(
        data=str(options.data / protocol.folder),
        method=method,
        student=options.student,
        seed=seed,
        changes=[*changes, *rates, f"student.start={start}"],
        out=out,
        **protocol.options,
    )
    print(out, f"{found.metrics['student']['score']:.4f}", flush=True)


def _record(options: argparse.Namespace, methods: list[str]) -> dict[str, Any]:
    pairs = [_pair(options.out / name / method, method, name) for name in options.sets for method in methods]
    given = f"{' '.join(options.sets)} --methods {options.methods} --student {options.student}"
    found = [pair for pair in pairs if pair]
    return {
        "command": f"benchmarks/starts.py {given}",
        "date": time.strftime("%Y-%m-%d"),
        "environment": found[0].pop("environment") if found else None,
        "rate": options.rate,
        "student": options.student,
        "pairs": [{key: value for key, value in pair.items() if key != "environment"} for pair in found],
    }


def _pair(folder: Path, method: str, name: str) -> dict[str, Any] | None:
    """Both starts of a method, over the seeds that both have."""
    done = {start: {run.parent.name.split("-")[1] for run in folder.glob(f"{start}-*/{METRICS}")} for start in STARTS}
    seeds = sorted(done["fresh"] & done["slice"])
    if not seeds:
        return None
    runs = {start: [folder / f"{start}-{seed}" for seed in seeds] for start in STARTS}
    metrics = {start: [json.loads((run / METRICS).read_text(encoding="utf-8")) for run in runs[start]] for start in STARTS}
    first = metrics["slice"][0]
    kind = load_kind(first["task"])
    sides = [
        [recorded_statistics(kind, first["labels"], read_predictions(run), "student") for run in runs[start]]
        for start in reversed(STARTS)
    ]
    paired = paired_difference_over_seeds(*sides, kind.main_metric.value)
    scores = {start: [one["student"]["score"] for one in metrics[start]] for start in STARTS}
    return {
        "set": name,
        "method": method,
        "metric": kind.main_metric.name,
        "splits": first["splits"],
        "start": first["student"]["start"],
        "seeds": [int(seed.removeprefix("seed")) for seed in seeds],
        "teacher": first["teacher"] and first["teacher"]["score"],
        **{f"{start}_scores": values for start, values in scores.items()},
        **{f"{start}_mean": statistics.mean(values) for start, values in scores.items()},
        "difference": paired.difference,
        "low": paired.low,
        "high": paired.high,
        "environment": first["environment"],
    }


if __name__ == "__main__":
    main()
