"""The comparisons behind the documentation: the methods that look inside the teacher, and logit, on real data sets.

    python benchmarks/sets.py sst2 mrpc --data FOLDER [--out runs/sets] [--json docs/results]

`--data` is a folder with a folder for each set. Every method of a set is trained for as many epochs, in one stage or in two,
and so is the baseline; every line has the same learning rates to choose from on the selection rows, on some sets a single
one, to save time. Given again, the command goes on with what is missing. Other students than the usual one make a comparison
of their own, `SET-STUDENTS`.
`benchmarks/pool.py` pools the finished comparisons.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import stillhouse
from stillhouse.files import write_json
from stillhouse.methods import load_method

METHODS = "logit,pkd,tinybert,minilmv2,theseus"
STUDENT = "3x384"
GRID = "1e-4,3e-4"


@dataclass(frozen=True)
class Protocol:
    """How a set is used.

    Attributes:
        folder: Its name below `--data`.
        first: Epochs of the first of two stages.
        last: Epochs of the second; a method of one stage has both.
        teacher: Epochs of the teacher.
        teacher_rate: Its learning rate.
        inside_rate: Of the stages that train no head: no score chooses it.
        seeds: Of the students.
        grid: Learning rates of every line.
        accumulate: Micro-batches a step: dropout on long texts takes much memory on a CPU.
        options: Of `compare`.
    """

    folder: str
    first: int = 2
    last: int = 1
    teacher: int = 3
    teacher_rate: float = 1e-4
    inside_rate: float = 3e-4
    seeds: str = "0,1,2"
    grid: str = GRID
    accumulate: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)


SETS = {
    "sst2": Protocol("sst2", options={"max_train": 20000}),
    "sst2-2000-labels": Protocol("sst2", teacher=5, options={"max_train": 12000, "max_labels": 2000}),
    "mrpc": Protocol("mrpc", first=7, last=3, teacher=5),
    "stsb": Protocol("stsb", first=4, last=2, teacher=5),
    "conll2003": Protocol("conll2003"),
    "conll2003-long": Protocol("conll2003", first=4, last=2, grid="3e-4,1e-3"),
    "conll2003-taught": Protocol("conll2003", teacher=6, teacher_rate=3e-4, inside_rate=1e-3, grid="3e-4"),
    "rte": Protocol("rte", first=4, last=2, teacher=5, seeds="0", grid="3e-4"),
    "qqp": Protocol("qqp_lite", seeds="0", grid="3e-4"),
    "squad2": Protocol("squad2", seeds="0", grid="3e-4", accumulate=4),
}


def main() -> None:
    """Runs what is missing of each set, then writes its record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", choices=SETS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--students", default=STUDENT)
    parser.add_argument("--seeds", help="[the set's]")
    parser.add_argument("--out", type=Path, default=Path("runs/sets"))
    parser.add_argument("--json", type=Path, help="folder of the records")
    options = parser.parse_args()
    for name in options.sets:
        protocol = SETS[name]
        title = name if options.students == STUDENT else f"{name}-{options.students}"
        found = stillhouse.compare(
            data=str(options.data / protocol.folder),
            methods=options.methods,
            students=options.students,
            seeds=options.seeds or protocol.seeds,
            grid=protocol.grid,
            changes=stage_settings(protocol, options.methods.split(",")),
            out=options.out / title,
            quiet=False,
            **protocol.options,
        )
        if options.json:
            given = "".join(
                f" --{key} {getattr(options, key)}" for key in ("methods", "students", "seeds") if getattr(options, key)
            )
            record = {"command": f"benchmarks/sets.py {name}{given}", "date": time.strftime("%Y-%m-%d"), **_record(found)}
            write_json(options.json / f"methods-{title}.json", record)


def stage_settings(protocol: Protocol, methods: list[str]) -> list[str]:
    """What a protocol says of the teacher's and the methods' stages, as `--set` takes it."""
    changes = [
        f"teacher.finetune.epochs={protocol.teacher}",
        f"teacher.finetune.learning_rate={protocol.teacher_rate}",
        f"teacher.finetune.accumulate={protocol.accumulate}",
    ]
    for method in methods:
        settings = load_method(method)()
        stages = {name: stage for name, stage in settings.stages if name not in settings.general_stages}
        epochs = (protocol.first, protocol.last) if len(stages) == 2 else (protocol.first + protocol.last,)
        for (name, stage), share in zip(stages.items(), epochs, strict=True):
            changes.append(f"methods.{method}.stages.{name}.epochs={share}")
            changes.append(f"methods.{method}.stages.{name}.accumulate={protocol.accumulate}")
            if stage.select_on == "none":
                changes.append(f"methods.{method}.stages.{name}.learning_rate={protocol.inside_rate}")
    return changes


def _record(found: stillhouse.Comparison) -> dict[str, Any]:
    """Of comparison.json what the documentation speaks of."""
    content = found.results
    kept = ("data", "task", "metric", "splits", "teacher", "grid", "summary", "pairs", "tries", "environment")
    names = ("line", "seed", "selection", "score", "agreement", "train_seconds", "status")
    rows = [{name: row[name] for name in names} for row in content["rows"]]
    for row, entry in zip(content["rows"], rows, strict=True):
        if row["status"] == "done":
            metrics = json.loads((found.folder / row["run"] / "metrics.json").read_text(encoding="utf-8"))
            entry["scores"] = metrics["student"]["scores"]
    return {name: content[name] for name in kept} | {"rows": rows}


if __name__ == "__main__":
    main()
