"""A teacher is a source of Features for a batch: run beside the student, or scored once and kept."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from stillhouse.console import OnProgress
from stillhouse.data.batch import Batch, TokenizedSplit
from stillhouse.data.ragged import Ragged
from stillhouse.features import Features, Needs
from stillhouse.models.forward import Logits, compute_logits, forward


class Teacher(Protocol):
    """Gives the teacher's Features of a batch: detached, in eval mode."""

    def features(self, batch: Batch) -> Features: ...


class NoTeacher:
    """For stages that learn from gold labels alone."""

    def features(self, batch: Batch) -> Features:  # noqa: ARG002
        return Features()


class OnlineTeacher:
    """Runs the frozen model on every batch.

    Args:
        encoder: The teacher; its parameters are frozen here, and it is put into eval mode before every pass.
        needs: What the stage reads.
        accelerator: Gives device and precision.
    """

    def __init__(self, encoder: nn.Module, needs: Needs, accelerator: Any) -> None:
        self.encoder = encoder.to(accelerator.device).requires_grad_(False)
        self.needs = needs
        self._accelerator = accelerator

    def features(self, batch: Batch) -> Features:
        self.encoder.eval()
        with torch.no_grad(), self._accelerator.autocast():
            return forward(self.encoder, batch, "teacher", self.needs).detach()


class KeptTeacher:
    """Logits that were computed once, before the first step; text that repeats is never scored again.

    Args:
        logits: Of every row of the training split, as `compute_logits` gives them.
        device: Where the batches are.
    """

    def __init__(self, logits: Logits, device: torch.device) -> None:
        self.logits = logits
        self._device = device

    def features(self, batch: Batch) -> Features:
        rows = batch.rows.numpy()
        values = self.logits.padded(rows, 0.0)[0] if isinstance(self.logits, Ragged) else self.logits[rows]
        return Features(logits=torch.from_numpy(np.ascontiguousarray(values)).to(self._device))


def build_teacher(
    encoder: nn.Module | None,
    split: TokenizedSplit,
    needs: Needs,
    *,
    features: str,
    accelerator: Any,
    report: OnProgress | None = None,
) -> Teacher:
    """The cheapest source that gives what a stage needs.

    Args:
        encoder: The teacher; None where there is none.
        split: The training rows.
        needs: What the stage reads of the teacher.
        features: `auto` keeps logits where they are all that is needed, `online` runs the teacher every time.
        accelerator: Gives device and precision.
        report: Told about the progress of what is scored once.
    """
    if encoder is None or not needs.anything:
        return NoTeacher()
    if features == "auto" and needs.logits_only:
        encoder.to(accelerator.device).requires_grad_(False)
        logits = compute_logits(
            encoder, split, "teacher", device=accelerator.device, autocast=accelerator.autocast(), report=report
        )
        return KeptTeacher(logits, accelerator.device)
    return OnlineTeacher(encoder, needs, accelerator)
