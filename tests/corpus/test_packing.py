"""Documents as blocks, and which are held out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.corpus.toy_corpus import VOCABULARY
from tests.tiny_models import FAMILIES, make_tokenizer

from stillhouse.corpus import packing
from stillhouse.corpus.packing import count_blocks, held_out_blocks, held_out_documents, packed, runs_of
from stillhouse.corpus.tokens import vocabulary_of
from stillhouse.errors import UserError

CLS, SEP = VOCABULARY.first[0], VOCABULARY.border


def stream(documents):
    """Ids as they are written, and where each document begins."""
    ids = np.array([number for document in documents for number in (*document, SEP)], VOCABULARY.dtype)
    return ids, np.cumsum([0, *(len(document) + 1 for document in documents)])


def pack(documents, block_length, runs=None):
    ids, offsets = stream(documents)
    rows = []
    for values, lengths in packed(ids, runs or [(0, int(offsets[-1]))], VOCABULARY, block_length):
        rows += [part.tolist() for part in np.split(values, np.cumsum(lengths)[:-1])]
    return rows


def test_blocks_by_hand():
    # Room for four. 11 12 13 S | 14 15 S 16 | 17 18 19 20 | S 21: where a cut falls on a border, the block's own SEP is there.
    assert pack([[11, 12, 13], [14, 15], [16, 17, 18, 19, 20], [21]], 6) == [
        [CLS, 11, 12, 13, SEP],
        [CLS, 14, 15, SEP, 16, SEP],
        [CLS, 17, 18, 19, 20, SEP],
        [CLS, 21, SEP],
    ]


@given(st.lists(st.lists(st.integers(40, 60), min_size=1, max_size=30), min_size=1, max_size=12), st.integers(4, 20))
def test_no_token_is_lost_and_none_is_mixed(documents, block_length):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_AT_ONCE", 7)
        rows = pack(documents, block_length)
    assert len(rows) == count_blocks(stream(documents)[1], VOCABULARY, block_length)
    assert all(row[0] == CLS and row[-1] == SEP and 3 <= len(row) <= block_length for row in rows)
    assert [number for row in rows for number in row if number not in (CLS, SEP)] == [x for one in documents for x in one]
    # Within the blocks, and between them, a border is where a document ends, or a block.
    ends = set(np.cumsum([len(document) for document in documents]).tolist())
    done = 0
    for row in rows:
        for number in row[1:-1]:
            assert number != SEP or done in ends
            done += number != SEP
        assert all(len(other) >= block_length - 2 for other in rows[:-1])


def test_neighbours_of_what_is_held_out_are_parted():
    documents = [[41, 42], [43], [44, 45], [46]]
    _, offsets = stream(documents)
    train, held_out = runs_of(offsets, np.array([1, 3]))
    assert pack(documents, 20, train) == [[CLS, 41, 42, SEP, 44, 45, SEP]]
    assert pack(documents, 20, held_out) == [[CLS, 43, SEP, 46, SEP]]
    train, held_out = runs_of(offsets, np.array([0, 1]))
    assert (pack(documents, 20, train), pack(documents, 20, held_out)) == (
        [[CLS, 44, 45, SEP, 46, SEP]],
        [[CLS, 41, 42, SEP, 43, SEP]],
    )


@pytest.mark.parametrize(("documents", "share", "held"), [(20, 0.01, 1), (1000, 0.01, 10), (1000, 0.5, 500)])
def test_documents_that_are_held_out(documents, share, held):
    chosen = held_out_documents(documents, share, 3)
    assert len(chosen) == len({*chosen.tolist()}) == held
    assert (np.diff(chosen) > 0).all()
    assert np.array_equal(chosen, held_out_documents(documents, share, 3))
    assert documents == 20 or not np.array_equal(chosen, held_out_documents(documents, share, 4))


@pytest.mark.parametrize(
    ("blocks", "share", "held"), [(2, 0.01, 1), (2, 0.99, 1), (50, 0.01, 1), (1000, 0.1, 100), (997, 0.3, 299)]
)
def test_blocks_that_are_held_out_come_in_runs(blocks, share, held):
    chosen = held_out_blocks(blocks, share, 3)
    assert chosen.sum() == held
    assert np.array_equal(chosen, held_out_blocks(blocks, share, 3))
    begins = np.flatnonzero(np.diff(np.concatenate(([0], chosen.astype(int)))) == 1)
    assert len(begins) <= 8
    assert held < 8 or begins[-1] - begins[0] > blocks // 2  # all over the corpus


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_begin_and_end_as_inputs_do(family):
    tokenizer = make_tokenizer(family)
    vocabulary = vocabulary_of(tokenizer)
    row = tokenizer("a good film")["input_ids"]
    (values, lengths), *others = packed(np.array([*row[1:-1], row[-1]]), [(0, len(row) - 1)], vocabulary, 16)
    assert (values.tolist(), lengths.tolist(), others) == (row, [len(row)], [])


def test_a_tokenizer_without_a_separator():
    class Bare:
        """What it has not, is None."""

        def __init__(self, tokenizer):
            self.own = tokenizer

        def __getattr__(self, name):
            return None if name == "sep_token_id" else getattr(self.own, name)

        def __call__(self, text, add_special_tokens=True):
            return self.own(text, add_special_tokens=False)

    with pytest.raises(UserError, match="no token that stands between two texts"):
        vocabulary_of(Bare(make_tokenizer("bert")))
