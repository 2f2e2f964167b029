"""Blocks as a text: what a step sees depends on the step alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.corpus.toy_corpus import VOCABULARY, toy_corpus
from tests.killed import Killed
from tests.training.toy_stage import SILENT, hard_stage, same, toy_encoder, train_stages, training_context, weights

from stillhouse.corpus.masking import Masking
from stillhouse.data.batch import IGNORED
from stillhouse.data.text import Step
from stillhouse.errors import UserError
from stillhouse.objectives.hidden_mse import HiddenMSE

MASKING = Masking(rarity=0.7)


@pytest.fixture(scope="module")
def corpus():
    return toy_corpus(masking=MASKING)


def step_of(rows, number=3, seed=5):
    return Step(number, 10, np.asarray(rows), seed)


STEP = step_of([7, 2, 30, 11, 0, 5, 29])


def test_a_batch(corpus):
    batch = corpus.batch(STEP.rows, STEP)
    ids, mask = batch.learner.ids.numpy(), batch.learner.mask.numpy().astype(bool)
    labels, lengths = batch.labels.numpy(), corpus.lengths[STEP.rows]
    assert np.array_equal(mask.sum(axis=1), lengths)
    assert np.array_equal(batch.positions.numpy(), mask)
    assert batch.has_label.all()
    assert batch.rows.tolist() == STEP.rows.tolist()
    assert batch.learner.segments.sum() == 0
    targets = labels != IGNORED
    assert targets.sum() == -(-15 * lengths.sum() // 100)
    assert not targets[~mask].any()
    assert (ids[~mask] == VOCABULARY.pad).all()
    for place, row in enumerate(STEP.rows):
        original = np.where(targets[place], labels[place], ids[place])[: lengths[place]]
        assert np.array_equal(original, corpus.blocks[row])


@pytest.mark.parametrize("masking", [MASKING, Masking(whole_words=True), None])
@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_a_step_is_the_same_however_it_is_cut(masking, parts):
    corpus = toy_corpus(masking=masking)
    whole, counts = corpus.batch(STEP.rows, STEP), corpus.counts(STEP.rows, STEP)
    # Another process has a copy of its own, and sees its share alone.
    for shares in (np.array_split(STEP.rows, parts), [STEP.rows[first::parts] for first in range(parts)]):
        sums = dict.fromkeys(counts, 0)
        for share in shares:
            other = replace(corpus)
            batch, own = other.batch(share, STEP), other.counts(share, STEP)
            assert own["targets"] == int((batch.labels != IGNORED).sum())
            sums = {unit: sums[unit] + own[unit] for unit in sums}
            tokens = batch.learner.ids.shape[1]
            for place, row in enumerate(share):
                there = int(np.flatnonzero(STEP.rows == row)[0])
                assert torch.equal(batch.labels[place], whole.labels[there, :tokens])
                assert torch.equal(batch.learner.ids[place], whole.learner.ids[there, :tokens])
        assert sums == counts


def test_every_step_has_masks_of_its_own(corpus):
    first = corpus.batch(STEP.rows, STEP).labels
    for other in (step_of(STEP.rows, number=4), step_of(STEP.rows, seed=6)):
        assert not torch.equal(corpus.batch(STEP.rows, other).labels, first)
    assert torch.equal(corpus.batch(STEP.rows, step_of(STEP.rows)).labels, first)  # and again, another between


def test_outside_of_training_a_block_always_has_the_same_masks(corpus):
    whole = corpus.batch(np.arange(20))
    part = corpus.batch(np.array([13, 4]))
    for place, row in enumerate((13, 4)):
        length = corpus.lengths[row]
        assert torch.equal(part.labels[place, :length], whole.labels[row, :length])
        assert torch.equal(part.learner.ids[place, :length], whole.learner.ids[row, :length])
        assert (part.labels[place] != IGNORED).sum() == -(-15 * length // 100)
    assert corpus.counts(np.array([13, 4]))["targets"] == int((part.labels != IGNORED).sum())


def test_counts(corpus):
    lengths = corpus.lengths[STEP.rows]
    expected = {"rows": 7, "targets": -(-15 * lengths.sum() // 100), "tokens": lengths.sum(), "pairs": (lengths**2).sum()}
    assert corpus.counts(STEP.rows, STEP) == expected


@pytest.mark.parametrize("masking", [MASKING, Masking(replaced=0.0), None])
def test_its_tokens_are_all_that_a_batch_can_have(masking):
    corpus = toy_corpus(masking=masking)
    seen = {VOCABULARY.pad}
    for number in range(40):
        step = step_of(np.arange(len(corpus)), number=number)
        seen |= set(corpus.batch(step.rows, step).learner.ids.flatten().tolist())
    tokens = corpus.tokens()
    assert np.array_equal(tokens, np.unique(tokens))
    assert seen <= set(tokens.tolist())
    if masking is None or not masking.replaced:
        assert seen == set(tokens.tolist())


def test_without_masks_nothing_is_asked_for():
    corpus = toy_corpus()
    batch = corpus.batch(STEP.rows, STEP)
    assert (batch.labels == IGNORED).all()
    assert corpus.counts(STEP.rows, STEP)["targets"] == 0
    for place, row in enumerate(STEP.rows):
        assert np.array_equal(batch.learner.ids[place, : corpus.lengths[row]], corpus.blocks[row])
    encoded = corpus.encoded(0)
    assert np.array_equal(encoded.input_ids[7], corpus.blocks[7])
    assert encoded.token_type_ids[7].sum() == 0


def test_two_texts_with_one_fingerprint_train_alike(corpus):
    others = [
        corpus.masked(None),
        corpus.masked(Masking()),
        corpus.select(np.arange(5)),
        corpus.select(np.arange(5)[::-1]),
        replace(corpus, digest="another"),
        replace(corpus, frequencies=corpus.frequencies + 1),
    ]
    assert len({text.fingerprint() for text in (corpus, *others)}) == 7
    assert corpus.masked(MASKING).fingerprint() == replace(corpus).fingerprint() == corpus.fingerprint()


def test_some_blocks_alone(corpus):
    some = corpus.select(np.array([9, 4]))
    assert len(some) == 2
    assert np.array_equal(some.blocks[0], corpus.blocks[9])
    assert np.array_equal(some.occurrences, np.bincount(some.blocks.values, minlength=VOCABULARY.size))


def test_fewer_blocks_than_a_batch(corpus):
    corpus.require_batch(len(corpus))
    with pytest.raises(UserError, match=rf"the corpus has {len(corpus)} blocks to train on, fewer than a batch of 1,000"):
        corpus.require_batch(1000)


def test_tokenizers_that_cannot_be_masked():
    unmasked, wordless = (
        replace(toy_corpus(), vocabulary=replace(VOCABULARY, **no)) for no in ({"mask": None}, {"starts": None})
    )
    with pytest.raises(UserError, match="no mask token"):
        unmasked.masked(Masking())
    with pytest.raises(UserError, match="does not say where words begin"):
        wordless.masked(Masking(whole_words=True))
    assert unmasked.masked(None).masking is None
    assert wordless.masked(Masking()).masking == Masking()


def train(folder, corpus, report=None, **config):
    student = toy_encoder(2, **SILENT)
    teacher = toy_encoder(1, **SILENT)
    stage = replace(
        hard_stage(epochs=2, batch_size=8, select_on="none", **config), objectives=(HiddenMSE(layers=((0, 0), (2, 2))),)
    )
    context = training_context(folder) if report is None else training_context(folder, report=report)
    train_stages((stage,), student, corpus, lambda: 0.0, context, teacher=teacher, seed=3)
    return student


@pytest.fixture(autouse=True)
def toy_vocabulary(monkeypatch):
    """The toy encoder of the stages, as large as these tokens need it."""
    monkeypatch.setattr("tests.training.toy_stage.VOCABULARY", VOCABULARY.size)


def test_a_stage_trains_on_it_alike_after_a_kill_and_however_a_step_is_cut(tmp_path, corpus):
    def die(step, steps, name):
        if step == 5:
            raise Killed

    whole = weights(train(tmp_path / "whole", corpus))
    with pytest.raises(Killed):
        train(tmp_path / "part", replace(corpus), report=die)
    assert same(whole, weights(train(tmp_path / "part", replace(corpus))))
    cut = weights(train(tmp_path / "cut", replace(corpus), accumulate=3))
    for name, tensor in whole.items():
        assert torch.allclose(tensor, cut[name], atol=1e-5), name
