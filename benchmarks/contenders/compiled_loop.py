"""Fine-tuning of the student through `torch.compile`, in a bare loop, with its warm-up.

    python contenders/compiled_loop.py WORKLOAD --steps 60 [--eager]

Batches of like length, fused AdamW, bf16 where the processor has it; shapes are dynamic, so that one compilation serves all
lengths. `--eager` leaves the compiler out.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from batches import TimedBatches
from transformers import AutoModelForSequenceClassification

from stillhouse.machine.engine import resolve_precision


def main() -> None:
    """Trains some steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--eager", action="store_true")
    options = parser.parse_args()
    model = AutoModelForSequenceClassification.from_pretrained(options.workload / "student").train()
    run = model if options.eager else torch.compile(model, dynamic=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    is_bf16 = resolve_precision("auto") == "bf16"
    batches = TimedBatches(options.workload, "sorted", options.steps, warm_up=4)
    warm_up, started = 0.0, time.perf_counter()
    for number, batch in enumerate(batches):
        if number == batches.warm_up:
            warm_up = time.perf_counter() - started
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            loss = run(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    print(json.dumps({"examples": batches.examples, "seconds": batches.seconds, "warm_up_seconds": warm_up}))


if __name__ == "__main__":
    main()
