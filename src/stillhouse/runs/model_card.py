"""README.md of a saved student: what it is, where it comes from, how to load it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from stillhouse.evaluation.predictor import remembered
from stillhouse.models.model import Model
from stillhouse.runs.general import General
from stillhouse.runs.prepared import Prepared


def write_model_card(folder: Path, prepared: Prepared, model: Model) -> None:
    """Writes the card into a model folder; scores are in the run's metrics.json and report.html, not here."""
    config, task, student = prepared.config, prepared.task, model.encoder
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

# {model.name}

A {student.config.model_type} encoder with {student.num_parameters():,} parameters for {task.kind} on {task.name},
{taught} with the method `{config.method.name}` of Stillhouse. It started from {model.start}.
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


def write_general_card(folder: Path, general: General, model: Model) -> None:
    """Writes the card of a model that has learnt from a corpus."""
    method, encoder = general.config.method.name, model.encoder
    taught = "trained without a teacher" if general.teacher is None else f"distilled from {general.teacher.name}"
    auto = "AutoModelForMaskedLM" if general.has_head else "AutoModel"
    use = "It can be fine-tuned or distilled on any task: `stillhouse distill --data ... --student FOLDER`."
    text = f"""---
library_name: transformers
tags: [knowledge-distillation, {"fill-mask" if general.has_head else "feature-extraction"}]
---

# {model.name}

A {encoder.config.model_type} encoder with {encoder.num_parameters():,} parameters that has learnt from plain text,
{general.kept.name}, {taught} with the method `{method}` of Stillhouse. It started from {model.start}. {use}

```python
from transformers import AutoTokenizer, {auto}

tokenizer = AutoTokenizer.from_pretrained(".")
model = {auto}.from_pretrained(".")
```

It read blocks of {general.config.corpus.block_length} tokens in training.
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
