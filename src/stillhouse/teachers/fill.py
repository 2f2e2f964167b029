"""Computes what a store lacks of a split: every row once, in eval mode, at the run's precision."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stillhouse.console import OnProgress
from stillhouse.data.batch import Rows, TokenizedSplit, scoring_order
from stillhouse.errors import NotFinite
from stillhouse.features import Features, Needs
from stillhouse.models.adapter import compute_features, dimensions
from stillhouse.models.capture import short_texts_in_blocks
from stillhouse.models.forward import evaluating
from stillhouse.task import Task
from stillhouse.teachers.shard import Keys
from stillhouse.teachers.store import FeatureStore

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
    width = len(needs.hidden_states) * sizes.width + len(needs.attentions) * len(needs.parts) * sizes.attention_width
    logits = needs.logits * task.logits * LOGIT_BYTES
    has_token_logits = task.kind.has_token_logits
    a_token = width * dtype.itemsize + logits * has_token_logits
    a_row = KEY_BYTES + len(needs.cls) * sizes.width * dtype.itemsize + logits * (not has_token_logits)
    return lengths * a_token + a_row


@dataclass
class _Block:
    """Rows that wait to be written."""

    rows: list[Rows] = field(default_factory=list)
    columns: dict[str, list[Tensor]] = field(default_factory=dict)
    finite: list[Tensor] = field(default_factory=list)  # read when the block is written: reading makes the CPU wait
    size: int = 0
    begun: float = field(default_factory=time.perf_counter)


def fill_store(
    store: FeatureStore,
    keys: Keys,
    rows: Rows,
    columns: frozenset[str],
    encoder: nn.Module,
    split: TokenizedSplit,
    needs: Needs,
    *,
    accelerator: Any,
    report: OnProgress | None = None,
) -> None:
    """Adds columns of some rows, shard by shard; what was written before a failure stays.

    Args:
        store: Where to.
        keys: Of all rows of the split.
        rows: Those to add. With several processes each computes its share.
        columns: Those to add; what else the needs bring is not written.
        encoder: The teacher.
        split: The rows.
        needs: What the columns hold.
        accelerator: Gives device and precision.
        report: Told about the progress.

    Raises:
        NotFinite: An output is NaN or infinite.
        UserError: The disk is full, or refuses, and the store keeps nothing in memory.
    """
    rows = rows[accelerator.process_index :: accelerator.num_processes]
    lengths = split.teacher.lengths
    by_token = _by_token(split, columns)
    attentions: dict[int, dict[str, Any]] = {}
    block = _Block()

    def write() -> None:
        nonlocal block
        if block.rows:
            if not torch.stack(block.finite).all():
                raise NotFinite("the model's outputs are NaN or infinite")
            where = np.concatenate(block.rows)
            whole = {name: torch.cat(parts) for name, parts in block.columns.items()}
            store.add(keys[where], lengths[where], whole, by_token, attentions)
        block = _Block()

    autocast = accelerator.autocast()
    with evaluating(encoder.to(accelerator.device)), torch.inference_mode(), autocast, short_texts_in_blocks():
        parts = list(scoring_order(lengths[rows]))
        for number, part in enumerate(parts, 1):
            batch = split.batch(rows[part]).to(accelerator.device)
            features = compute_features(encoder, batch.teacher_inputs, needs)
            real = batch.teacher_inputs["attention_mask"].bool()
            for layer, attention in features.attentions.items():
                heads = next(one for one in (attention.query, attention.key, attention.value) if one is not None).shape[1]
                attentions[layer] = {"heads": heads, "scaling": attention.scaling, "window": attention.window}
            for name, value in _columns(features).items():
                if name not in columns:
                    continue
                block.finite.append(torch.isfinite(value).all())
                kept = _kept(value, real if name in by_token else None, torch.float32 if name == "logits" else store.dtype)
                block.columns.setdefault(name, []).append(kept)
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


def _by_token(split: TokenizedSplit, names: frozenset[str]) -> frozenset[str]:
    """Columns with a vector a token; CLS vectors, and the logits of whole rows, are not."""
    has_token_logits = split.task.kind.has_token_logits
    return frozenset(name for name in names if not name.startswith("cls_") and (name != "logits" or has_token_logits))


def _columns(features: Features) -> dict[str, Tensor]:
    """Features by column, heads side by side."""
    columns = {} if features.logits is None else {"logits": features.logits}
    columns |= {f"hidden_state_{layer}": state for layer, state in features.hidden_states.items()}
    columns |= {f"cls_{layer}": state for layer, state in features.cls.items()}
    for layer, attention in features.attentions.items():
        for part in ("query", "key", "value"):
            vectors = getattr(attention, part)
            if vectors is not None:
                columns[f"{part}_{layer}"] = vectors.transpose(1, 2).flatten(2)
    return columns
