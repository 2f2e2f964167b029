"""How fast the feature store writes and reads, and what a read costs beside a training step.

    PYTHONPATH=benchmarks python benchmarks/contenders/store_rates.py WORKLOAD

Written are the features of `tinybert` for rows of the workload, without the teacher's part; read are batches of 32, shuffled
among rows of like length as in training. Pages that were just written are still in the system's memory, as they are in a run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from bare_stage import Refusing, first_stage, train_stage
from stillhouse_loop import load_model, load_split

from stillhouse.config import EngineConfig, TeacherConfig
from stillhouse.data.text import training_order
from stillhouse.data.tokenized_split import TokenizedSplit
from stillhouse.machine.engine import build_accelerator
from stillhouse.teachers.source import Source, StoredTeacher, build_teacher
from stillhouse.teachers.store import FeatureStore, row_keys

ROWS = 3200


def main() -> None:
    """Writes, reads and trains."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", type=Path)
    options = parser.parse_args()
    split = load_split(options.workload)
    split = split.select(np.arange(min(ROWS, len(split))))
    teacher = load_model(options.workload / "teacher").eval()
    found = {}
    for name in ("tinybert", "minilmv2"):
        student = load_model(options.workload / "student")
        stage = first_stage(name, student, teacher)
        with tempfile.TemporaryDirectory() as folder:
            source = Source(TeacherConfig(features="store", store=f"{folder}/store"), digest="teacher")
            accelerator = build_accelerator(EngineConfig())
            say = Refusing(quiet=True).warn
            kept = build_teacher(teacher, split, stage.teacher_needs, source, epochs=2, accelerator=accelerator, say=say)
            assert isinstance(kept, StoredTeacher)
            milliseconds, mib = _reading(kept, split)
            result = train_stage(stage, student, split, teacher=teacher, source=source)
            found[f"{name}_share"] = milliseconds / (1000 * result.seconds / result.steps)
            found[f"{name}_read_ms"] = milliseconds
            if name == "tinybert":
                found["reading_mib_a_second"] = 1000 * mib / milliseconds
                found["writing_mib_a_second"] = _writing(kept, split, Path(folder))
    print(json.dumps(found))


def _reading(kept: StoredTeacher, split: TokenizedSplit) -> tuple[float, float]:
    """Milliseconds a batch, and MiB."""
    milliseconds, sizes = [], []
    for rows in training_order(split.lengths, 32, (0,)):
        batch = split.batch(rows)
        started = time.perf_counter()
        features = kept.features(batch)
        milliseconds.append(1000 * (time.perf_counter() - started))
        sizes.append(sum(tensor.nbytes for tensor in features.tensors.values()) / 2**20)
    return statistics.mean(milliseconds), statistics.mean(sizes)


def _writing(kept: StoredTeacher, split: TokenizedSplit, folder: Path) -> float:
    """MiB a second, checksums and a last push to the disk included."""
    store = FeatureStore(folder / "written", "teacher", "bf16")
    keys, size = row_keys(split.learner), 0
    store.create()
    started = time.perf_counter()
    for shard in kept.index.shards:
        columns = {name: tensor.clone() for name, tensor in shard.columns.items()}
        store.add(keys[: len(shard.keys)], np.diff(shard.starts), columns, shard.by_token, shard.attentions)
        size += sum(tensor.nbytes for tensor in columns.values())
    return size / 2**20 / (time.perf_counter() - started)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
