"""Entity spans of tagged sentences, and how many of them two taggings share.

The rules are those of conlleval, which seqeval's default mode follows: tags are read leniently, so that an I- after O,
or after another type, opens a span. IOB1, IOB2, IOBES, BILOU, BMES and BMEWO are all read by the same rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Span = tuple[str, int, int]

# IOBES's prefixes, and those of BILOU (last, unit), BMES and BMEWO (middle, whole) under IOBES's names.
_PREFIXES = {"B": "B", "I": "I", "O": "O", "E": "E", "S": "S", "L": "E", "U": "S", "M": "I", "W": "S"}


def entity_spans(tags: Sequence[str]) -> list[Span]:
    """The spans of one sentence as (type, first word, last word), in order.

    A span opens at B- or S-, at any other tag after O, E- or S-, and where the type changes; it closes after E- or S-,
    and before a word that opens another or is O. A tag without a prefix (`PER`) is inside its own type, so that a run of
    equal tags is one span.
    """
    spans: list[Span] = []
    first, previous, previous_type = 0, "O", ""
    for word, tag in enumerate(tags):
        prefix, entity = _split(tag)
        opens = prefix in ("B", "S") or previous in ("O", "E", "S") or entity != previous_type
        if previous != "O" and (opens or prefix == "O"):
            spans.append((previous_type, first, word - 1))
        if prefix != "O" and opens:
            first = word
        previous, previous_type = prefix, entity
    if previous != "O":
        spans.append((previous_type, first, len(tags) - 1))
    return spans


def span_statistics(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Per sentence: spans right in type and both ends, spans predicted, spans in gold, `(sentences, 3)`.

    Args:
        gold: Tags of each sentence.
        predicted: As many tags for each sentence.
    """
    statistics = np.empty((len(gold), 3))
    for row, (gold_tags, predicted_tags) in enumerate(zip(gold, predicted, strict=True)):
        if len(gold_tags) != len(predicted_tags):
            raise ValueError(f"sentence {row} has {len(gold_tags)} gold tags but {len(predicted_tags)} predicted ones")
        gold_spans, predicted_spans = entity_spans(gold_tags), entity_spans(predicted_tags)
        right = len(set(gold_spans).intersection(predicted_spans))
        statistics[row] = right, len(predicted_spans), len(gold_spans)
    return statistics


def token_statistics(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Per sentence: words whose tag is right, and words, `(sentences, 2)`."""
    statistics = np.empty((len(gold), 2))
    for row, (gold_tags, predicted_tags) in enumerate(zip(gold, predicted, strict=True)):
        pairs = zip(gold_tags, predicted_tags, strict=True)
        statistics[row] = sum(one == other for one, other in pairs), len(gold_tags)
    return statistics


def precision_recall_f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Micro precision, recall and F1 of summed statistics `(..., 3)`; 0 where a denominator is 0."""
    right, predicted, gold = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    numerator = np.stack((right, right, 2 * right), axis=-1)
    denominator = np.stack((predicted, gold, predicted + gold), axis=-1)
    shares: NDArray[np.float64] = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    return shares


def _split(tag: str) -> tuple[str, str]:
    prefix, separator, entity = tag.partition("-")
    if prefix not in _PREFIXES:
        return "I", tag
    # A bare B or I names no type: all such spans are of one nameless type.
    return _PREFIXES[prefix], entity if separator else ""
