"""One forward pass of an encoder on a batch -> Features, for student and teacher alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import Tensor, nn

from stillhouse.data.batch import Batch
from stillhouse.features import LOGITS, Features, Needs
from stillhouse.models.adapter import compute_features

Side = Literal["student", "teacher"]


def forward(encoder: nn.Module, batch: Batch, side: Side, needs: Needs) -> Features:
    """Features of one side of a batch; where a task has words, their logits are those at the first sub-word of each."""
    inputs = batch.student_inputs if side == "student" else batch.teacher_inputs
    words = batch.student_words if side == "student" else batch.teacher_words
    return at_words(compute_features(encoder, inputs, needs), words)


def at_words(features: Features, words: Tensor | None) -> Features:
    """The same with the logits of words in the place of tokens', where a task has words."""
    if words is None or LOGITS not in features.tensors:
        return features
    index = words[..., None].expand(-1, -1, features[LOGITS].shape[-1])
    return features.replaced({LOGITS: features[LOGITS].gather(1, index)})


@contextmanager
def evaluating(encoder: nn.Module) -> Iterator[None]:
    """Eval mode inside the block; afterwards the mode that was before."""
    was_training = encoder.training
    encoder.eval()
    try:
        yield
    finally:
        encoder.train(was_training)
