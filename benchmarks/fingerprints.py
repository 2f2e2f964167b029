"""What small runs give, to the bit: every method on every kind of task. A change that alters no result alters none of it.

    python -m benchmarks.fingerprints before.json            # in one checkout
    python -m benchmarks.fingerprints after.json             # in the other
    python -m benchmarks.fingerprints after.json --against before.json

Takes minutes. The same numbers are given by the same versions on the same processor with one thread; on another they differ.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

# Of metrics.json what is measured anew at every run.
TIMED = {"checksums", "seconds", "latency_ms", "latency", "environment", "cost"}
TIMED_LINE = re.compile(r"times as| ms |as fast|^Where the time went|^ +[\d.]+ (s|min|h) ")


def main() -> None:
    """Runs what is asked for, and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path, help="JSON file to write")
    parser.add_argument("--against", type=Path, help="an earlier record: what differs is named, and the exit status is 1")
    parser.add_argument("--demo", action="store_true", help="the demo's run too, which takes minutes more")
    given = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    before = {} if given.against is None else json.loads(given.against.read_text(encoding="utf-8"))
    record = fingerprints(demo=given.demo)
    given.record.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    differing = [name for name in before if before[name] != record.get(name)]
    print(f"{len(record)} runs" + (f", {len(differing)} of {len(before)} differ" if before else ""))
    for name in differing:
        print(f"  {name}: {', '.join(key for key in before[name] if before[name][key] != record.get(name, {}).get(key))}")
    sys.exit(bool(differing))


def fingerprints(*, demo: bool) -> dict[str, dict[str, Any]]:
    """By task and method: digests of student and predictions, and what the run recorded."""
    from tests.tiny_models import make_tiny_checkpoint
    from tests.toy_data import TASKS

    from stillhouse.methods import method_names

    record = {}
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        os.environ["STILLHOUSE_CACHE"] = f"{name}/cache"
        make_tiny_checkpoint("bare", "bert", layers=4)
        for task, write in TASKS.items():
            Path(task).mkdir()
            data = write(Path(task), rows=120)
            for method in method_names():
                options = f"--data {data} --teacher bare --method {method} --student 2x24 --max-length 32 --precision fp32"
                options += " --allow-weak-teacher --set teacher.finetune.epochs=2" + stages(method)
                options += "" if method == "finetune" else " --baseline"
                record[f"{task} {method}"] = run(f"runs/{task}-{method}", options)
        if demo:
            record["demo"] = run("runs/demo", "--precision fp32")
    return record


def stages(method: str) -> str:
    """Options that make every stage of a method two epochs long."""
    from stillhouse.methods import load_method

    names = load_method(method).model_validate({}).stages.model_dump()
    return "".join(f" --set method.stages.{name}.epochs=2 --set method.stages.{name}.learning_rate=0.001" for name in names)


def run(out: str, options: str) -> dict[str, Any]:
    """One run's fingerprint."""
    from stillhouse.cli.main import main

    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            main(["distill", *options.split(), "--out", out])
        except SystemExit as left:  # as a command ends
            if left.code:
                raise
    print(out, flush=True)
    folder = Path(out)
    lines = [line for line in said.getvalue().splitlines() if not TIMED_LINE.search(line)]
    return {
        "student": digest(folder / "student" / "model.safetensors"),
        "predictions": digest(folder / "predictions.jsonl"),
        "metrics": timeless(json.loads((folder / "metrics.json").read_text(encoding="utf-8"))),
        "said": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        "files": sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()),
    }


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def timeless(value: Any) -> Any:
    """A record without what is measured anew at every run."""
    if isinstance(value, dict):
        return {name: timeless(entry) for name, entry in value.items() if name not in TIMED}
    return [timeless(entry) for entry in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
