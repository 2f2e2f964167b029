"""Seeded choices of rows: stratified samples, and the rows whose text appears elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from stillhouse.data.examples import Examples
from stillhouse.data.seeds import CHOICES, Purpose


def sample(
    strata: Sequence[Hashable],
    count: int,
    *,
    seed: int,
    purpose: Purpose,
) -> list[int]:
    """Chooses `count` rows, each stratum in proportion to its size (to within one row); the order of the rows is kept.

    The k-th row of a shuffled stratum of n rows gets the position (k + 1/2) / n, and the lowest positions win:
    Webster's apportionment. A smaller sample is therefore a part of any larger one with the same seed.

    Args:
        strata: For each row what it is stratified by; one and the same value where it is not.
        count: How many rows; at most all of them.
        seed: Seed of the choice.
        purpose: What the rows are for.
    """
    if count >= len(strata):
        return list(range(len(strata)))
    draws = np.random.default_rng([seed, CHOICES[purpose]]).random(len(strata))
    shuffled = np.argsort(draws, kind="stable")
    sizes = Counter(strata)
    seen: Counter[Hashable] = Counter()
    position = np.empty(len(strata))
    for row in shuffled.tolist():
        stratum = strata[row]
        position[row] = (seen[stratum] + 0.5) / sizes[stratum]
        seen[stratum] += 1
    return sorted(np.lexsort((draws, position))[:count].tolist())


def sample_groups(groups: Sequence[Hashable], count: int, *, seed: int, purpose: Purpose) -> list[int] | None:
    """Chooses whole groups of rows, in a shuffled order, until they hold `count` rows; the order of the rows is kept.

    Args:
        groups: For each row the group that it must not be torn from.
        count: Least number of rows; fewer where all but one group hold fewer.
        seed: Seed of the choice.
        purpose: What the rows are for.

    Returns:
        The chosen rows; None where there is a single group.
    """
    sizes = Counter(groups)
    names = list(sizes)
    if len(names) < 2:
        return None
    order = np.random.default_rng([seed, CHOICES[purpose]]).permutation(len(names))
    reached = np.cumsum([sizes[names[group]] for group in order])
    groups_taken = min(int(np.searchsorted(reached, count)) + 1, len(names) - 1)
    taken = {names[group] for group in order[:groups_taken]}
    return [row for row, group in enumerate(groups) if group in taken]


def share_of(rows: int, share: float) -> int:
    """How many of `rows` a share is: rounded, at least 1."""
    return max(1, round(rows * share))


def text_keys(examples: Examples) -> list[str]:
    """What makes two rows the same text: case-folded characters, not spacing, which tokenized text has more of."""
    firsts = ["".join(text.split() if isinstance(text, str) else text).casefold() for text in examples.text]
    if examples.text_pair is None:
        return firsts
    seconds = ["".join(text.split()).casefold() for text in examples.text_pair]
    return [f"{first}\n{second}" for first, second in zip(firsts, seconds, strict=True)]


def without_texts_of(examples: Examples, others: Sequence[Examples]) -> tuple[Examples, int, int]:
    """Drops the rows whose text also stands in `others`.

    Returns:
        The rows that stay, and how many labelled and unlabelled ones were dropped.
    """
    taken = {key for other in others for key in text_keys(other)}
    keys = text_keys(examples)
    kept = [row for row, key in enumerate(keys) if key not in taken]
    if len(kept) == len(keys):
        return examples, 0, 0
    stay = examples.select(kept)
    labelled = len(examples.labelled) - len(stay.labelled)
    return stay, labelled, len(examples) - len(stay) - labelled
