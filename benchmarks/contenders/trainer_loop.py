"""Plain fine-tuning of the student through the Hugging Face Trainer, with what makes it fastest on a CPU.

    python contenders/trainer_loop.py WORKLOAD [--rows 3200]

bf16 where the processor has it, batches of like length, fused AdamW, nothing saved, scored or logged on the way.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from stillhouse.machine.engine import resolve_precision

WARM_UP = 2


class Clock(TrainerCallback):
    """Times the steps after the warm-up."""

    def __init__(self) -> None:
        self.started = self.seconds = 0.0
        self.steps = 0

    def on_step_begin(self, args, state, control, **kwargs) -> None:  # noqa: ARG002
        if state.global_step == WARM_UP:
            self.started = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs) -> None:  # noqa: ARG002
        self.seconds, self.steps = time.perf_counter() - self.started, state.global_step - WARM_UP


def main() -> None:
    """Trains one epoch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", type=Path)
    parser.add_argument("--rows", type=int, help="the first so many")
    options = parser.parse_args()
    rows = np.load(options.workload / "rows.npz")
    ids, offsets, labels = rows["ids"], rows["offsets"], rows["labels"]
    count = min(options.rows or len(labels), len(labels))
    data = [{"input_ids": ids[offsets[row] : offsets[row + 1]].tolist(), "label": int(labels[row])} for row in range(count)]
    model = AutoModelForSequenceClassification.from_pretrained(options.workload / "student")
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            bf16=resolve_precision("auto") == "bf16",
            per_device_train_batch_size=32,
            num_train_epochs=1,
            train_sampling_strategy="group_by_length",
            optim="adamw_torch_fused",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        collator = DataCollatorWithPadding(AutoTokenizer.from_pretrained(options.workload / "tokenizer"))
        Trainer(model, arguments, collator, data, callbacks=[clock]).train()
    print(json.dumps({"examples": 32 * clock.steps, "seconds": clock.seconds}))


if __name__ == "__main__":
    main()
