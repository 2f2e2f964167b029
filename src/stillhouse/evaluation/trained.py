"""A model with a trained head, and the task that its configuration describes."""

from __future__ import annotations

import math
from typing import Any

from stillhouse.config import DataConfig
from stillhouse.data.examples import Examples
from stillhouse.data.tokenize import Encoded, encode
from stillhouse.errors import UserError
from stillhouse.models.checkpoint import find_checkpoint, head_kind, head_labels
from stillhouse.models.limits import max_length
from stillhouse.models.loading import load_encoder, load_tokenizer
from stillhouse.task import Kind, Task

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
    labels = head_labels(checkpoint.config) if kind.has_classes else ()
    task = Task(checkpoint.name, kind, labels, unanswerable=kind.can_abstain)
    encoder, has_head = load_encoder(checkpoint, task)
    if not has_head:
        raise UserError(
            f"the weights of {source} lack the head that its config.json names",
            expected="a fine-tuned model",
            fix="copy or download the folder again",
        )
    return checkpoint.name, encoder, load_tokenizer(checkpoint), task


def remember_use(encoder: Any, data: DataConfig, threshold: float | None) -> None:
    """Stores in a model's configuration, which is saved with it, what its inputs were and when it gives no answer."""
    columns = {"text": data.text, "text_pair": data.text_pair, "label": data.label}
    encoder.config.stillhouse = {"max_length": data.max_length, "stride": data.stride, "columns": columns}
    if threshold is not None:
        encoder.config.stillhouse["no_answer_threshold"] = min(threshold, ALWAYS)


def _remembered(encoder: Any) -> dict[str, Any]:
    return getattr(encoder.config, "stillhouse", None) or {}


def remembered_columns(encoder: Any) -> dict[str, str | None]:
    """Names of the columns that a model was trained on; none for a model from elsewhere."""
    return dict(_remembered(encoder).get("columns") or {})


def check_pairs(name: str, encoder: Any, kind: Kind, *, pairs: bool) -> None:
    """Refuses single texts for a model that was trained on pairs, and the reverse; a model from elsewhere takes both.

    Raises:
        UserError: They do not fit.
    """
    columns = remembered_columns(encoder)
    trained_on_pairs = columns.get("text_pair") is not None
    if columns and not kind.needs_pair and trained_on_pairs != pairs:
        given, wanted = ("pairs of texts", "single texts") if pairs else ("single texts", "pairs of texts")
        raise UserError(
            f"{name} was trained on {wanted}, and {given} are given", expected=wanted, fix="use the model on such data"
        )


def answer_threshold(encoder: Any) -> float:
    """The stored threshold; a model from elsewhere, which has none, gives what scores higher."""
    threshold = float(_remembered(encoder).get("no_answer_threshold", 0.0))
    return math.inf if threshold >= ALWAYS else threshold


def tokens_for(examples: Examples, task: Task, encoder: Any, tokenizer: Any, data: DataConfig) -> Encoded:
    """Tokenizes rows for one model, cut as in its training unless told otherwise."""
    own = _remembered(encoder)
    length = max_length(data.max_length or own.get("max_length"), task.kind, [(encoder, tokenizer)])
    return encode(examples, task, tokenizer, max_length=length, stride=own.get("stride") or data.stride)
