"""Masked language modelling: closed forms, and what torch makes of whole scores."""

import math

import pytest
import torch
from tests.objectives.matching import assert_alike, batch_of
from tests.objectives.vocabularies import CHUNKS, known, parts, scores, set_chunk_entries, whole

from stillhouse.data.batch import IGNORED
from stillhouse.features import ONLY_VOCABULARY, Features, VocabularyScores
from stillhouse.objectives.masked_lm import MaskedLM, masked_lm

LABELS = torch.tensor([3, 0, 10, 3, 7, 1, 5])


@pytest.mark.parametrize("tokens", [2, 7, 30522])
def test_equal_scores_are_the_logarithm_of_the_vocabulary(tokens):
    assert masked_lm(known(torch.full((1, tokens), 1.5)), torch.tensor([1])).item() == pytest.approx(math.log(tokens), rel=1e-6)


def test_two_tokens():
    # Scores (2, 0) of the first: log(1 + e^-2) = 0.126928; of the second: that plus 2. The mean of both.
    value = masked_lm(known([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    assert value.item() == pytest.approx(0.126928011 + 1, rel=1e-6)


def test_the_gradient_is_the_probability_minus_one_of_the_token():
    one = known([[2.0, 0.0]])
    one.bias.requires_grad_()
    masked_lm(one, torch.tensor([1])).backward()
    assert one.bias.grad.tolist() == pytest.approx([0.880797, -0.880797], rel=1e-5)


@pytest.mark.parametrize("entries", CHUNKS)
def test_chunks_are_what_the_whole_is(monkeypatch, entries):
    set_chunk_entries(monkeypatch, entries)
    given = parts(scores())
    assert_alike(
        lambda *own: masked_lm(VocabularyScores(*own), LABELS),
        lambda *own: torch.nn.functional.cross_entropy(whole(VocabularyScores(*own)), LABELS),
        given,
        given,
        atol=1e-6,
    )


def masked_batch():
    """Tokens 3 and 2 of 3; hidden are the second of the first row, and the first of the second."""
    labels = torch.full((2, 3), IGNORED)
    labels[0, 1], labels[1, 0] = 4, 2
    batch = batch_of(3, 2)
    object.__setattr__(batch, "labels", labels)
    return batch


def test_masked_positions_alone_count():
    one = scores(positions=6)
    given = VocabularyScores(one.states.view(2, 3, 5), one.table, one.bias)
    value = MaskedLM()(Features(scores=given), Features(), masked_batch())
    expected = torch.nn.functional.cross_entropy(whole(one)[[1, 3]], torch.tensor([4, 2]))
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    (slope,) = torch.autograd.grad(value, one.states)
    assert [row.abs().max().item() > 1e-3 for row in slope] == [False, True, False, True, False, False]


def test_no_masked_position_is_an_exact_zero_with_a_gradient():
    one = scores(positions=6)
    batch = masked_batch()
    batch.labels.fill_(IGNORED)
    value = MaskedLM()(Features(scores=VocabularyScores(one.states.view(2, 3, 5), one.table, one.bias)), Features(), batch)
    value.backward()
    assert value.item() == 0
    assert (one.table.grad == 0).all()


def test_what_it_needs_and_counts():
    assert MaskedLM().student_needs == ONLY_VOCABULARY
    assert not MaskedLM().teacher_needs
    assert (MaskedLM().unit, MaskedLM.learns_from) == ("targets", "text")
    with pytest.raises(LookupError, match="vocabulary was not computed"):
        MaskedLM()(Features(), Features(), masked_batch())
