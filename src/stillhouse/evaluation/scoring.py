"""Every row of a split through a model, once: its logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from stillhouse.console import OnProgress
from stillhouse.data.ragged import Ragged
from stillhouse.data.text import Rows, scoring_order
from stillhouse.data.tokenized_split import TokenizedSplit
from stillhouse.errors import NotFinite
from stillhouse.features import LOGITS, ONLY_LOGITS
from stillhouse.models.forward import evaluating, forward

Logits = NDArray[np.float32] | Ragged


def compute_logits(
    encoder: nn.Module,
    split: TokenizedSplit,
    view: int,
    *,
    device: torch.device,
    autocast: AbstractContextManager[Any],
    report: OnProgress | None = None,
) -> Logits:
    """Logits of all rows of a split, each scored once, in eval mode.

    Args:
        encoder: The model; its training mode is restored afterwards.
        split: The rows.
        view: Key of the tokens that it reads.
        device: Where the encoder is.
        autocast: Precision of the forward pass.
        report: Told how many batches of how many are done.

    Returns:
        `(rows, classes)`; ragged, `(words, classes)` or `(tokens, 2)` a row, where `Kind.scored` is.

    Raises:
        NotFinite: An output is NaN or infinite.
    """
    split = split.seen_by(view)
    encoded = split.views[view]
    scored: Ragged | None = split.task.kind.scored(encoded)
    order: list[Rows] = []
    chunks: list[NDArray[Any]] = []
    with evaluating(encoder), torch.inference_mode(), autocast:
        parts = list(scoring_order(encoded.lengths))
        for number, part in enumerate(parts, 1):
            batch = split.batch(part).to(device)
            logits = forward(encoder, batch.views[view], ONLY_LOGITS)[LOGITS].float().cpu()
            if not torch.isfinite(logits).all():
                raise NotFinite("the model's outputs are NaN or infinite")
            order.append(part)
            chunks += _rows_of(logits.numpy(), None if scored is None else scored.lengths[part])
            if report is not None:
                report(number, len(parts), "scores")
    where = np.concatenate(order) if order else np.empty(0, np.int64)
    if scored is not None:
        return Ragged.from_chunks(where, chunks)
    logits_by_row = np.empty((len(split), split.task.logits), dtype=np.float32)
    if len(where):
        logits_by_row[where] = np.stack(chunks)
    return logits_by_row


def _rows_of(logits: NDArray[Any], lengths: Rows | None) -> Iterator[NDArray[Any]]:
    if lengths is None:
        yield from logits
        return
    for value, length in zip(logits, lengths, strict=True):
        yield value[:length].copy()
