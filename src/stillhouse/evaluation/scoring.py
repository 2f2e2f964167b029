"""Every row of a split through a model, once: its logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stillhouse.console import OnProgress
from stillhouse.data.batch import Rows, TokenizedSplit, scoring_order
from stillhouse.data.ragged import Ragged
from stillhouse.errors import NotFinite
from stillhouse.features import LOGITS, ONLY_LOGITS
from stillhouse.models.forward import Side, evaluating, forward

Logits = NDArray[np.float32] | Ragged


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
            logits = forward(encoder, batch, side, ONLY_LOGITS)[LOGITS].float().cpu()
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
