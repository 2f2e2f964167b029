"""Computes what a store lacks of a text: every row once, in eval mode, at the run's precision."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stillhouse.console import OnProgress
from stillhouse.data.text import Rows, scoring_order
from stillhouse.data.tokenized_split import TokenizedSplit
from stillhouse.errors import NotFinite
from stillhouse.features import LOGITS, PARTS, Feature, Needs
from stillhouse.models.adapter import compute_features, dimensions
from stillhouse.models.capture import short_texts_in_blocks
from stillhouse.models.forward import evaluating
from stillhouse.task import Task
from stillhouse.teachers.store import FeatureStore, Index

# After so much a shard is written: what is lost by a kill, and what is held in memory.
SHARD_BYTES, SHARD_SECONDS = 64 * 2**20, 60.0
KEY_BYTES = 20  # a row's key and its length
LOGIT_BYTES = 4  # logits are always stored in float32


def stored_bytes(encoder: Any, needs: Needs, dtype: torch.dtype, task: Task, lengths: Rows) -> NDArray[np.int64]:
    """What rows take in a store.

    Args:
        encoder: The teacher.
        needs: What is kept.
        dtype: Of all but the logits.
        task: Whose logits.
        lengths: Tokens of the rows.
    """
    sizes = dimensions(encoder.config)
    a_token, a_row = 0, KEY_BYTES
    for feature in needs:
        is_logits, is_attended = feature == LOGITS, feature.name in PARTS
        width = task.logits if is_logits else sizes.attention_width if is_attended else sizes.width
        size = width * (LOGIT_BYTES if is_logits else dtype.itemsize)
        if _is_by_token(feature, task):
            a_token += size
        else:
            a_row += size
    return lengths * a_token + a_row


@dataclass
class _Block:
    """Rows that wait to be written."""

    rows: list[Rows] = field(default_factory=list)
    columns: dict[Feature, list[Tensor]] = field(default_factory=dict)
    finite: list[Tensor] = field(default_factory=list)  # read when the block is written: reading makes the CPU wait
    size: int = 0
    begun: float = field(default_factory=time.perf_counter)


def fill_store(
    store: FeatureStore,
    index: Index,
    rows: Rows,
    missing: Needs,
    encoder: nn.Module,
    text: TokenizedSplit,
    *,
    view: int,
    accelerator: Any,
    report: OnProgress | None = None,
) -> None:
    """Adds columns of some rows, shard by shard; what was written before a failure stays.

    Args:
        store: Where to.
        index: Of all rows of the text.
        rows: Those to add. With several processes each computes its share.
        missing: The features to add.
        encoder: The teacher.
        text: The rows.
        view: Key of the tokens that the teacher reads.
        accelerator: Gives device and precision.
        report: Told about the progress.

    Raises:
        NotFinite: An output is NaN or infinite.
        UserError: The disk is full, or refuses, and the store keeps nothing in memory.
    """
    rows = rows[accelerator.process_index :: accelerator.num_processes]
    by_token = frozenset(feature for feature in missing if _is_by_token(feature, text.task))
    attentions: dict[int, dict[str, Any]] = {}
    block = _Block()

    def write() -> None:
        nonlocal block
        if block.rows:
            if not torch.stack(block.finite).all():
                raise NotFinite("the model's outputs are NaN or infinite")
            where = np.concatenate(block.rows)
            whole = {name: torch.cat(parts) for name, parts in block.columns.items()}
            store.add(index.keys[where], index.lengths[where], whole, by_token, attentions)
        block = _Block()

    autocast = accelerator.autocast()
    with evaluating(encoder.to(accelerator.device)), torch.inference_mode(), autocast, short_texts_in_blocks():
        parts = list(scoring_order(index.lengths[rows]))
        for number, part in enumerate(parts, 1):
            inputs = text.batch(rows[part]).to(accelerator.device).views[view]
            features = compute_features(encoder, inputs.arguments(), missing)
            real = inputs.mask.bool()
            for feature, tensor in features.tensors.items():
                value = tensor
                if feature.name in PARTS:
                    attention = features.attention[feature.layer]
                    attentions[feature.layer] = {"heads": tensor.shape[1], **asdict(attention)}
                    value = tensor.transpose(1, 2).flatten(2)  # heads side by side
                block.finite.append(torch.isfinite(value).all())
                dtype = torch.float32 if feature == LOGITS else store.dtype
                kept = _kept(value, real if feature in by_token else None, dtype)
                block.columns.setdefault(feature, []).append(kept)
                block.size += kept.nbytes
            block.rows.append(rows[part])
            if block.size >= SHARD_BYTES or time.perf_counter() - block.begun >= SHARD_SECONDS:
                write()
            if report is not None:
                report(number, len(parts), "features of the teacher")
        write()


def _kept(value: Tensor, real: Tensor | None, dtype: torch.dtype) -> Tensor:
    """In memory until it is written: real tokens alone; of a row's vector no view, which would hold those of its tokens."""
    return (value.contiguous() if real is None else value[real]).to("cpu", dtype)


def _is_by_token(feature: Feature, task: Task) -> bool:
    """Whether a row has a vector for each token; CLS vectors, and the logits of whole rows, are not such."""
    return feature.name != "cls" and (feature != LOGITS or task.kind.has_token_logits)
