"""Features and needs, put together and taken apart by what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from stillhouse.features import LOGITS, NOTHING, ONLY_LOGITS, PARTS, Attention, Feature, Features, Needs, needs_of


@dataclass(frozen=True)
class Attended:
    """All that one layer attends with."""

    query: Tensor
    key: Tensor
    value: Tensor
    scaling: float
    window: int | None = None

    def scores(self) -> Tensor:
        """`Q K^T / sqrt(head_dim)` in float32, before mask and softmax."""
        return (self.query.float() * self.scaling) @ self.key.float().transpose(-1, -2)


def needing(*, logits=False, hidden_states=(), cls=(), attentions=(), parts=PARTS) -> Needs:
    """Needs by kind and layer."""
    states = needs_of(("hidden_state",), hidden_states) | needs_of(("cls",), cls)
    return (ONLY_LOGITS if logits else NOTHING) | states | needs_of(parts, attentions)


def giving(
    *,
    logits: Tensor | None = None,
    hidden_states: Mapping[int, Tensor] | None = None,
    cls: Mapping[int, Tensor] | None = None,
    attentions: Mapping[int, Attended] | None = None,
) -> Features:
    """Features by kind and layer."""
    tensors = {} if logits is None else {LOGITS: logits}
    tensors |= {Feature("hidden_state", layer): state for layer, state in (hidden_states or {}).items()}
    tensors |= {Feature("cls", layer): state for layer, state in (cls or {}).items()}
    for layer, one in (attentions or {}).items():
        tensors |= {Feature(part, layer): getattr(one, part) for part in PARTS}
    return Features(tensors, {layer: Attention(one.scaling, one.window) for layer, one in (attentions or {}).items()})


def attended(features: Features, layer: int) -> Attended:
    """A layer's attention, of features that have all of it."""
    how = features.attention[layer]
    return Attended(*(features[Feature(part, layer)] for part in PARTS), how.scaling, how.window)


def attended_layers(features: Features) -> dict[int, Attended]:
    """Every layer's."""
    return {layer: attended(features, layer) for layer in features.attention}
