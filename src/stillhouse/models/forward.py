"""One forward pass of an encoder on a batch -> Features, for student and teacher alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stillhouse.console import OnProgress
from stillhouse.data.batch import Batch, Rows, TokenizedSplit, scoring_order
from stillhouse.data.ragged import Ragged
from stillhouse.errors import NotFinite
from stillhouse.features import Features, Needs
from stillhouse.models.adapter import compute_features

Side = Literal["student", "teacher"]
Logits = NDArray[np.float32] | Ragged


def forward(encoder: nn.Module, batch: Batch, side: Side, needs: Needs) -> Features:
    """Features of one side of a batch; the logits of tagging are those at the first sub-word of each word."""
    inputs = batch.student_inputs if side == "student" else batch.teacher_inputs
    words = batch.student_words if side == "student" else batch.teacher_words
    return at_words(compute_features(encoder, inputs, needs), words)


def at_words(features: Features, words: Tensor | None) -> Features:
    """The same with the logits of words in the place of tokens', where a task has words."""
    logits = features.logits
    if words is None or logits is None:
        return features
    index = words[..., None].expand(-1, -1, logits.shape[-1])
    return replace(features, logits=logits.gather(1, index))


@contextmanager
def evaluating(encoder: nn.Module) -> Iterator[None]:
    """Eval mode inside the block; afterwards the mode that was before."""
    was_training = encoder.training
    encoder.eval()
    try:
        yield
    finally:
        encoder.train(was_training)


def compute_logits(
    encoder: nn.Module,
    split: TokenizedSplit,
    side: Side,
    *,
    device: torch.device,
    autocast: AbstractContextManager[Any],
    report: OnProgress | None = None,
) -> Logits:
    """Logits of all rows of a split, each scored once, in eval mode.

    Args:
        encoder: The model; its training mode is restored afterwards.
        split: The rows.
        side: Whose tokens to read.
        device: Where the encoder is.
        autocast: Precision of the forward pass.
        report: Told how many batches of how many are done.

    Returns:
        `(rows, classes)`; ragged `(words, classes)` a row for tagging, `(tokens, 2)` a row for question answering.

    Raises:
        NotFinite: An output is NaN or infinite.
    """
    encoded = split.student if side == "student" else split.teacher
    order: list[Rows] = []
    chunks: list[NDArray[Any]] = []
    with evaluating(encoder), torch.inference_mode(), autocast:
        parts = list(scoring_order(encoded.lengths))
        for number, part in enumerate(parts, 1):
            batch = split.batch(part).to(device)
            logits = forward(encoder, batch, side, Needs(logits=True)).require_logits().float().cpu()
            if not torch.isfinite(logits).all():
                raise NotFinite("the model's outputs are NaN or infinite")
            order.append(part)
            chunks += _rows_of(logits, split, part, side)
            if report is not None:
                report(number, len(parts), f"scores of the {side}")
    where = np.concatenate(order) if order else np.empty(0, np.int64)
    if split.task.kind in ("tagging", "qa"):
        return Ragged.from_chunks(where, chunks)
    logits_by_row = np.empty((len(split), split.task.logits), dtype=np.float32)
    if len(where):
        logits_by_row[where] = np.stack(chunks)
    return logits_by_row


def _rows_of(logits: Tensor, split: TokenizedSplit, rows: Rows, side: Side) -> Iterator[NDArray[Any]]:
    values = logits.numpy()
    encoded = split.student if side == "student" else split.teacher
    if split.task.kind not in ("tagging", "qa"):
        yield from values
        return
    ragged = encoded.words if split.task.kind == "tagging" else encoded.input_ids
    assert ragged is not None
    for value, length in zip(values, ragged.lengths[rows], strict=True):
        yield value[:length].copy()
