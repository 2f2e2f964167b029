"""What a training step of each method costs: time at 128 tokens beside a step of `logit`, peak memory from 64 to 512 tokens.

    python benchmarks/methods.py [--rounds 5] [--steps 4] [--quick] [--json FILE]

Teacher: the bundled all-MiniLM-L6-v2. Student: 3x384 from its layers. The first stage of each method, which is the one that
looks inside the teacher; text of random words that fills the length. Steps of 32 examples for time, the teacher run beside the
student in every step: a figure is the median over rounds in which the methods run in turn. Steps of 8 examples for memory, with
the teacher's features from a store and, at 512 tokens, with the teacher beside the student, each in a process of its own, once:
the largest resident size of the process in training, and how much of it was there before, with the teacher loaded.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from bare_stage import first_stage, train_stage

from stillhouse.config import EngineConfig, TeacherConfig
from stillhouse.data.examples import Examples
from stillhouse.data.tokenize import encode
from stillhouse.data.tokenized_split import TokenizedSplit, tokenized_split
from stillhouse.files import write_json
from stillhouse.machine.engine import build_accelerator, environment
from stillhouse.machine.memory import forget_peak_memory, peak_memory_mib
from stillhouse.methods import load_method
from stillhouse.models.checkpoint import find_checkpoint
from stillhouse.models.loading import load_encoder, load_tokenizer
from stillhouse.students.build import build_student
from stillhouse.students.copy_layers import copy_layers
from stillhouse.task import Task, load_kind
from stillhouse.teachers.source import Source

METHODS = ("logit", "finetune", "pkd", "tinybert", "minilm", "minilmv2", "theseus")
TIME = {"length": 128, "batch": 32}
MEMORY_METHODS = ("finetune", "logit", "pkd", "tinybert", "minilm", "minilmv2")
LENGTHS, MEMORY_BATCH = (64, 128, 256, 512), 8
TASK = Task("words", load_kind("classification"), labels=("a", "b"))


class Bench:
    """Teacher, student and text of one length.

    Args:
        length: Tokens of every example.
        batch: Examples of a step.
    """

    def __init__(self, length: int, batch: int) -> None:
        torch.manual_seed(0)
        self.length, self.batch = length, batch
        checkpoint = find_checkpoint("offline")
        self.tokenizer = load_tokenizer(checkpoint)
        self.teacher, _ = load_encoder(checkpoint, TASK.head)
        self.words = sorted(word for word in self.tokenizer.get_vocab() if word.isalpha())

    def rows(self, count: int) -> TokenizedSplit:
        """Random text without any padding."""
        draw = random.Random(0)
        texts = [" ".join(draw.choices(self.words, k=self.length)) for _ in range(count)]
        examples = Examples(text=texts, labels=[row % 2 for row in range(count)])
        return tokenized_split(examples, TASK, encode(examples, TASK, self.tokenizer, max_length=self.length))

    def step_seconds(self, name: str, rows: TokenizedSplit, source: TeacherConfig | None = None) -> float:
        """Seconds a step of a method's first stage takes, the teacher's part included; nothing is saved or selected."""
        config = source or TeacherConfig(features="online")
        method = load_method(name).model_validate({})
        student, _ = build_student(
            "3x384", teacher=self.teacher, teacher_checkpoint_name="teacher", head=TASK.head, layers_rule=method.copied_layers
        )
        if method.starts_from_fitted_teacher:
            copy_layers(student, self.teacher, method.copied_layers(3, 6), with_head=True)
        stage = first_stage(method, student, self.teacher, batch_size=self.batch)
        teacher = copy.deepcopy(self.teacher) if method.starts_from_fitted_teacher else self.teacher
        result = train_stage(stage, student, rows, teacher=teacher, source=Source(config))
        return result.seconds / result.steps


def measure_memory(name: str, length: int, features: str) -> None:
    """Two steps of a method in this process; prints its peak, and what it held before, in MiB."""
    bench = Bench(length, MEMORY_BATCH)
    rows = bench.rows(2 * MEMORY_BATCH)
    with tempfile.TemporaryDirectory() as folder:
        source = TeacherConfig(features=features, store=folder)
        bench.step_seconds(name, rows.select(np.arange(2)), source)  # what torch loads once
        if features == "store":
            bench.step_seconds(name, rows, source)  # fills the store
        forget_peak_memory()
        before = peak_memory_mib()
        bench.step_seconds(name, rows, source)
    print(json.dumps({"peak_mib": round(peak_memory_mib(), 1), "before_mib": round(before, 1)}))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="memory at 512 tokens from a store alone, of four methods")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        name, length, features = options.memory_of
        measure_memory(name, int(length), features)
        return
    bench = Bench(**TIME)
    rows = bench.rows(options.steps * TIME["batch"])
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    bench.step_seconds("logit", rows)  # warm-up
    for _ in range(options.rounds):
        for name in METHODS:
            seconds[name].append(bench.step_seconds(name, rows))
    machine = environment(build_accelerator(EngineConfig()))
    print(f"machine: {machine['processor']}, {machine['threads']} threads, {machine['precision']}, torch {machine['torch']}\n")
    print(f"{f'first stage of, {TIME}':<46}{'s a step':>10}{'range':>16}{'x logit':>9}")
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    for name in METHODS:
        span = f"{min(seconds[name]):>8.3f}-{max(seconds[name]):<7.3f}"
        print(f"{name:<46}{middle[name]:>10.3f}{span}{middle[name] / middle['logit']:>8.2f}x")

    memory: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    lengths, methods = ((512,), ("finetune", "logit", "tinybert", "minilmv2")) if options.quick else (LENGTHS, MEMORY_METHODS)
    for features, chosen in (("store", lengths), ("online", () if options.quick else (512,))):
        memory[features] = {str(length): {} for length in chosen}
        if chosen:
            print(
                f"\n{f'peak MiB, batch {MEMORY_BATCH}, {features}':<46}" + "".join(f"{length:>8} tokens" for length in chosen)
            )
        for name in methods if chosen else ():
            for length in chosen:
                command = [sys.executable, __file__, "--memory-of", name, str(length), features]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                memory[features][str(length)][name] = json.loads(done.stdout.splitlines()[-1])
            found = (memory[features][str(length)][name]["peak_mib"] for length in chosen)
            print(f"{name:<46}" + "".join(f"{peak:>15.0f}" for peak in found), flush=True)
    if options.json:
        record = {
            "machine": machine,
            "time": TIME | {"seconds_a_step": seconds},
            "memory": {"batch": MEMORY_BATCH} | memory,
        }
        command = f"benchmarks/methods.py --rounds {options.rounds} --steps {options.steps}{' --quick' * options.quick}"
        record |= {"command": command, "date": time.strftime("%Y-%m-%d")}
        write_json(options.json, record)


if __name__ == "__main__":
    main()
