"""Speed and memory of the main loop, as ratios measured side by side in one process.

    python benchmarks/throughput.py [--data FOLDER] [--rows 3200] [--rounds 3] [--json FILE]

Teacher: the bundled all-MiniLM-L6-v2 with a fresh head (speed does not depend on its values). Student: 3x384. Batch 32.
Every figure is a median over rounds in which the compared sides run in turn; the spread is printed beside it.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional as F

from stillhouse.benchmark.memory import peak_memory_mib
from stillhouse.config import DataConfig, EngineConfig, StageConfig
from stillhouse.data.batch import Batch, Rows, TokenizedSplit, tokenized_split
from stillhouse.data.dataset import load_dataset
from stillhouse.data.tokenize import encode
from stillhouse.files import write_json
from stillhouse.method import Stage
from stillhouse.methods.finetune import Finetune
from stillhouse.methods.logit import Logit
from stillhouse.models.adapter import dimensions
from stillhouse.models.checkpoint import find_checkpoint
from stillhouse.models.forward import compute_logits
from stillhouse.models.loading import load_encoder, load_tokenizer
from stillhouse.students.build import build_student
from stillhouse.training.engine import build_accelerator, environment, resolve_precision
from stillhouse.training.log import RunLog
from stillhouse.training.stages import Workshop, run_stages


class PaddedTo(TokenizedSplit):
    """The same rows, every batch padded to a fixed length: what many published scripts do."""

    length = 128

    def batch(self, rows: Rows) -> Batch:
        batch = super().batch(rows)
        missing = self.length - batch.student_inputs["input_ids"].shape[1]
        padded = {name: F.pad(tensor, (0, missing)) for name, tensor in batch.student_inputs.items()}
        return replace(batch, student_inputs=padded, teacher_inputs=padded)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="pydocs")
    parser.add_argument("--rows", type=int, default=3200, help="training rows of a measured epoch")
    parser.add_argument("--slow-rows", type=int, default=320, help="rows of an epoch of the padded loop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not Path(options.data).exists() and "/" in options.data:
        sys.exit(f"{options.data} is not here: give --data a folder with classification data, or a built-in name")

    torch.manual_seed(0)
    dataset = load_dataset(DataConfig(source=options.data, max_train=options.rows + 1000))
    checkpoint = find_checkpoint("offline")
    tokenizer = load_tokenizer(checkpoint)
    teacher, _ = load_encoder(checkpoint, dataset.task)
    student, _ = build_student(
        "3x384",
        teacher=teacher,
        teacher_checkpoint_name=checkpoint.name,
        task=dataset.task,
        layers_rule=Logit().copied_layers,
    )
    rows = dataset.train.select(range(min(options.rows, len(dataset.train))))
    split = tokenized_split(rows, dataset.task, encode(rows, dataset.task, tokenizer, max_length=128))
    few = split.select(torch.randperm(len(split))[: options.slow_rows].numpy())
    padded = PaddedTo(few.task, few.student, few.teacher, few.labels, few.has_label)
    precision = resolve_precision("auto")

    def epoch(rows: TokenizedSplit, *, distil: bool, features: str = "auto", precision: str = precision) -> float:
        """Examples a second of one epoch, the teacher's scoring included; nothing is saved or selected on the way."""
        kind = dataset.task.kind
        sizes = dimensions(student.config), dimensions(teacher.config)
        (stage,) = (Logit() if distil else Finetune()).plan(kind, *sizes)
        stage = Stage(stage.name, stage.objectives, StageConfig(epochs=1, batch_size=32))
        engine = EngineConfig(precision=precision, log_every=10_000, checkpoint_seconds=1e9)
        with tempfile.TemporaryDirectory() as folder:
            shop = Workshop(build_accelerator(engine), engine, Path(folder), RunLog(None), lambda *_: None)
            (result,) = run_stages(
                (stage,),
                copy.deepcopy(student),
                rows,
                lambda: 0.0,
                shop,
                teacher=teacher if distil else None,
                features=features,
                seed=0,
            )
        return result.examples / (result.seconds + result.teacher_seconds)

    def scoring(model: torch.nn.Module) -> float:
        accelerator = build_accelerator(EngineConfig())
        started = time.perf_counter()
        compute_logits(model, split, "student", device=accelerator.device, autocast=accelerator.autocast())
        return len(split) / (time.perf_counter() - started)

    sides: dict[str, Callable[[], float]] = {
        "logit, first epoch, teacher's work included": lambda: epoch(split, distil=True),
        "student alone (fine-tuning, same loop)": lambda: epoch(split, distil=False),
        "teacher scoring": lambda: scoring(teacher),
        "evaluation of the student": lambda: scoring(student),
        "logit, teacher rerun in every step": lambda: epoch(split, distil=True, features="online"),
        "logit, padded to 128, fp32, teacher rerun": lambda: epoch(padded, distil=True, features="online", precision="fp32"),
    }
    measured: dict[str, list[float]] = {name: [] for name in sides}
    epoch(few, distil=True)  # warm-up
    for _ in range(options.rounds):
        for name, measure in sides.items():
            measured[name].append(measure())
    peak = peak_memory_mib()
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "stillhouse", "--help"], check=True, capture_output=True)
    help_seconds = time.perf_counter() - started

    first = statistics.median(measured["logit, first epoch, teacher's work included"])
    machine = environment(build_accelerator(EngineConfig()))
    print(f"machine: {machine['processor']}, {machine['threads']} threads, {machine['precision']}, torch {machine['torch']}")
    print(f"data: {dataset.task.name}, {len(split)} rows, {split.student.lengths.mean():.1f} tokens on average, batch 32\n")
    print(f"{'what':<46}{'examples/s':>12}{'range':>16}{'logit is x':>12}")
    for name, values in measured.items():
        median = statistics.median(values)
        print(f"{name:<46}{median:>12.1f}{min(values):>8.1f}-{max(values):<7.1f}{first / median:>11.2f}x")
    print(f"\npeak memory of this process: {peak:.0f} MiB\nstillhouse --help: {help_seconds:.2f} s")
    if options.json:
        record = {"machine": machine, "rows": len(split), "examples_per_second": measured}
        record |= {"peak_memory_mib": peak, "help_seconds": help_seconds, "date": time.strftime("%Y-%m-%d")}
        write_json(options.json, record)


if __name__ == "__main__":
    main()
