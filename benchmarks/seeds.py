"""The same distillation with several seeds, against the same student without a teacher: paired, over rows and seeds.

    python benchmarks/seeds.py --seeds 0,1,2 --out runs/seeds-demo [--json docs/results/demo.json] [options of distill]

The teacher is fine-tuned once and shared. Every seed is reported; the interval is a paired bootstrap's over examples and seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from stillhouse.cli.main import main as stillhouse
from stillhouse.evaluation.intervals import paired_difference_over_seeds
from stillhouse.evaluation.recorded import read_predictions, recorded_statistics
from stillhouse.files import write_json
from stillhouse.task import load_kind


def main() -> None:
    """Runs what is missing, then prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    options, rest = parser.parse_known_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    folders = [options.out / f"seed{seed}" for seed in seeds]
    for seed, folder in zip(seeds, folders, strict=True):
        try:
            stillhouse(["distill", *rest, "--baseline", "--seed", str(seed), "--out", str(folder)])
        except SystemExit as left:
            if left.code:
                raise
    metrics = [json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in folders]
    metric = load_kind(metrics[0]["task"]).main_metric
    tables = {
        role: [
            recorded_statistics(load_kind(run["task"]), run["labels"], read_predictions(folder), role)
            for run, folder in zip(metrics, folders, strict=True)
        ]
        for role in ("student", "baseline")
    }
    paired = paired_difference_over_seeds(tables["student"], tables["baseline"], metric.value)
    record = {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "environment": metrics[0]["environment"],
        "metric": metric.name,
        "splits": metrics[0]["splits"],
        "teacher": metrics[0]["teacher"]["score"],
        "seeds": [
            {
                "seed": seed,
                "student": run["student"]["score"],
                "baseline": run["baseline"]["score"],
                "agreement": run["agreement"],
                "examples_per_second": run["cost"]["examples_per_second"],
            }
            for seed, run in zip(seeds, metrics, strict=True)
        ],
        "student_minus_baseline": {"difference": paired.difference, "low": paired.low, "high": paired.high},
    }
    print(f"\n{metric.name} on {metrics[0]['splits']['validation']} validation rows; teacher {record['teacher']:.4f}")
    for row in record["seeds"]:
        print(f"  seed {row['seed']}: student {row['student']:.4f}, without teacher {row['baseline']:.4f}")
    for role in ("student", "baseline"):
        values = [row[role] for row in record["seeds"]]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"  {role}: mean {statistics.mean(values):.4f}, standard deviation {spread:.4f}")
    print(f"  student minus baseline: {paired.difference:+.4f} (95 % interval {paired.low:+.4f} to {paired.high:+.4f})")
    if options.json:
        write_json(options.json, record)


if __name__ == "__main__":
    main()
