"""A teacher is a source of Features for a batch: run beside the student, or computed once and read from the store."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from numpy.typing import NDArray
from torch import Tensor, nn

from stillhouse.config import TeacherConfig
from stillhouse.console import OnProgress
from stillhouse.data.batch import Batch
from stillhouse.data.text import Rows, Text
from stillhouse.data.tokenized_split import TokenizedSplit
from stillhouse.errors import UserError
from stillhouse.features import LOGITS, ONLY_LOGITS, VOCABULARY, Features, Needs
from stillhouse.files import free_space
from stillhouse.models.capture import attend_in_blocks, short_texts_in_blocks
from stillhouse.models.forward import at_words, forward
from stillhouse.teachers.fill import fill_store, stored_bytes
from stillhouse.teachers.store import FeatureStore, Index, row_keys, store_root, used_bytes

LEAST_SHARE = 0.1  # of the rows in the store, below which a store is not worth its disk


class Teacher(Protocol):
    """Gives the teacher's Features of a batch: detached, in eval mode."""

    def features(self, batch: Batch) -> Features: ...


class NoTeacher:
    """For stages that learn from gold labels alone."""

    def features(self, batch: Batch) -> Features:  # noqa: ARG002
        return Features()


class OnlineTeacher:
    """Runs the frozen model on every batch, and rounds to what a store would keep.

    Args:
        encoder: The teacher; its parameters are frozen here, and it is put into eval mode before every pass.
        needs: What the stage reads.
        accelerator: Gives device and precision.
        view: Key of the tokens that it reads.
    """

    def __init__(self, encoder: nn.Module, needs: Needs, accelerator: Any, view: int = 0) -> None:
        self.encoder = encoder.to(accelerator.device).requires_grad_(False)
        self.needs = needs
        self.view = view
        self._accelerator = accelerator

    def features(self, batch: Batch) -> Features:
        self.encoder.eval()
        with torch.no_grad(), self._accelerator.autocast(), short_texts_in_blocks():
            features = forward(self.encoder, batch.views[self.view], self.needs).detach()
        return _rounded(features, kept_dtype(self._accelerator))


class StoredTeacher:
    """Reads Features of rows that a store has; others, and rows that are none of the text's, go through the model.

    Args:
        index: Of the text in the store.
        needs: What the stage reads.
        online: The model beside it.
        device: Where the batches are.
    """

    def __init__(self, index: Index, needs: Needs, online: OnlineTeacher, device: torch.device) -> None:
        self.index, self.needs, self.online = index, needs, online
        self._device = device
        self._has = ~index.lacking()

    def features(self, batch: Batch) -> Features:
        rows = batch.rows.numpy()
        known = (rows >= 0) & self._has[rows]
        if known.all():
            return self._read(batch, rows)
        if not known.any():
            return self.online.features(batch)
        stored, other = np.flatnonzero(known), np.flatnonzero(~known)
        parts = self._read(batch.select(stored), rows[stored]), self.online.features(batch.select(other))
        return _merged(parts, (stored, other))

    def _read(self, batch: Batch, rows: Rows) -> Features:
        inputs = batch.views[self.online.view]
        features = self.index.features(self.needs, rows, inputs.ids.shape[1])
        return at_words(features.changed(self._moved), inputs.words)

    def _moved(self, tensor: Tensor) -> Tensor:
        # From memory that the system may move a copy to a GPU would make the CPU wait.
        return tensor if self._device.type == "cpu" else tensor.pin_memory().to(self._device, non_blocking=True)


def kept_dtype(accelerator: Any) -> torch.dtype:
    """In what the store keeps features at the run's precision."""
    return torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32


def _rounded(features: Features, dtype: torch.dtype) -> Features:
    """What reading from a store would give: logits are never rounded, nor scores over a vocabulary."""
    kept = {name: tensor.to(torch.float32 if name == LOGITS else dtype) for name, tensor in features.tensors.items()}
    return features.replaced(kept)


def _merged(parts: tuple[Features, Features], places: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Features:
    """The Features of two parts of a batch as those of the whole."""
    one, other = parts

    def together(a: Tensor, b: Tensor) -> Tensor:
        result = a.new_empty((len(a) + len(b), *a.shape[1:]))
        for part, place in zip((a, b), places, strict=True):
            result[torch.from_numpy(place).to(result.device)] = part.to(result.dtype)
        return result

    return one.replaced({feature: together(tensor, other[feature]) for feature, tensor in one.tensors.items()})


@dataclass(frozen=True)
class Source:
    """How teachers are run, for all stages of a run.

    Attributes:
        config: Where features come from, and how much room they may take.
        name: What people call the teacher.
        digest: Of the teacher's class, configuration and weights.
        is_shared: Whether other runs will want the same features: a comparison's.
        view: Key of the tokens that the teacher reads.
    """

    config: TeacherConfig
    name: str = ""
    digest: str = ""
    is_shared: bool = False
    view: int = 0

    @property
    def root(self) -> Path:
        return store_root(self.config.store)


def build_teacher(
    encoder: nn.Module | None,
    text: Text,
    needs: Needs,
    source: Source,
    *,
    epochs: float,
    accelerator: Any,
    report: OnProgress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Teacher:
    """The cheapest source that gives what a stage needs.

    Args:
        encoder: The teacher; None where there is none.
        text: The training rows; what of them is not the same every time is never kept.
        needs: What the stage reads of the teacher.
        source: `online` runs the teacher every time; `store` keeps everything; `auto` keeps what is read more than once, as
            far as there is room.
        epochs: How often the stage sees a row.
        accelerator: Gives device and precision.
        report: Told about the progress of what is computed once.
        say: Told what people have to know.
    """
    if encoder is None or not needs:
        return NoTeacher()
    if accelerator.device.type == "cpu":
        attend_in_blocks(encoder)
    config = source.config
    online = OnlineTeacher(encoder, needs, accelerator, source.view)
    if config.features == "online" or VOCABULARY in needs or not (isinstance(text, TokenizedSplit) and text.repeats):
        return online  # no disk has room for scores over a vocabulary, or for the features of plain text
    precision = "bf16" if kept_dtype(accelerator) == torch.bfloat16 else "fp32"
    # Logits are small: where they cannot be written they are kept here.
    store = FeatureStore(source.root, source.digest, precision, name=source.name, may_hold=needs == ONLY_LOGITS, say=say)
    encoded = text.encoded(source.view)
    keys, lengths = row_keys(encoded), encoded.lengths
    index = store.index(keys, lengths, needs)
    missing = [_Missing(rows, features) for features, rows in index.missing()]
    is_read_once = not source.is_shared and (epochs < 1 or (epochs == 1 and needs != ONLY_LOGITS))
    if config.features == "auto" and is_read_once:
        missing = []
    limit = source.config.store_limit_gib if config.features == "auto" else math.inf
    sizes = [stored_bytes(encoder, part.needs, store.dtype, text.task, lengths[part.rows]) for part in missing]
    missing = _what_fits(missing, sizes, limit, store, say)
    # Processes may have found different things: the first one's view holds, so that each computes its share of one list.
    (missing,) = broadcast_object_list([missing])
    if missing:
        try:
            store.create()
            for part in missing:
                fill_store(
                    store,
                    index,
                    part.rows,
                    part.needs,
                    encoder,
                    text,
                    view=source.view,
                    accelerator=accelerator,
                    report=report,
                )
        except UserError as error:
            say(
                f"  teacher features cannot be kept ({error.given}): the teacher runs beside the student "
                "(--store names another place, `stillhouse store rm` frees some)"
            )
        accelerator.wait_for_everyone()
        index = store.index(keys, lengths, needs)
    return online if index.lacking().all() else StoredTeacher(index, needs, online, accelerator.device)


@dataclass(frozen=True)
class _Missing:
    """Features that some rows lack.

    Attributes:
        rows: Numbers in the text.
        needs: The features.
    """

    rows: Rows
    needs: Needs


def _what_fits(
    missing: list[_Missing],
    sizes: list[NDArray[np.int64]],
    limit: float,
    store: FeatureStore,
    say: Callable[[str], None],
) -> list[_Missing]:
    """As many of the rows as there is room for: within the limit of all stores, GiB, and half of what the disk has left.

    What may be held in memory is never cut. `sizes` are the bytes that each row takes.
    """
    if not missing:
        return []
    root = store.folder.parent
    room = min(limit * 2**30 - used_bytes(root), free_space(root) / 2)
    rows, asked = sum(len(part.rows) for part in missing), sum(int(size.sum()) for size in sizes)
    if asked <= room:
        return missing
    if store.may_hold:
        store.hold(f"they take {_size(asked)}, there is room for {_size(room)}")
        return missing
    fitting, left = [], room
    for part, size in zip(missing, sizes, strict=True):
        fits = np.cumsum(size) <= left
        fitting.append(replace(part, rows=part.rows[fits]))
        left -= int(size[fits].sum())
    fitting = [part for part in fitting if len(part.rows)]
    is_worth_it = sum(len(part.rows) for part in fitting) >= LEAST_SHARE * rows
    others = " for the others" if is_worth_it else ""
    advice = "`stillhouse store rm` frees some"
    if limit < math.inf:
        advice += ", --set teacher.store_limit_gib=... allows more"
    say(
        f"  features of {rows:,} rows take {_size(asked)}, there is room for {_size(room)}: "
        f"the teacher runs beside the student{others} ({advice})"
    )
    return fitting if is_worth_it else []


def _size(count: float) -> str:
    return f"{max(0, count) / 2**30:,.1f} GiB" if count >= 2**29 else f"{max(0, count) / 2**20:,.1f} MiB"
