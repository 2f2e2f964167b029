"""The head of a masked language model up to its last layer, which multiplies with a whole vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.features import VocabularyScores


@contextmanager
def vocabulary_scores(model: Any, *, keeps_logits: bool) -> Iterator[list[VocabularyScores]]:
    """What the scores of a pass, which has to run inside the block, are made of.

    Args:
        model: Of transformers, with a masked-LM head.
        keeps_logits: Whether the pass makes logits of its own, too; else it makes them of no token.

    Yields:
        The scores, filled when the block is left.

    Raises:
        RuntimeError: The model has no such head, or one of another form.
    """
    name = type(model).__name__
    decoder = model.get_output_embeddings()
    if not isinstance(decoder, nn.Linear):
        raise RuntimeError(f"{name} has no masked-LM head, so it gives no scores over its vocabulary")
    seen: list[Tensor] = []

    def keep(states: Tensor) -> Tensor:
        seen.append(states)
        return states if keeps_logits else states[:, :0]

    is_mobilebert = model.config.model_type == "mobilebert"
    if is_mobilebert:  # it multiplies with the weights of two layers at once, and calls neither
        handle = model.cls.predictions.transform.register_forward_hook(lambda _, __, states: keep(states))
    else:
        handle = decoder.register_forward_pre_hook(lambda _, given: (keep(given[0]), *given[1:]))
    scores: list[VocabularyScores] = []
    try:
        yield scores
    finally:
        handle.remove()
    if len(seen) != 1:
        raise RuntimeError(f"the masked-LM head of {name} ran {len(seen)} times through its last layer instead of once")
    # A view of the parameter: what leaves a wrapped forward has to have a graph by which the engine finds it.
    table = decoder.weight.view_as(decoder.weight)
    if is_mobilebert:
        table = torch.cat([table, model.cls.predictions.dense.weight.t()], dim=1)
    bias = table.new_zeros(len(table)) if decoder.bias is None else decoder.bias.view_as(decoder.bias)
    device = table.device.type
    states = seen[0].to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else seen[0]
    scores.append(VocabularyScores(states, table, bias))
