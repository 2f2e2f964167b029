"""What objectives read: Features of a model's forward pass, and Needs that say which of them to compute.

Layer numbers live only here: hidden state 0 is the embedding output, hidden state `l` the output of layer `l` (1..layers).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Needs:
    """Which features a stage needs of one model.

    Attributes:
        logits: Whether the task logits are needed.
        hidden_states: Numbers of the wanted hidden states, 0 = embedding output.
    """

    logits: bool = False
    hidden_states: frozenset[int] = frozenset()

    def __or__(self, other: Needs) -> Needs:
        return Needs(logits=self.logits or other.logits, hidden_states=self.hidden_states | other.hidden_states)

    @property
    def anything(self) -> bool:
        return self.logits or bool(self.hidden_states)

    @property
    def logits_only(self) -> bool:
        return self.logits and not self.hidden_states


@dataclass(frozen=True)
class Features:
    """What one forward pass gave: exactly what was needed, nothing else.

    Attributes:
        logits: Task logits before softmax: `(batch, classes)` for sentences, `(batch, words, classes)` for tagging (at the
            first sub-word of each word), `(batch, tokens, 2)` for question answering (start, end).
        hidden_states: Hidden states by number, each `(batch, tokens, hidden)`.
    """

    logits: Float[Tensor, ...] | None = None
    hidden_states: dict[int, Float[Tensor, "batch tokens hidden"]] = field(default_factory=dict)

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

    def detach(self) -> Features:
        return replace(
            self,
            logits=None if self.logits is None else self.logits.detach(),
            hidden_states={layer: state.detach() for layer, state in self.hidden_states.items()},
        )
