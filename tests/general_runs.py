"""Small runs on plain text: what they are given, and what each of them leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stillhouse.methods import load_method
from tests.corpus.toy_corpus import documents
from tests.methods.stage_names import stage_names
from tests.tiny_models import make_tiny_checkpoint


def make_silent(folder: Path, **options: Any) -> Path:
    """A teacher without dropout, so that any number of processes comes to the same sums."""
    teacher = make_tiny_checkpoint(folder, "bert", **options)
    config = json.loads((teacher / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (teacher / "config.json").write_text(json.dumps(config))
    return teacher


def write_text(path: Path, count: int = 300) -> Path:
    """A document a line."""
    path.write_text("\n".join(documents(count)))
    return path


def command(shelf: Path, method: str, *more: str, epochs: int = 1) -> list[str]:
    """A run on the text of a shelf, which has `text.txt` and `teacher` on it."""
    options = f"distill --corpus {shelf}/text.txt --teacher {shelf}/teacher --method {method} --student 2x24"
    options += " --precision fp32 --allow-weak-teacher --set corpus.block_length=16 --set corpus.heldout_share=0.1"
    options += " --set teacher.finetune.epochs=1 --set engine.log_every=1 --set engine.checkpoint_seconds=0"
    for stage in (*load_method(method).general_stages, *stage_names(method)):
        options += f" --set method.stages.{stage}.epochs={epochs} --set method.stages.{stage}.learning_rate=0.001"
    return [*options.split(), *more]


def metrics_of(out: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return metrics
