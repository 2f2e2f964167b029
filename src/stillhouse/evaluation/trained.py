"""A model with a trained head, and the task that its configuration describes."""

from __future__ import annotations

import math
from typing import Any

from stillhouse.config import DataConfig
from stillhouse.data.batch import tokenized_split
from stillhouse.data.task import METRICS, Examples, Task
from stillhouse.data.tokenize import encode
from stillhouse.errors import UserError
from stillhouse.evaluation.evaluate import Split
from stillhouse.models.checkpoint import find_checkpoint, head_kind, head_labels
from stillhouse.models.limits import max_length
from stillhouse.models.loading import load_encoder, load_tokenizer

ALWAYS = 1e9  # stands for "never without an answer": JSON has no infinity


def load_with_head(source: str) -> tuple[str, Any, Any, Task]:
    """A model's name, encoder, tokenizer and task.

    Raises:
        UserError: It has no head that Stillhouse can use.
    """
    checkpoint = find_checkpoint(source)
    kind = head_kind(checkpoint.config)
    if kind is None:
        raise UserError(
            f"{source} has no task head",
            expected="a model that was fine-tuned for classification, regression, tagging or question answering",
            fix="give the student/ or teacher/ folder of a run",
        )
    labels = head_labels(checkpoint.config) if kind in ("classification", "multilabel", "tagging") else ()
    task = Task(checkpoint.name, kind, labels, metric=METRICS[kind], unanswerable=kind == "qa")
    encoder, has_head = load_encoder(checkpoint, task)
    if not has_head:
        raise UserError(
            f"the weights of {source} lack the head that its config.json names",
            expected="a fine-tuned model",
            fix="copy or download the folder again",
        )
    return checkpoint.name, encoder, load_tokenizer(checkpoint), task


def remember_threshold(encoder: Any, threshold: float) -> None:
    """Stores a question answering model's no-answer threshold in its configuration, which is saved with it."""
    encoder.config.no_answer_threshold = min(threshold, ALWAYS)


def answer_threshold(encoder: Any) -> float:
    """The stored threshold; models from elsewhere, which have none, are asked to prefer the higher score."""
    threshold = float(getattr(encoder.config, "no_answer_threshold", 0.0))
    return math.inf if threshold >= ALWAYS else threshold


def split_for(examples: Examples, task: Task, encoder: Any, tokenizer: Any, config: DataConfig) -> Split:
    """Tokenizes rows for one model that stands in the student's place."""
    length = max_length(config.max_length, task.kind, [(encoder, tokenizer)])
    encoded = encode(examples, task, tokenizer, max_length=length, stride=config.stride)
    return Split(examples, tokenized_split(examples, task, encoded))
