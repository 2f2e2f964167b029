"""Which tokens of a step are hidden, and what stands in their place."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stillhouse.config import Fraction, Frozen, NonNegativeFloat
from stillhouse.corpus.tokens import Vocabulary
from stillhouse.data.batch import IGNORED

Ids = NDArray[np.int64]
_LEAST = 1e-300  # a weight that a float can be divided by


class Masking(Frozen):
    """How tokens are hidden for a masked language model; BERT's way unless told otherwise.

    A step with n real tokens, special ones counted, has exactly ceil(share n) targets, drawn without replacement among those
    that are not special; all of these where there are fewer. A token of id v is drawn with weight max(count(v), 1)^-rarity.

    Attributes:
        share: Of the tokens of a step that are targets.
        rarity: How much rare tokens are preferred: 0 = not at all, DistilBERT 0.7.
        whole_words: Draw words instead of tokens, all of whose tokens are targets; a word's weight is the mean of its tokens'.
            One that has more tokens than are still to be drawn is passed over, so that there may be fewer targets than
            `share` says where short words run out.
        hidden: Share of the targets that the mask token stands for.
        replaced: Share of them for which any token that is not special stands, drawn evenly. All others stay.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    rarity: NonNegativeFloat = 0.0
    whole_words: bool = False
    hidden: Fraction = 0.8
    replaced: Fraction = 0.1

    @model_validator(mode="after")
    def _check_shares(self) -> Masking:
        if self.hidden + self.replaced > 1 + 1e-9:
            raise PydanticCustomError("shares", "hidden and replaced should be 1 together, or less")
        return self

    def targets(self, tokens: int) -> int:
        """How many targets so many tokens have; what is lost in writing the share as a float is no token more."""
        return math.ceil(round(self.share * tokens, 6))


def mask(
    ids: Ids,
    row_starts: Ids,
    masking: Masking,
    vocabulary: Vocabulary,
    counts: Ids,
    random: np.random.Generator,
) -> tuple[Ids, Ids]:
    """Hides some of the tokens of a step.

    Args:
        ids: Of all real tokens of its rows, one row after the other.
        row_starts: Where each row begins in it.
        masking: How many, and which.
        vocabulary: Theirs, with a mask token.
        counts: Of every id of the vocabulary how often the corpus has it.
        random: What is drawn, is drawn from this.

    Returns:
        The ids that models see, and what the targets were: -100 where a token is none.
    """
    assert vocabulary.mask is not None
    candidates = np.flatnonzero(~vocabulary.is_special[ids])
    weights = np.maximum(np.maximum(counts[ids[candidates]], 1).astype(np.float64) ** -masking.rarity, _LEAST)
    wanted = min(masking.targets(len(ids)), len(candidates))
    if masking.whole_words:
        assert vocabulary.starts is not None
        begins = vocabulary.starts[ids].astype(np.int64)
        begins[row_starts] = 1
        # A special token, which is no candidate, begins a word and ends the one before.
        chosen = candidates[_whole_words(np.cumsum(begins)[candidates], weights, wanted, random)]
    else:
        chosen = candidates[_drawn(weights, wanted, random)]
    seen, labels = ids.copy(), np.full(len(ids), IGNORED, dtype=np.int64)
    labels[chosen] = ids[chosen]
    draws, others = random.random(len(chosen)), vocabulary.ordinary
    instead = others[random.integers(0, len(others), len(chosen))]
    is_hidden = draws < masking.hidden
    is_replaced = ~is_hidden & (draws < masking.hidden + masking.replaced)
    seen[chosen[is_hidden]] = vocabulary.mask
    seen[chosen[is_replaced]] = instead[is_replaced]
    return seen, labels


def _order(weights: NDArray[np.float64], random: np.random.Generator) -> Ids:
    """All numbers in the order in which draws without replacement take them: of exponential times, the shortest first."""
    return np.argsort(random.exponential(size=len(weights)) / weights, kind="stable")


def _drawn(weights: NDArray[np.float64], wanted: int, random: np.random.Generator) -> Ids:
    return np.sort(_order(weights, random)[:wanted])


def _whole_words(words: Ids, weights: NDArray[np.float64], wanted: int, random: np.random.Generator) -> Ids:
    """Positions of whole words among the candidates; `words` says of each, in order, which it belongs to."""
    _, starts, sizes = np.unique(words, return_index=True, return_counts=True)
    means = np.add.reduceat(weights, starts) / sizes if len(starts) else weights
    chosen: list[Ids] = []
    for word in _order(means, random):
        if sizes[word] <= wanted:
            chosen.append(np.arange(starts[word], starts[word] + sizes[word]))
            wanted -= int(sizes[word])
        if not wanted:
            break
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)
