"""What a method is worth over several data sets: its gain over the baseline, pooled over finished comparisons.

    python benchmarks/pool.py runs/sst2-compare runs/mrpc-compare ... [--json FILE]

For every method and student that all the comparisons have: the mean over data sets of the mean over seeds of student minus
baseline, each set weighing the same, with a 95 % interval from a paired bootstrap over rows and seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from stillhouse.evaluation.intervals import Pairing, pooled_difference
from stillhouse.evaluation.recorded import read_predictions, recorded_statistics
from stillhouse.files import write_json
from stillhouse.task import load_kind


def main() -> None:
    """Pools and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("comparisons", type=Path, nargs="+")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    contents = [json.loads((folder / "comparison.json").read_text(encoding="utf-8")) for folder in options.comparisons]
    shared = [
        line
        for line in contents[0]["pairs"]
        if all(line["line"] in {pair["line"] for pair in one["pairs"]} for one in contents)
    ]
    record: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "sets": [one["data"] for one in contents], "methods": []}
    print(f"{'':<24}" + "".join(f"{one['data']:>24}" for one in contents) + f"{'pooled':>28}")
    for line in shared:
        pairs = [next(pair for pair in one["pairs"] if pair["line"] == line["line"]) for one in contents]
        found = zip(options.comparisons, contents, pairs, strict=True)
        pooled = pooled_difference([_pairing(folder, content, pair) for folder, content, pair in found])
        cells = "".join(f"{pair['minus_baseline']:>+8.3f} ({pair['low']:+.3f} {pair['high']:+.3f})" for pair in pairs)
        print(f"{line['line']:<24}{cells}   {pooled.difference:>+8.4f} ({pooled.low:+.4f} {pooled.high:+.4f})")
        entry = {"method": line["method"], "student": line["student"], "by_set": [pair["minus_baseline"] for pair in pairs]}
        record["methods"].append(entry | {"pooled": pooled.difference, "low": pooled.low, "high": pooled.high})
    if options.json:
        write_json(options.json, record)


def _pairing(folder: Path, content: dict[str, Any], pair: dict[str, Any]) -> Pairing:
    """The predictions of a line and of its baseline, over the seeds that both have."""
    runs = finished_runs(folder, content)
    seeds = [seed for seed in content["seeds"] if {(pair["line"], seed), (pair["baseline"], seed)} <= runs.keys()]
    sides = (line_statistics(content, [runs[line, seed] for seed in seeds]) for line in (pair["line"], pair["baseline"]))
    return Pairing(*sides, load_kind(content["task"]).main_metric.value)


def finished_runs(folder: Path, content: dict[str, Any]) -> dict[tuple[str, int], Path]:
    """Folders of a comparison's finished runs by line and seed."""
    return {(row["line"], row["seed"]): folder / row["run"] for row in content["rows"] if row["status"] == "done"}


def line_statistics(content: dict[str, Any], runs: list[Path]) -> list[Any]:
    """Of the runs' students what the main metric is computed from, row by row."""
    labels = json.loads((runs[0] / "metrics.json").read_text(encoding="utf-8"))["labels"]
    return [recorded_statistics(load_kind(content["task"]), labels, read_predictions(run), "student") for run in runs]


if __name__ == "__main__":
    main()
