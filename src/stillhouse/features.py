"""What objectives read: Features of a model's forward pass, and Needs that say which of them to compute.

Layer numbers live only here: hidden state 0 is the embedding output, hidden state `l` the output of layer `l` (1..layers).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Float
from torch import Tensor

Part = Literal["query", "key", "value"]
PARTS: frozenset[Part] = frozenset({"query", "key", "value"})


@dataclass(frozen=True)
class Needs:
    """Which features a stage needs of one model.

    Attributes:
        logits: Whether the task logits are needed.
        hidden_states: Numbers of the wanted hidden states, 0 = embedding output.
        cls: Numbers of the hidden states of which only the first token, CLS, is wanted.
        attentions: Numbers of the layers whose queries, keys or values are wanted, 1 = first layer.
        parts: Which of the three are wanted; what no loss reads must not leave the wrapped forward.
    """

    logits: bool = False
    hidden_states: frozenset[int] = frozenset()
    cls: frozenset[int] = frozenset()
    attentions: frozenset[int] = frozenset()
    parts: frozenset[Part] = PARTS

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            logits=self.logits or other.logits,
            hidden_states=self.hidden_states | other.hidden_states,
            cls=self.cls | other.cls,
            attentions=self.attentions | other.attentions,
            parts=frozenset().union(*(needs.parts for needs in (self, other) if needs.attentions)) or PARTS,
        )

    @property
    def anything(self) -> bool:
        return self != Needs()

    @property
    def inside(self) -> bool:
        """Whether anything but the logits is wanted."""
        return bool(self.hidden_states or self.cls or self.attentions)

    @property
    def logits_only(self) -> bool:
        return self == Needs(logits=True)


@dataclass(frozen=True)
class Dimensions:
    """What a method has to know of an encoder to lay out its stages.

    Attributes:
        layers: Number of layers.
        width: Of the hidden states.
        heads: Attention heads of a layer.
        attention_width: Width of queries, keys and values, all heads together; MobileBERT's is narrower than its layers.
        windows: For each layer how far its attention reaches; None = everywhere.
        is_shared: Whether layers share their weights (ALBERT).
        family: Name of the architecture.
    """

    layers: int
    width: int
    heads: int
    attention_width: int
    windows: tuple[int | None, ...]
    is_shared: bool = False
    family: str = "bert"


@dataclass(frozen=True)
class Attention:
    """What one layer attends with; a part that was not asked for is None.

    Attributes:
        query: Queries; ModernBERT's, and its keys, are after their rotary positions.
        key: Keys.
        value: Values.
        scaling: Factor of the scores, `1 / sqrt(head_dim)`.
        window: ModernBERT's local layers: how many tokens away a key may be; None = any.
    """

    query: Float[Tensor, "batch heads tokens head_dim"] | None
    key: Float[Tensor, "batch heads tokens head_dim"] | None
    value: Float[Tensor, "batch heads tokens head_dim"] | None
    scaling: float
    window: int | None = None

    def scores(self) -> Float[Tensor, "batch heads tokens tokens"]:
        """`Q K^T / sqrt(head_dim)` in float32, before mask and softmax. Not to be called under autocast."""
        # The queries are smaller than the scores.
        return (self.require("query").float() * self.scaling) @ self.require("key").float().transpose(-1, -2)

    def require(self, part: Part) -> Float[Tensor, "batch heads tokens head_dim"]:
        """Queries, keys or values; a part that was not captured is an error, never a silent zero."""
        vectors: Tensor | None = getattr(self, part)
        if vectors is None:
            raise LookupError(f"the {part} was not captured: the objective must declare it in its Needs")
        return vectors

    def changed(self, change: Callable[[Tensor], Tensor]) -> Attention:
        """The same with every part changed."""
        query, key, value = (None if part is None else change(part) for part in (self.query, self.key, self.value))
        return Attention(query, key, value, self.scaling, self.window)


@dataclass(frozen=True)
class Features:
    """What one forward pass gave: exactly what was needed, nothing else.

    Attributes:
        logits: Task logits before softmax: `(batch, classes)` for sentences, `(batch, words, classes)` for tagging (at the
            first sub-word of each word), `(batch, tokens, 2)` for question answering (start, end).
        hidden_states: Hidden states by number, each `(batch, tokens, hidden)`.
        cls: First token of hidden states, by number, each `(batch, hidden)`.
        attentions: Queries, keys and values by layer.
    """

    logits: Float[Tensor, ...] | None = None
    hidden_states: dict[int, Float[Tensor, "batch tokens hidden"]] = field(default_factory=dict)
    cls: dict[int, Float[Tensor, "batch hidden"]] = field(default_factory=dict)
    attentions: dict[int, Attention] = field(default_factory=dict)

    def require_logits(self) -> Tensor:
        """The logits; an objective that reads them without having declared the need is a bug."""
        if self.logits is None:
            raise LookupError("logits were not computed: the objective must declare Needs(logits=True)")
        return self.logits

    def require_hidden_state(self, layer: int) -> Tensor:
        """Hidden state `layer`; one that was not captured is an error, never a silent zero."""
        if layer not in self.hidden_states:
            raise LookupError(f"hidden state {layer} was not captured: the objective must declare it in its Needs")
        return self.hidden_states[layer]

    def require_cls(self, layer: int) -> Tensor:
        """CLS of hidden state `layer`; like `require_hidden_state`."""
        if layer not in self.cls:
            raise LookupError(f"CLS of hidden state {layer} was not captured: the objective must declare it in its Needs")
        return self.cls[layer]

    def require_attention(self, layer: int) -> Attention:
        """Queries, keys and values of `layer`; like `require_hidden_state`."""
        if layer not in self.attentions:
            raise LookupError(f"Q, K and V of layer {layer} were not captured: the objective must declare them in its Needs")
        return self.attentions[layer]

    def changed(self, change: Callable[[Tensor], Tensor]) -> Features:
        """The same with every tensor changed."""
        return Features(
            logits=None if self.logits is None else change(self.logits),
            hidden_states={layer: change(state) for layer, state in self.hidden_states.items()},
            cls={layer: change(state) for layer, state in self.cls.items()},
            attentions={layer: attention.changed(change) for layer, attention in self.attentions.items()},
        )

    def detach(self) -> Features:
        return self.changed(lambda tensor: tensor.detach())
