from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.data.examples import Examples
from stillhouse.data.splits import sample, sample_groups, share_of, text_keys, without_texts_of


def test_strata_in_proportion() -> None:
    # Of 70 a, 20 b, 10 c a sample of 10 holds 7 + 2 + 1.
    strata = ["a"] * 70 + ["b"] * 20 + ["c"] * 10
    rows = sample(strata, 10, seed=0, purpose="selection")
    assert Counter(strata[row] for row in rows) == {"a": 7, "b": 2, "c": 1}
    assert rows == sorted(rows)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.integers(0, 60), st.integers(0, 5))
def test_sample_has_its_size_and_is_part_of_a_larger_one(strata: list[str], count: int, seed: int) -> None:
    rows = sample(strata, count, seed=seed, purpose="max_labels")
    assert len(set(rows)) == len(rows) == min(count, len(strata))
    assert set(rows) <= set(sample(strata, count + 1, seed=seed, purpose="max_labels"))
    for stratum, size in Counter(strata).items():
        assert abs(sum(strata[row] == stratum for row in rows) - size * len(rows) / len(strata)) <= 1.5


def test_seed_and_purpose_matter_and_nothing_else() -> None:
    first = sample([0] * 101, 11, seed=1, purpose="validation")
    assert first == sample([0] * 101, 11, seed=1, purpose="validation")
    assert first != sample([0] * 101, 11, seed=2, purpose="validation")
    assert first != sample([0] * 101, 11, seed=1, purpose="selection")


@pytest.mark.parametrize(("rows", "share", "count"), [(101, 0.1, 10), (3, 0.1, 1), (19, 0.5, 10), (7, 0.25, 2)])
def test_share(rows: int, share: float, count: int) -> None:
    assert share_of(rows, share) == count


def test_keys_of_sentences_words_and_pairs() -> None:
    assert text_keys(Examples(["A  b\tC ", "a b d"], [0, 0])) == ["abc", "abd"]
    assert text_keys(Examples([["A", "b"]], [None])) == ["ab"]
    # Tokenized text is the text that it was made from.
    assert text_keys(Examples([["It", "'s", "fine", "."]], [None])) == text_keys(Examples(["it's fine."], [None]))
    pairs = text_keys(Examples(["a b", "a"], [0, 0], ["c", "b c"]))
    assert len(set(pairs)) == 2  # where one side ends is part of the key


def test_rows_of_other_splits_are_dropped_and_counted() -> None:
    rows = Examples(["One", "two", "two ", "three", "four"], [1, 0, None, None, 0])
    stay, labelled, unlabelled = without_texts_of(rows, [Examples(["ONE"], [1]), Examples(["two"], [0])])
    assert (stay.text, stay.labels, stay.ids) == (["three", "four"], [None, 0], ["3", "4"])
    assert (labelled, unlabelled) == (2, 1)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=60), st.integers(1, 60), st.integers(0, 5))
def test_groups_are_taken_whole(groups: list[int], count: int, seed: int) -> None:
    rows = sample_groups(groups, count, seed=seed, purpose="selection")
    if len(set(groups)) == 1:
        assert rows is None
        return
    assert rows == sorted(rows)
    taken = {groups[row] for row in rows}
    assert rows == [row for row, group in enumerate(groups) if group in taken]
    assert len(taken) < len(set(groups))  # something is left to train on
    largest = max(map(groups.count, groups))
    assert len(rows) < count + largest
    assert len(rows) >= count or len(taken) == len(set(groups)) - 1
