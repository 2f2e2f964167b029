"""Masks: how many, which, what stands in their place, and that nothing but the step decides."""

from fractions import Fraction

import numpy as np
import pytest
from pydantic import ValidationError
from tests.corpus.toy_corpus import TOKENIZER, VOCABULARY, documents, toy_corpus
from tests.tiny_models import make_tokenizer

from stillhouse.corpus.masking import Masking, mask
from stillhouse.corpus.tokens import vocabulary_of
from stillhouse.data.batch import IGNORED

NOTHING = np.zeros(VOCABULARY.size, np.int64)
FIRST = int(VOCABULARY.ordinary[60])  # an ordinary token


def draw(ids, masking, seed=0, counts=NOTHING, starts=(0,), vocabulary=VOCABULARY):
    return mask(np.asarray(ids, np.int64), np.asarray(starts), masking, vocabulary, counts, np.random.default_rng(seed))


def chosen(ids, masking, **options):
    return np.flatnonzero(draw(ids, masking, **options)[1] != IGNORED)


@pytest.mark.parametrize("share", [0.15, 0.1, 0.07, 0.01, 0.3])
def test_targets_are_the_share_rounded_up(share):
    # As a float 0.07 x 100 is 7.000000000000001; 8 would be wrong.
    masking = Masking(share=share)
    for tokens in range(1, 4097):
        assert masking.targets(tokens) == -(-Fraction(str(share)) * tokens // 1)


@pytest.mark.parametrize("tokens", [1, 6, 7, 100, 997])
@pytest.mark.parametrize("rarity", [0.0, 0.7, 50.0])
def test_exactly_so_many_targets_and_none_is_special(tokens, rarity):
    special = [VOCABULARY.first[0], VOCABULARY.border, VOCABULARY.pad]
    ids = np.random.default_rng(tokens).integers(VOCABULARY.special[-1] + 1, VOCABULARY.size, tokens)
    mixed = np.concatenate(([special[0]], ids, special[1:]))
    counts = np.arange(VOCABULARY.size) ** 2
    seen, labels = draw(mixed, Masking(rarity=rarity), counts=counts)
    targets = labels != IGNORED
    assert targets.sum() == min(tokens, -(-15 * len(mixed) // 100))
    assert not np.isin(labels[targets], VOCABULARY.special).any()
    assert np.array_equal(labels[targets], mixed[targets])
    assert np.array_equal(seen[~targets], mixed[~targets])
    assert not np.isin(seen[targets], [x for x in VOCABULARY.special if x != VOCABULARY.mask]).any()


def test_where_all_are_special_there_is_no_target():
    seen, labels = draw([VOCABULARY.border] * 3, Masking())
    assert (seen == VOCABULARY.border).all()
    assert (labels == IGNORED).all()


def test_eight_of_ten_are_hidden_one_is_replaced_and_one_stays():
    ids = np.full(700_000, FIRST)
    seen, labels = draw(ids, Masking())
    found = seen[labels != IGNORED]
    assert len(found) == 105_000
    other = ~np.isin(found, [VOCABULARY.mask, FIRST])
    ordinary = len(VOCABULARY.ordinary)
    # One in `ordinary` of those that are replaced is replaced by itself.
    shares = np.mean(found == VOCABULARY.mask), other.mean() * ordinary / (ordinary - 1), np.mean(found == FIRST)
    assert shares == pytest.approx((0.8, 0.1, 0.1), abs=0.005)
    drawn = np.bincount(found[other], minlength=VOCABULARY.size)[VOCABULARY.ordinary]
    drawn = drawn[VOCABULARY.ordinary != FIRST]
    assert (drawn > 0).all()
    assert drawn.max() < 2 * drawn.mean()
    assert Masking(hidden=0.0, replaced=0.0).targets(7) == 2
    assert np.array_equal(draw(ids, Masking(hidden=0.0, replaced=0.0))[0], ids)


@pytest.mark.parametrize("rarity", [0.0, 0.7, 1.0])
def test_one_draw_takes_a_token_by_its_rarity(rarity):
    # Counts 0 (as 1), 10, 100, 1000, 10000, and one target: its probability is its weight's share.
    ids = np.arange(FIRST, FIRST + 5)
    counts = NOTHING.copy()
    counts[ids] = [0, 10, 100, 1000, 10_000]
    weights = np.array([1.0, 10, 100, 1000, 10_000]) ** -rarity
    random, times = np.random.default_rng(0), np.zeros(5)
    for _ in range(6000):
        _, labels = mask(ids, np.array([0]), Masking(rarity=rarity), VOCABULARY, counts, random)
        times += labels != IGNORED
    assert times / 6000 == pytest.approx(weights / weights.sum(), abs=0.02)


def test_several_draws_are_without_replacement():
    ids = np.arange(FIRST, FIRST + 5)
    counts = NOTHING.copy()
    counts[ids] = [1, 1, 4, 16, 64]
    weights = np.array([1, 1, 1 / 2, 1 / 4, 1 / 8])
    # Of two draws: the first by its share, the second by its share of what is left.
    probabilities = weights / weights.sum()
    expected = [p + sum(q * p / (1 - q) for j, q in enumerate(probabilities) if j != i) for i, p in enumerate(probabilities)]
    random, times = np.random.default_rng(0), np.zeros(5)
    for _ in range(6000):
        _, labels = mask(ids, np.array([0]), Masking(share=0.4, rarity=0.5), VOCABULARY, counts, random)
        times += labels != IGNORED
    assert times.sum() == 12_000
    assert times / 6000 == pytest.approx(expected, abs=0.02)


def words_of(vocabulary, tokens):
    """Numbers of words, by the definition: a loop."""
    number, found = 0, []
    for token in tokens:
        number += vocabulary.starts[token] or not found
        found.append(number)
    return np.array(found)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_whole_words_are_hidden_together(family):
    tokenizer = make_tokenizer(family)
    vocabulary = vocabulary_of(tokenizer)
    ids = np.array(tokenizer(" ".join(["unwatchable films", "zz a boredom", *documents(20)]))["input_ids"])
    words = words_of(vocabulary, ids)
    sizes = np.bincount(words)
    assert (sizes > 1).any()
    for seed in range(20):
        where = chosen(ids, Masking(whole_words=True), seed=seed, counts=np.zeros(vocabulary.size, int), vocabulary=vocabulary)
        found, times = np.unique(words[where], return_counts=True)
        assert np.array_equal(times, sizes[found])
        assert len(where) == -(-15 * len(ids) // 100)  # there are short words enough


def test_a_word_that_is_too_long_is_passed_over():
    long = TOKENIZER("zzzzzzz", add_special_tokens=False)["input_ids"]
    assert len(long) == 7
    masking = Masking(share=0.1, whole_words=True)
    assert len(chosen(long, masking)) == 0
    assert chosen([*long, FIRST], masking).tolist() == [7]
    # A row begins a word, whatever it begins with.
    assert len(chosen(long, masking, starts=(0, 6))) == 1


def test_words_of_other_tokenizers():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    def fast(model, pre_tokenizer, decoder):
        tokenizer = Tokenizer(model)
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoder
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, sep_token="</s>", pad_token="</s>", mask_token="<mask>")

    pieces = ["</s>", "<mask>", "a", "b", "\u0120", "\u0120a", "\u2581", "\u2581a", "\u010a"]
    bpe = models.BPE({piece: number for number, piece in enumerate(pieces)}, [("\u0120", "a")])
    byte_level = fast(bpe, pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel())
    assert [pieces[number] for number in np.flatnonzero(vocabulary_of(byte_level).starts)] == [
        *("</s>", "<mask>", "\u0120", "\u0120a", "\u010a"),
    ]
    unigram = models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0)
    sentence_piece = fast(unigram, pre_tokenizers.Metaspace(), decoders.Metaspace())
    assert [pieces[number] for number in np.flatnonzero(vocabulary_of(sentence_piece).starts)] == [
        *("</s>", "<mask>", "\u2581", "\u2581a"),
    ]
    unknown = fast(models.WordLevel({"</s>": 0, "<mask>": 1, "a": 2}, unk_token="</s>"), pre_tokenizers.Whitespace(), None)
    assert vocabulary_of(unknown).starts is None


@pytest.mark.parametrize(
    "wrong", [{"share": 0}, {"share": 1}, {"rarity": -1}, {"hidden": 0.9, "replaced": 0.2}, {"shares": 0.1}, {"share": True}]
)
def test_masks_that_nobody_means(wrong):
    with pytest.raises(ValidationError):
        Masking(**wrong)


def test_rare_tokens_of_a_corpus_are_hidden_more_often():
    corpus = toy_corpus(400)
    rows, ids = np.arange(len(corpus)), corpus.blocks.values
    shares = []
    for rarity in (0.0, 0.7):
        masked = corpus.masked(Masking(rarity=rarity))
        labels = masked.batch(rows).labels.numpy()
        labels = labels[labels != IGNORED]
        shares.append(np.mean(masked.frequencies[labels] < np.median(masked.frequencies[ids])))
    assert shares[1] > shares[0] + 0.1
