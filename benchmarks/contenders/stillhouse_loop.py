"""Stillhouse's loop on the workload; the last line printed is what was measured.

python contenders/stillhouse_loop.py WORKLOAD --do match [--epochs 4] [--store FOLDER] [--models -base]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from bare_stage import bare_config, first_stage, train_stage
from transformers import AutoModelForSequenceClassification

from stillhouse.config import TeacherConfig
from stillhouse.data.ragged import Ragged
from stillhouse.data.tokenize import Encoded
from stillhouse.data.tokenized_split import TokenizedSplit
from stillhouse.machine.memory import peak_memory_mib
from stillhouse.method import Stage
from stillhouse.objectives.hidden_mse import HiddenMSE
from stillhouse.objectives.soft_labels import SoftLabels
from stillhouse.task import Task, load_kind
from stillhouse.teachers.source import Source


def main() -> None:
    """Trains one stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", type=Path)
    parser.add_argument("--do", required=True, help="match, or a method, whose first stage is trained")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--rows", type=int, help="the first so many")
    parser.add_argument("--store", help="folder of the store; without it the teacher runs in every step")
    parser.add_argument("--models", choices=("", "-base"), default="")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    split = load_split(options.workload)
    split = split.select(np.arange(min(options.rows or len(split), len(split))))
    teacher, student = (load_model(options.workload / f"{name}{options.models}") for name in ("teacher", "student"))

    if options.do == "match":
        stage = matching_stage(options.workload, options.epochs, "base" if options.models else "minilm")
    else:
        stage = first_stage(options.do, student, teacher, epochs=options.epochs)
    features = TeacherConfig(features="store" if options.store else "online", store=options.store)
    source = Source(features)
    result = train_stage(stage, student, split, teacher=teacher, source=source, precision=options.precision)
    found = {"examples": result.examples, "seconds": result.seconds, "teacher_seconds": result.teacher_seconds}
    print(json.dumps(found | {"steps": result.steps, "peak_mib": peak_memory_mib()}))


def matching_stage(folder: Path, epochs: float, teacher: str = "minilm") -> Stage:
    """Logit + hidden matching, as TextBrewer is asked for it."""
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    pairs = tuple(map(tuple, about["pairs"][teacher]))
    objectives = SoftLabels(temperature=about["temperature"]), HiddenMSE(layers=pairs)
    return Stage("match", objectives, bare_config(epochs))


def load_split(folder: Path) -> TokenizedSplit:
    """The rows of the workload."""
    rows = np.load(folder / "rows.npz")
    ids = Ragged(rows["ids"], rows["offsets"])
    encoded = Encoded(ids, Ragged(np.zeros_like(rows["ids"]), rows["offsets"]), np.arange(len(ids)), pad_token_id=0)
    labels = rows["labels"]
    task = Task("workload", load_kind("classification"), labels=tuple(map(str, range(labels.max() + 1))))
    return TokenizedSplit(task, {0: encoded}, labels, np.ones(len(labels), dtype=bool))


def load_model(folder: Path) -> AutoModelForSequenceClassification:
    """A model of the workload."""
    return AutoModelForSequenceClassification.from_pretrained(folder)


if __name__ == "__main__":
    main()
