"""README.md of a saved student: what it is, where it comes from, how to load it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from stillhouse.evaluation.predictor import remembered
from stillhouse.runs.prepared import Prepared


def write_model_card(folder: Path, prepared: Prepared) -> None:
    """Writes the card into a model folder; scores are in the run's metrics.json and report.html, not here."""
    config, task, student = prepared.config, prepared.task, prepared.student.encoder
    taught = f"distilled from {prepared.teacher.name}" if config.method.uses_teacher else "fine-tuned without a teacher"
    auto = f"AutoModelFor{task.kind.head}"
    labels = f"Labels: {', '.join(task.labels)}.\n" if task.labels else ""
    report = "The `metrics.json` and `report.html` beside this folder hold its scores"
    if config.method.uses_teacher:
        report += ", its teacher's" + (", and those of the same student trained without one" if config.baseline else "")
    text = f"""---
library_name: transformers
tags: [knowledge-distillation, {task.kind}]
---

# {prepared.student.name}

A {student.config.model_type} encoder with {student.num_parameters():,} parameters for {task.kind} on {task.name},
{taught} with the method `{config.method.name}` of Stillhouse. It started from {prepared.student.start}.
{labels}
```python
from transformers import AutoTokenizer, {auto}

tokenizer = AutoTokenizer.from_pretrained(".")
model = {auto}.from_pretrained(".")
```

Inputs are cut to {config.data.max_length} tokens in training.{_no_answer(student) if task.kind.can_abstain else ""}
{report}.
"""
    (folder / "README.md").write_text(text, encoding="utf-8")


def _no_answer(student: Any) -> str:
    threshold = remembered(student.config).no_answer_threshold
    if math.isinf(threshold):
        return ""
    return (
        "\nNo answer is given where the start and end logits of the first token exceed those of the best span by more than\n"
        f"{threshold:.6g} (`stillhouse.no_answer_threshold` in `config.json`)."
    )
