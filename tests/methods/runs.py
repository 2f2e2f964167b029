"""Short whole runs of a method, and what each of them leaves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from tests.methods.stage_names import stage_names
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from stillhouse import distill


def distilled(method: str, data: Path, teacher: Path, out: Path, **options: Any) -> Any:
    """One epoch of each stage."""
    settings = ("epochs=1", "batch_size=8", "learning_rate=0.001")
    changes = ["teacher.finetune.epochs=1", "engine.log_every=1"]
    changes += [f"method.stages.{stage}.{setting}" for stage in stage_names(method) for setting in settings]
    return distill(
        data=str(data),
        teacher=str(teacher),
        method=method,
        out=out,
        allow_weak_teacher=True,
        max_length=48,
        precision="fp32",
        changes=changes,
        **({"student": "2x24"} | options),
    )


def check_student(done: Any, method: str) -> None:
    """Every stage was run, every loss is a number, and the student is nothing but a student."""
    logged = [json.loads(line) for line in (done.folder / "log.jsonl").read_text().splitlines()]
    assert set(stage_names(method)) <= {line["stage"] for line in logged}
    for line in logged:
        assert all(math.isfinite(value) for value in line.get("objectives", {}).values())
    assert done.student.config.num_hidden_layers == 2
    assert not any("projection" in name or "predecessor" in name for name in done.student.state_dict())


def check_exported(folder: Path) -> None:
    """The saved student, by transformers alone, says what the trained one said."""
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(folder / "student")
    model = AutoModelForSequenceClassification.from_pretrained(folder / "student")
    with torch.no_grad():
        logits = model(**tokenizer([line["text"] for line in lines], padding=True, return_tensors="pt")).logits
    said = torch.tensor([line["student"]["probabilities"] for line in lines])
    assert torch.allclose(logits.softmax(dim=-1), said, atol=1e-4)
