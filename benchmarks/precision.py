"""What speed costs: every line of a comparison in bf16 from the store, minus the same line in float32 with the teacher online.

    python benchmarks/precision.py mrpc stsb --data FOLDER [--methods tinybert] [--json FILE]

Sets and settings are those of `benchmarks/sets.py`, but for one learning rate and, to save time, three epochs (in two stages
two and one). The teacher is fitted first, and both sides are given it: so that their students start from the same layers, its
own. The difference is a mean over three seeds, with a 95 % interval from a paired bootstrap over rows and seeds. Given again,
the command goes on with what is missing.

A processor without an instruction for bf16 products rounds as one that has it (`bf16_products.py`).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bf16_products import multiply_in_float32
from pool import finished_runs, line_statistics
from sets import SETS, STUDENT, Protocol, stage_settings

import stillhouse
from stillhouse.evaluation.intervals import Pairing, pooled_difference
from stillhouse.files import write_json
from stillhouse.machine.engine import has_bfloat16
from stillhouse.task import load_kind

RATE = "3e-4"


def main() -> None:
    """Runs what is missing, then prints and writes the differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", choices=SETS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", default="tinybert")
    parser.add_argument("--out", type=Path, default=Path("runs/precision"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    record: dict[str, Any] = {"command": f"benchmarks/precision.py {' '.join(options.sets)} --methods {options.methods}"}
    record |= {"date": time.strftime("%Y-%m-%d"), "bf16_products": "bf16" if has_bfloat16() else "float32, rounded to bf16"}
    record |= {"sets": [], "lines": []}
    if not has_bfloat16():
        multiply_in_float32()
    for name in options.sets:
        protocol = replace(SETS[name], first=2, last=1, teacher=3, grid=RATE)
        teacher = _fitted_teacher(protocol, options, options.out / f"{name}-teacher")
        fast, exact = (
            _compare(protocol, options, options.out / f"{name}-{side}", teacher, precision=precision, teacher_features=source)
            for side, precision, source in (("bf16-store", "bf16", "store"), ("fp32-online", "fp32", "online"))
        )
        starts = [{line["line"]: line["start"] for line in side.results["summary"]} for side in (fast, exact)]
        if starts[0] != starts[1]:
            sys.exit(f"the students of the two sides do not start alike: {starts[0]} and {starts[1]}")
        runs = [finished_runs(found.folder, found.results) for found in (fast, exact)]
        metric = load_kind(fast.results["task"]).main_metric
        about = {"set": name, "protocol": asdict(protocol), "teacher": fast.results["teacher"]["score"]}
        record["sets"].append(about | {"environments": [side.results["environment"] for side in (fast, exact)]})
        for line in sorted({line for line, _ in runs[0]}):
            seeds = [seed for seed in fast.results["seeds"] if all((line, seed) in side for side in runs)]
            sides = [line_statistics(fast.results, [side[line, seed] for seed in seeds]) for side in runs]
            scores = [[float(metric.value(rows.sum(axis=0))) for rows in side] for side in sides]
            means = [statistics.mean(values) for values in scores]
            found = pooled_difference([Pairing(*sides, metric.value)])
            print(
                f"{name:<10}{line:<32}{metric.name:<10}{means[0]:8.4f} - {means[1]:.4f} = {found.difference:+.4f}"
                f" ({found.low:+.4f} to {found.high:+.4f})",
                flush=True,
            )
            entry = {"set": name, "line": line, "metric": metric.name, "seeds": seeds}
            entry |= {"bf16_from_the_store": scores[0], "fp32_online": scores[1]}
            record["lines"].append(entry | {"difference": found.difference, "low": found.low, "high": found.high})
    if options.json:
        write_json(options.json, record)


def _fitted_teacher(protocol: Protocol, options: argparse.Namespace, out: Path) -> str:
    """Fits it, and trains a student for a moment."""
    stillhouse.distill(
        data=str(options.data / protocol.folder),
        student=STUDENT,
        method="logit",
        epochs=0.01,
        changes=stage_settings(protocol, []),
        precision="fp32",
        out=out,
        quiet=False,
        **protocol.options,
    )
    return str(out / "teacher")


def _compare(
    protocol: Protocol, options: argparse.Namespace, out: Path, teacher: str, *, precision: str, teacher_features: str
) -> stillhouse.Comparison:
    return stillhouse.compare(
        data=str(options.data / protocol.folder),
        teacher=teacher,
        precision=precision,
        teacher_features=teacher_features,
        methods=options.methods,
        students=STUDENT,
        seeds=protocol.seeds,
        grid=protocol.grid,
        changes=stage_settings(protocol, options.methods.split(",")),
        out=out,
        quiet=False,
        **protocol.options,
    )


if __name__ == "__main__":
    main()
