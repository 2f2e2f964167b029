"""The share of the machine's matrix peak that fine-tuning a model of BERT-base's shape reaches, both measured here.

    PYTHONPATH=benchmarks python benchmarks/contenders/peak.py WORKLOAD

The peak is that of one large product at the run's precision. A step's products are counted: two operations a weight and token
in the layers, and the two products of attention, forward, and twice as many backward; the embeddings count as nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from bare_stage import bare_config, train_stage
from stillhouse_loop import load_model, load_split

from stillhouse.data.ragged import Ragged
from stillhouse.machine.engine import resolve_precision
from stillhouse.method import Stage
from stillhouse.objectives.hard_labels import HardLabels

LENGTH, BATCH, STEPS, SIDE = 128, 32, 4, 4096


def main() -> None:
    """Measures both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", type=Path)
    options = parser.parse_args()
    model = load_model(options.workload / "teacher-base")
    split = load_split(options.workload).select(np.arange(BATCH * STEPS))
    words = np.random.default_rng(0).integers(1000, 20000, BATCH * STEPS * LENGTH).astype(np.int32)
    offsets = np.arange(0, len(words) + 1, LENGTH)
    encoded = replace(split.learner, input_ids=Ragged(words, offsets), token_type_ids=Ragged(0 * words, offsets))
    split = replace(split, views={0: encoded})
    stage = Stage("finetune", (HardLabels(),), bare_config(batch_size=BATCH))
    before = _peak()
    train_stage(stage, model, split.select(np.arange(BATCH)))  # warm-up
    result = train_stage(stage, model, split)
    peak = statistics.mean((before, _peak()))
    config = model.config
    layer = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    token = 2 * layer + 4 * LENGTH * config.hidden_size
    operations = 3 * config.num_hidden_layers * token * LENGTH * BATCH
    speed = operations * result.steps / result.seconds
    print(json.dumps({"share": speed / peak, "step_tflops": speed / 1e12, "peak_tflops": peak / 1e12}))


def _peak() -> float:
    """Operations a second of a large product."""
    dtype = torch.bfloat16 if resolve_precision("auto") == "bf16" else torch.float32
    one, other = torch.randn(SIDE, SIDE, dtype=dtype), torch.randn(SIDE, SIDE, dtype=dtype)
    one @ other
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        one @ other
        seconds.append(time.perf_counter() - started)
    return 2 * SIDE**3 / statistics.median(seconds)


if __name__ == "__main__":
    main()
