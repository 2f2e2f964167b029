"""Every row of a split through a model, once: its logits; several processes share the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stillhouse.console import OnProgress
from stillhouse.data.ragged import Ragged, spans
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
    accelerator: Any,
    *,
    is_shared: bool = True,
    report: OnProgress | None = None,
) -> Logits:
    """Logits of all rows of a split, each scored once, in eval mode: the same ones in every process.

    Args:
        encoder: The model; its training mode is restored afterwards.
        split: The rows.
        view: Key of the tokens that it reads.
        accelerator: Gives device, where the encoder is, and precision.
        is_shared: Whether all processes have called this: then each scores its share of the batches.
        report: Told how many batches of how many are done.

    Returns:
        `(rows, classes)`; ragged, `(words, classes)` or `(tokens, 2)` a row, where `Kind.scored` is.

    Raises:
        NotFinite: An output is NaN or infinite; then every process raises it.
    """
    split = split.seen_by(view)
    encoded = split.views[view]
    scored: Ragged | None = split.task.kind.scored(encoded)
    lengths = np.ones(len(split), np.int64) if scored is None else scored.lengths
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    logits = np.zeros((int(offsets[-1]), split.task.logits), np.float32)
    parts = own_batches(encoded.lengths, accelerator) if is_shared else list(scoring_order(encoded.lengths))
    with evaluating(encoder), torch.inference_mode(), accelerator.autocast():
        for number, part in enumerate(parts, 1):
            batch = split.batch(part).to(accelerator.device)
            given = forward(encoder, batch.views[view], ONLY_LOGITS)[LOGITS].float().cpu().numpy()
            given = given[:, None] if scored is None else given
            is_real = np.arange(given.shape[1]) < lengths[part, None]
            logits[spans(offsets[part], lengths[part])] = given[is_real]
            if report is not None:
                report(number, len(parts), "scores")
    if is_shared:
        # Of others' rows each has zeros: their sum is exact, and NaN in one process is NaN in all.
        logits = summed(torch.from_numpy(logits), accelerator).numpy()
    if not np.isfinite(logits).all():
        raise NotFinite("the model's outputs are NaN or infinite")
    return logits if scored is None else Ragged(logits, offsets)


def own_batches(lengths: Rows, accelerator: Any, **options: int) -> list[Rows]:
    """The batches that this process scores: together those of one process, so that their outputs are the same.

    Args:
        lengths: Tokens of all rows.
        accelerator: The engine.
        options: Passed on to `scoring_order`.
    """
    return list(scoring_order(lengths, **options))[accelerator.process_index :: accelerator.num_processes]


def summed(values: Tensor, accelerator: Any) -> Tensor:
    """The sum of what all processes give, each of which has to call this, on the CPU."""
    if accelerator.num_processes == 1:
        return values.cpu()
    total: Tensor = accelerator.reduce(values.to(accelerator.device), "sum")
    return total.cpu()
