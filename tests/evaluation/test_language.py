"""Scores of masked-LM heads on masked text, beside those that transformers' own logits, made whole, give."""

import math

import numpy as np
import pytest
import torch
from tests.corpus.toy_corpus import TOKENIZER, VOCABULARY, toy_corpus
from tests.evaluation.shared_scores import cut_small, engine, models, spoil, text
from tests.masked_text import masked_encoder
from torch.nn import functional as F

from stillhouse.data.batch import IGNORED
from stillhouse.errors import NotFinite
from stillhouse.evaluation.language import fill_masks, language_scores, masked_accuracy


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    cut_small(monkeypatch)


def whole(model, corpus):
    """Logits of all masked positions, as transformers makes them, and what stood there."""
    batch = corpus.batch(np.arange(len(corpus)))
    with torch.no_grad():
        logits = model.eval()(**batch.learner.arguments()).logits
    masked = batch.labels != IGNORED
    return logits[masked].double(), batch.labels[masked]


def test_they_are_those_of_whole_logits():
    (student, teacher), corpus, steps = models(), text(), []
    (ours, gold), (theirs, _) = whole(student, corpus), whole(teacher, corpus)
    student.train()
    found = language_scores(student, corpus, engine(), teacher=teacher, report=lambda *told: steps.append(told))
    assert student.training
    assert found.masked_accuracy == pytest.approx((ours.argmax(-1) == gold).double().mean().item())
    assert found.perplexity == pytest.approx(F.cross_entropy(ours, gold).exp().item(), rel=1e-5)
    assert found.agreement == pytest.approx((ours.argmax(-1) == theirs.argmax(-1)).double().mean().item())
    divergence = F.kl_div(ours.log_softmax(-1), theirs.log_softmax(-1), log_target=True, reduction="batchmean")
    assert found.kl == pytest.approx(divergence.item(), rel=1e-5)
    assert found.kl > 0.1
    assert len(steps) > 2
    assert steps[-1] == (len(steps), len(steps), "scores")
    alone = language_scores(student, corpus, engine())
    assert (alone.masked_accuracy, alone.perplexity) == (found.masked_accuracy, found.perplexity)
    assert alone.agreement is alone.kl is None


def test_a_model_that_finds_some():
    """Its head says of each token that it is given what is most often there: neither none nor all is right."""
    model, corpus = masked_encoder(layers=1), text()
    _, gold = whole(model, corpus)
    often = gold.bincount().argmax()
    with torch.no_grad():
        model.get_output_embeddings().bias.zero_()[often] = 1000.0
    right = (gold == often).double().mean().item()
    assert 0.05 < right < 0.95
    assert masked_accuracy(model, corpus, engine()) == pytest.approx(right)


def test_all_tokens_alike():
    """All scores 0: each token has probability 1 / V, so that the perplexity is V."""
    model = masked_encoder(layers=1, tie_word_embeddings=False)
    for parameter in model.get_output_embeddings().parameters():
        torch.nn.init.zeros_(parameter)
    assert language_scores(model, text(), engine()).perplexity == pytest.approx(VOCABULARY.size, rel=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_beside_itself_a_model_agrees(precision):
    model, _ = models()
    found = language_scores(model, text(), engine(precision), teacher=model)
    assert (found.agreement, found.kl) == (1.0, 0.0)
    assert found.perplexity == pytest.approx(language_scores(model, text(), engine()).perplexity, rel=0.03)


@pytest.mark.parametrize("entries", [1, 3 * VOCABULARY.size + 4, 10**7])
def test_chunks_change_nothing(monkeypatch, entries):
    (student, teacher), corpus = models(), text()
    expected = language_scores(student, corpus, engine(), teacher=teacher)
    examples = fill_masks({"student": student}, corpus, [1, 2], TOKENIZER, engine())
    monkeypatch.setattr("stillhouse.speed.vocabulary.CHUNK_ENTRIES", entries)
    found = language_scores(student, corpus, engine(), teacher=teacher)
    assert vars(found) == pytest.approx(vars(expected), rel=1e-6)
    again = fill_masks({"student": student}, corpus, [1, 2], TOKENIZER, engine())
    assert [len(one["masked"]) for one in again] == [len(one["masked"]) for one in examples]


@pytest.mark.parametrize("spoilt", [0, 1])
def test_nan_is_refused(spoilt):
    both = models()
    spoil(both[spoilt])
    with pytest.raises(NotFinite, match="NaN"):
        language_scores(both[0], text(), engine(), teacher=both[1])


def test_a_model_that_is_sure_of_what_is_wrong():
    """Far from the right token by more nats than a float's exponential can hold."""
    model = masked_encoder(layers=1)
    with torch.no_grad():
        model.get_output_embeddings().bias[0] = 5000.0
    assert language_scores(model, text(), engine()).perplexity == math.exp(700)


def test_text_without_masks_is_refused():
    with pytest.raises(ValueError, match="no token of this text is masked"):
        language_scores(models()[0], toy_corpus(), engine())


def test_masks_are_filled():
    student, teacher = models()
    corpus, names = text(), {"teacher": teacher, "student": student}
    rows = [3, 0]
    examples = fill_masks(names, corpus, rows, TOKENIZER, engine(), best=2)
    assert len(examples) == len(rows)
    for row, example in zip(rows, examples, strict=True):
        batch = corpus.batch(np.array([row]))
        labels = batch.labels[0].tolist()
        assert example["tokens"] == TOKENIZER.convert_ids_to_tokens(batch.learner.ids[0].tolist())
        masked = {one["position"]: one["gold"] for one in example["masked"]}
        assert masked == {
            place: TOKENIZER.convert_ids_to_tokens(label) for place, label in enumerate(labels) if label != IGNORED
        }
        assert len(masked) >= 3
        for name, model in names.items():
            with torch.no_grad():
                probs = model(**batch.learner.arguments()).logits[0].softmax(-1)
            for one in example["masked"]:
                assert list(one["answers"]) == ["teacher", "student"]
                values, tokens = probs[one["position"]].topk(2)
                assert [token for token, _ in one["answers"][name]] == TOKENIZER.convert_ids_to_tokens(tokens.tolist())
                assert [value for _, value in one["answers"][name]] == pytest.approx(values.tolist(), rel=1e-4)
    assert "[MASK]" in examples[0]["tokens"]
