"""What objectives read: Features of a model's forward pass, and Needs that say which of them to compute.

Layer numbers live only here: hidden state 0 is the embedding output, hidden state `l` the output of layer `l` (1..layers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from jaxtyping import Bool, Float
from torch import Tensor

Part = Literal["query", "key", "value"]
PARTS: tuple[Part, ...] = ("query", "key", "value")
FeatureName = Literal["logits", "vocabulary", "hidden_state", "cls", Part]


@dataclass(frozen=True, order=True)
class Feature:
    """One tensor that a forward pass can give.

    Attributes:
        name: `logits`: task logits before softmax, `(batch, classes)` for sentences, `(batch, words, classes)` for tagging (at
            the first sub-word of each word), `(batch, tokens, 2)` for question answering (start, end). `vocabulary`: what a
            masked-LM head gives for every token, see `VocabularyScores`. `hidden_state`: `(batch, tokens, hidden)`. `cls`: its
            first token, `(batch, hidden)`. `query`, `key`, `value`: what a layer attends with, `(batch, heads, tokens,
            head_dim)`; ModernBERT's queries and keys are after their rotary positions.
        layer: Number of the hidden state, 0 = embedding output, or of the layer that attends, 1 = first; 0 for what a head
            gives.
    """

    name: FeatureName
    layer: int = 0

    def __str__(self) -> str:
        return self.name if self in (LOGITS, VOCABULARY) else f"{self.name}_{self.layer}"


LOGITS = Feature("logits")
VOCABULARY = Feature("vocabulary")


def parse_feature(text: str) -> Feature:
    """What `str` made of a feature, as a feature again.

    Raises:
        ValueError: It is none.
    """
    name, _, layer = text.rpartition("_")
    given_by_heads = {str(feature): feature for feature in (LOGITS, VOCABULARY)}
    found = given_by_heads.get(text) or Feature(name, int(layer))  # type: ignore[arg-type]
    if found.name not in get_args(FeatureName):
        raise ValueError(f"{text!r} is no feature")
    return found


Needs = frozenset[Feature]
"""Which features a stage needs of one model: what no loss reads must not leave the wrapped forward."""

NOTHING: Needs = frozenset()
ONLY_LOGITS: Needs = frozenset({LOGITS})
ONLY_VOCABULARY: Needs = frozenset({VOCABULARY})


def needs_of(names: Iterable[FeatureName], layers: Iterable[int]) -> Needs:
    """These features of all these layers."""
    numbers = tuple(layers)
    return frozenset(Feature(name, layer) for name in names for layer in numbers)


def layers_of(needs: Needs, *names: FeatureName) -> list[int]:
    """The layers of which one of these features is needed, in order."""
    return sorted({feature.layer for feature in needs if feature.name in names})


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
    """How a layer attends.

    Attributes:
        scaling: Factor of the scores, `1 / sqrt(head_dim)`.
        window: ModernBERT's local layers: how many tokens away a key may be; None = any.
    """

    scaling: float
    window: int | None = None


@dataclass(frozen=True)
class VocabularyScores:
    """Scores over a vocabulary before softmax, `states @ table.T + bias`, not multiplied out.

    Whole, those of a large batch take more memory than the model.

    Attributes:
        states: What the head gives its last layer, in the type in which that multiplies.
        table: That layer's weight, often the token embeddings'.
        bias: That layer's.
    """

    states: Float[Tensor, "*rows hidden"]
    table: Float[Tensor, "vocab hidden"]
    bias: Float[Tensor, " vocab"]

    def at(self, positions: Bool[Tensor, "batch tokens"]) -> VocabularyScores:
        """The scores of some tokens, one after the other, `(positions, vocab)`."""
        return replace(self, states=self.states[positions])

    def changed(self, change: Callable[[Tensor], Tensor]) -> VocabularyScores:
        """The same with every tensor changed."""
        return VocabularyScores(change(self.states), change(self.table), change(self.bias))


@dataclass(frozen=True)
class Features:
    """What one forward pass gave: exactly what was needed, nothing else.

    Not a mapping of its own: Accelerate would rebuild one with every tensor in float32.

    Attributes:
        tensors: By feature.
        attention: How the layers attend whose queries, keys or values are here.
        scores: What `VOCABULARY` asks for, where it was needed.
    """

    tensors: dict[Feature, Tensor] = field(default_factory=dict)
    attention: dict[int, Attention] = field(default_factory=dict)
    scores: VocabularyScores | None = None

    def __getitem__(self, feature: Feature) -> Tensor:
        """The tensor; one that was not computed is an error, never a silent zero."""
        if feature not in self.tensors:
            raise _not_computed(feature)
        return self.tensors[feature]

    @property
    def vocabulary(self) -> VocabularyScores:
        """The scores over the vocabulary; where they were not computed that is an error, too."""
        if self.scores is None:
            raise _not_computed(VOCABULARY)
        return self.scores

    def changed(self, change: Callable[[Tensor], Tensor]) -> Features:
        """The same with every tensor changed."""
        scores = None if self.scores is None else self.scores.changed(change)
        return Features({feature: change(tensor) for feature, tensor in self.tensors.items()}, self.attention, scores)

    def replaced(self, tensors: dict[Feature, Tensor]) -> Features:
        """The same with some tensors in the place of those that were there."""
        return replace(self, tensors=self.tensors | tensors)

    def detach(self) -> Features:
        return self.changed(lambda tensor: tensor.detach())


def _not_computed(feature: Feature) -> LookupError:
    return LookupError(f"{feature} was not computed: the objective must declare it in its Needs")
