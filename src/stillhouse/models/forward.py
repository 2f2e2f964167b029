"""One forward pass of an encoder on a view of a batch -> Features, for student and teacher alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from stillhouse.data.batch import Inputs
from stillhouse.features import LOGITS, Features, Needs
from stillhouse.models.adapter import compute_features


def forward(encoder: nn.Module, inputs: Inputs, needs: Needs) -> Features:
    """Features of a batch in the encoder's tokens; where a task has words, their logits are those at each's first sub-word."""
    return at_words(compute_features(encoder, inputs.arguments(), needs), inputs.words)


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
