"""TextBrewer 0.2.1.post1 on the workload, as its examples use it; runs in an environment of its own.

    python contenders/textbrewer_loop.py WORKLOAD --batches padded|dynamic|sorted --steps 10 [--models -base]

Its objectives are those of Stillhouse's `match`: soft labels, times the temperature squared, and hidden states. Its optimiser
is torch's AdamW as it comes, as in its examples. It has mixed precision for NVIDIA's apex alone, so that on a CPU it works in
float32.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import textbrewer
import torch
from batches import TimedBatches
from transformers import AutoModelForSequenceClassification


def main() -> None:
    """Trains some steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", type=Path)
    parser.add_argument("--batches", choices=("padded", "dynamic", "sorted"), required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--models", choices=("", "-base"), default="")
    options = parser.parse_args()
    about = json.loads((options.workload / "about.json").read_text(encoding="utf-8"))
    teacher, student = (
        AutoModelForSequenceClassification.from_pretrained(
            options.workload / f"{name}{options.models}", output_hidden_states=True
        )
        for name in ("teacher", "student")
    )
    temperature = about["temperature"]
    matches = [
        {"layer_S": own, "layer_T": its, "feature": "hidden", "loss": "hidden_mse", "weight": 1}
        for own, its in about["pairs"]["base" if options.models else "minilm"]
    ]
    batches = TimedBatches(options.workload, options.batches, options.steps)
    with tempfile.TemporaryDirectory() as folder:
        training = textbrewer.TrainingConfig(device="cpu", output_dir=folder)
        distillation = textbrewer.DistillationConfig(
            temperature=temperature, kd_loss_weight=temperature**2, hard_label_weight=0, intermediate_matches=matches
        )
        distiller = textbrewer.GeneralDistiller(training, distillation, teacher, student, adaptor, adaptor)
        distiller.save_and_callback = lambda *_, **__: None  # it saves the student at the end, which is not to be timed
        optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4)
        with distiller:
            distiller.train(optimizer, batches, num_epochs=1, max_grad_norm=1.0)
    print(json.dumps({"examples": batches.examples, "seconds": batches.seconds}))


def adaptor(batch: dict[str, torch.Tensor], outputs: object) -> dict[str, object]:
    """What TextBrewer reads of a model's outputs."""
    return {"logits": outputs.logits, "hidden": outputs.hidden_states, "inputs_mask": batch["attention_mask"]}


if __name__ == "__main__":
    main()
