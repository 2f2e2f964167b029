"""What speed costs: every line of a comparison in bf16 from the store, minus the same line in float32 with the teacher online.

    python benchmarks/precision.py mrpc stsb --data FOLDER [--methods logit,tinybert,minilmv2] [--json FILE]

Sets and settings are those of `benchmarks/sets.py`, but for one learning rate. Both sides have the same teacher, fitted once;
the difference is a mean over three seeds, with a 95 % interval from a paired bootstrap over rows and seeds. Given again, the
command goes on with what is missing.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from pool import finished_runs, line_statistics
from sets import SETS, STUDENT, Protocol, stage_settings

import stillhouse
from stillhouse.evaluation.intervals import Pairing, pooled_difference
from stillhouse.evaluation.metrics import main_metric
from stillhouse.files import write_json

RATE = "3e-4"


def main() -> None:
    """Runs what is missing, then prints and writes the differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", choices=SETS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", default="logit,tinybert,minilmv2")
    parser.add_argument("--out", type=Path, default=Path("runs/precision"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    record: dict[str, Any] = {"command": f"benchmarks/precision.py {' '.join(options.sets)} --methods {options.methods}"}
    record |= {"date": time.strftime("%Y-%m-%d"), "lines": []}
    for name in options.sets:
        folders = {side: options.out / f"{name}-{side}" for side in ("bf16-store", "fp32-online")}
        fast = _compare(SETS[name], options, folders["bf16-store"], precision="bf16", teacher_features="store")
        teacher = str(folders["bf16-store"] / "teacher")
        exact = _compare(
            SETS[name], options, folders["fp32-online"], precision="fp32", teacher_features="online", teacher=teacher
        )
        runs = [finished_runs(found.folder, found.results) for found in (fast, exact)]
        metric = main_metric(fast.results["task"])
        for line in sorted({line for line, _ in runs[0]}):
            seeds = [seed for seed in fast.results["seeds"] if all((line, seed) in side for side in runs)]
            sides = [line_statistics(fast.results, [side[line, seed] for seed in seeds]) for side in runs]
            found = pooled_difference([Pairing(*sides, metric.value)])
            print(
                f"{name:<10}{line:<32}{metric.name:<10}{found.difference:>+8.4f} ({found.low:+.4f} to {found.high:+.4f})",
                flush=True,
            )
            entry = {"set": name, "line": line, "metric": metric.name, "seeds": seeds}
            record["lines"].append(entry | {"difference": found.difference, "low": found.low, "high": found.high})
    if options.json:
        write_json(options.json, record)


def _compare(protocol: Protocol, options: argparse.Namespace, out: Path, **side: str) -> stillhouse.Comparison:
    return stillhouse.compare(
        data=str(options.data / protocol.folder),
        methods=options.methods,
        students=STUDENT,
        seeds=protocol.seeds,
        grid=RATE,
        changes=stage_settings(protocol, options.methods.split(",")),
        out=out,
        quiet=False,
        **side,
        **protocol.options,
    )


if __name__ == "__main__":
    main()
