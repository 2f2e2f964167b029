"""Entity spans read as conlleval reads them; examples worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.evaluation.spans import entity_spans, precision_recall_f1, span_statistics, token_statistics

TAGS = st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y", "E-X", "S-Y"]), max_size=11)


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("", []),
        ("O O", []),
        ("B-PER I-PER O B-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),
        # IOB2: a B- next to a span of the same type opens another.
        ("B-PER B-PER I-PER", [("PER", 0, 0), ("PER", 1, 2)]),
        # IOB1: spans open with I-, and B- only parts two of the same type.
        ("I-PER I-PER B-PER O I-LOC", [("PER", 0, 1), ("PER", 2, 2), ("LOC", 4, 4)]),
        # An I- of another type opens a span, whether what stood before was B- or I-.
        ("B-PER I-LOC I-LOC", [("PER", 0, 0), ("LOC", 1, 2)]),
        ("I-PER I-LOC B-LOC", [("PER", 0, 0), ("LOC", 1, 1), ("LOC", 2, 2)]),
        # A span that reaches the end of the sentence.
        ("O I-PER", [("PER", 1, 1)]),
        # IOBES, and its breaches: E- or I- alone, I- after E- or S-, E- of another type.
        ("B-PER I-PER E-PER S-LOC S-LOC", [("PER", 0, 2), ("LOC", 3, 3), ("LOC", 4, 4)]),
        ("E-PER I-PER", [("PER", 0, 0), ("PER", 1, 1)]),
        ("S-PER E-PER O E-PER", [("PER", 0, 0), ("PER", 1, 1), ("PER", 3, 3)]),
        ("B-PER E-LOC", [("PER", 0, 0), ("LOC", 1, 1)]),
        ("B-PER S-PER I-PER", [("PER", 0, 0), ("PER", 1, 1), ("PER", 2, 2)]),
        # BILOU: last and unit.
        ("B-PER I-PER L-PER U-PER", [("PER", 0, 2), ("PER", 3, 3)]),
        # BMEWO and BMES: middle, whole.
        ("B-PER M-PER E-PER W-PER W-LOC", [("PER", 0, 2), ("PER", 3, 3), ("LOC", 4, 4)]),
        ("B M E S", [("", 0, 2), ("", 3, 3)]),
        # Types may hold hyphens; bare prefixes name no type; bare types make runs.
        ("B-ORG-GOV I-ORG-GOV", [("ORG-GOV", 0, 1)]),
        ("B I O I", [("", 0, 1), ("", 3, 3)]),
        ("person person O art person", [("person", 0, 1), ("art", 3, 3), ("person", 4, 4)]),
    ],
)
def test_spans(tags, spans):
    assert entity_spans(tags.split()) == spans


def split(*sentences):
    return [sentence.split() for sentence in sentences]


def test_seqevals_published_example():
    # From seqeval's README: the MISC span begins a word early, PER is right; F1 0.50, 8 of 10 words right.
    gold = split("O O O B-MISC I-MISC I-MISC O", "B-PER I-PER O")
    predicted = split("O O B-MISC I-MISC I-MISC I-MISC O", "B-PER I-PER O")
    statistics = span_statistics(gold, predicted)
    assert statistics.tolist() == [[0, 1, 1], [1, 1, 1]]
    assert precision_recall_f1(statistics.sum(axis=0)).tolist() == [0.5, 0.5, 0.5]
    words = token_statistics(gold, predicted).sum(axis=0)
    assert words.tolist() == [8, 10]


def test_precision_recall_f1_of_unequal_counts():
    # Gold PER 0-1, LOC 3, ORG 5; predicted PER 0-1 and LOC 3-4: one of two is right, one of three is found.
    sums = span_statistics(split("B-PER I-PER O B-LOC O B-ORG"), split("B-PER I-PER O B-LOC I-LOC O")).sum(axis=0)
    assert precision_recall_f1(sums).tolist() == pytest.approx([1 / 2, 1 / 3, 2 / 5])


def test_a_span_needs_its_type():
    assert span_statistics([["B-PER"]], [["B-LOC"]]).tolist() == [[0, 1, 1]]


def test_schemes_of_the_same_entities_agree_but_for_a_parted_pair():
    iob1, iob2, iobes = "I-X I-X O I-Y B-Y", "B-X I-X O B-Y B-Y", "B-X E-X O S-Y S-Y"
    assert entity_spans(iob1.split()) == entity_spans(iob2.split()) == entity_spans(iobes.split())


@settings(max_examples=60, deadline=None)
@given(TAGS)
def test_spans_cover_each_tagged_word_once(tags):
    covered = np.zeros(len(tags), dtype=int)
    for kind, first, last in entity_spans(tags):
        covered[first : last + 1] += 1
        assert {tag[2:] for tag in tags[first : last + 1]} == {kind}
    assert covered.tolist() == [int(tag != "O") for tag in tags]


@settings(max_examples=30, deadline=None)
@given(TAGS)
def test_a_tagging_agrees_with_itself(tags):
    right, predicted, gold = span_statistics([tags], [tags])[0]
    assert right == predicted == gold == len(entity_spans(tags))


def test_nothing_tagged_scores_zero():
    assert precision_recall_f1(np.zeros((2, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_different_lengths_are_refused():
    with pytest.raises(ValueError, match="sentence 1 has 2 gold tags but 3 predicted"):
        span_statistics([["O"], ["O", "O"]], [["O"], ["O", "O", "O"]])
