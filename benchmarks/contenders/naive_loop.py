"""The loop that scripts begin with: padded to 128, float32, eager attention, the teacher rerun in every step.

    python contenders/naive_loop.py WORKLOAD --steps 10

Its objectives are those of Stillhouse's `match`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from batches import TimedBatches
from torch.nn.functional import kl_div, mse_loss
from transformers import AutoModelForSequenceClassification


def main() -> None:
    """Trains some steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    options = parser.parse_args()
    about = json.loads((options.workload / "about.json").read_text(encoding="utf-8"))
    teacher, student = (
        AutoModelForSequenceClassification.from_pretrained(
            options.workload / name, output_hidden_states=True, attn_implementation="eager"
        )
        for name in ("teacher", "student")
    )
    teacher.eval()
    student.train()
    temperature = about["temperature"]
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4)
    batches = TimedBatches(options.workload, "padded", options.steps)
    for batch in batches:
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            theirs = teacher(**inputs)
        ours = student(**inputs)
        soft, hard = (outputs.logits.div(temperature).log_softmax(dim=-1) for outputs in (ours, theirs))
        loss = kl_div(soft, hard, reduction="batchmean", log_target=True) * temperature**2
        for own, its in about["pairs"]["minilm"]:
            loss = loss + mse_loss(ours.hidden_states[own], theirs.hidden_states[its])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
    print(json.dumps({"examples": batches.examples, "seconds": batches.seconds}))


if __name__ == "__main__":
    main()
