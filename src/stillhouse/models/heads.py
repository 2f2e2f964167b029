"""The same encoder with something else on it."""

from __future__ import annotations

from typing import Any

from stillhouse.models.architecture import may_be_fresh
from stillhouse.models.loading import build_encoder
from stillhouse.task import Head


def with_head(encoder: Any, head: Head) -> Any:
    """A model with the weights of an encoder, in memory of its own, under another head.

    The head, and a pooler where the encoder has none, are drawn from torch's global generator.

    Raises:
        UserError: transformers has no such head for the family.
    """
    model = build_encoder(encoder.config, head)
    found = model.base_model.load_state_dict(encoder.base_model.state_dict(), strict=False)
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    lost = [name for name in found.missing_keys if not may_be_fresh(model, f"{prefix}{name}")]
    if lost:
        raise RuntimeError(f"{type(model).__name__} has {lost[0]}, which {type(encoder).__name__} does not give")
    return model
