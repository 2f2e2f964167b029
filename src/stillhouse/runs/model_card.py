"""README.md of a model that a run trained: what it is, where it comes from, how to load it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stillhouse.evaluation.predictor import remembered
from stillhouse.method import Method
from stillhouse.models.model import Model
from stillhouse.runs.general import General
from stillhouse.runs.prepared import Learner, Prepared


def write_model_card(folder: Path, prepared: Prepared, model: Model) -> None:
    """Writes the card into a model folder; scores are in the run's metrics.json and report.html, not here."""
    config, task, student = prepared.config, prepared.task, model.encoder
    learner = _learner(prepared, model)
    taught = "fine-tuned without a teacher" if learner.teacher is None else f"distilled from {_teacher(prepared, learner)}"
    auto = f"AutoModelFor{task.kind.head}"
    labels = f"Labels: {', '.join(task.labels)}.\n" if task.labels else ""
    report = "The `metrics.json` and `report.html` beside this folder hold its scores"
    if learner.teacher is not None:
        has_baseline = config.baseline and learner.role == "student"
        report += ", its teacher's" + (", and those of the same student trained without one" if has_baseline else "")
    text = f"""---
library_name: transformers
tags: [knowledge-distillation, {task.kind}]
---

# {model.name}

A {student.config.model_type} encoder with {student.num_parameters():,} parameters for {task.kind} on {task.name},
{taught} with the method `{config.method.name}` of Stillhouse. It started from {model.start}.
{_settings(config.method)}{labels}
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
    method, encoder, learner = general.config.method, model.encoder, _learner(general, model)
    taught = "trained without a teacher" if learner.teacher is None else f"distilled from {_teacher(general, learner)}"
    auto = "AutoModelForMaskedLM" if general.has_head else "AutoModel"
    use = "It can be fine-tuned or distilled on any task: `stillhouse distill --data ... --student FOLDER`."
    text = f"""---
library_name: transformers
tags: [knowledge-distillation, {"fill-mask" if general.has_head else "feature-extraction"}]
---

# {model.name}

A {encoder.config.model_type} encoder with {encoder.num_parameters():,} parameters that has learnt from plain text,
{general.kept.name}, {taught} with the method `{method.name}` of Stillhouse. It started from {model.start}. {use}
{_settings(method)}
```python
from transformers import AutoTokenizer, {auto}

tokenizer = AutoTokenizer.from_pretrained(".")
model = {auto}.from_pretrained(".")
```

It read blocks of {general.config.corpus.block_length} tokens in training.
"""
    (folder / "README.md").write_text(text, encoding="utf-8")


def _learner(part: Prepared | General, model: Model) -> Learner:
    return next(learner for learner in part.learners if learner.model.name == model.name)


def _teacher(part: Prepared | General, learner: Learner) -> str:
    """Who taught a model, in words."""
    assert part.teacher is not None
    if learner.teacher != "assistant":
        return part.teacher.name
    assistant = next(one.model.name for one in part.learners if one.role == "assistant")
    return f"{assistant}, an assistant that learnt from {part.teacher.name},"


def _settings(method: Method) -> str:
    """What of a method is not as it comes, in a line; "" where all is."""
    usual = type(method).preset(getattr(method, "compat", None)).model_dump(mode="json")
    changed = _changed(method.model_dump(mode="json"), usual)
    said = ", ".join(f"`method.{name}={json.dumps(value)}`" for name, value in changed)
    return f"Settings that are not the method's own: {said}; see `stillhouse methods {method.name}`.\n" if said else ""


def _changed(given: Mapping[str, Any], usual: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings that differ, by their full names."""
    for name, value in given.items():
        if isinstance(value, Mapping) and isinstance(usual.get(name), Mapping):
            yield from _changed(value, usual[name], f"{prefix}{name}.")
        elif value != usual.get(name):
            yield f"{prefix}{name}", value


def _no_answer(student: Any) -> str:
    threshold = remembered(student.config).no_answer_threshold
    if math.isinf(threshold):
        return ""
    return (
        "\nNo answer is given where the start and end logits of the first token exceed those of the best span by more than\n"
        f"{threshold:.6g} (`stillhouse.no_answer_threshold` in `config.json`)."
    )
