"""Scores over a vocabulary, not multiplied out and whole."""

import torch
from tests.objectives.matching import states

from stillhouse.features import VocabularyScores

# Of 7 positions and 11 tokens: chunks of one position, of some, of all but one, of all, of more.
CHUNKS = [1, 2 * 11, 3 * 11 + 4, 6 * 11, 7 * 11, 10**6]


def scores(*, positions=7, hidden=5, vocab=11, seed=0, scale=1.0, dtype=torch.float32):
    """Random scores; gradients are asked of all three parts."""
    parts = (
        states(positions, hidden, seed=3 * seed),
        states(vocab, hidden, seed=3 * seed + 1),
        states(vocab, seed=3 * seed + 2),
    )
    first, *others = (scale * part for part in parts)
    return VocabularyScores(*(part.detach().requires_grad_() for part in (first.to(dtype), *others)))


def parts(one):
    return [one.states, one.table, one.bias]


def whole(one):
    """`(positions, vocab)`."""
    return one.states.float() @ one.table.t() + one.bias


def known(logits):
    """Scores that are given logits, of states that are unit vectors."""
    logits = torch.as_tensor(logits, dtype=torch.float32)
    table, bias = logits.t().contiguous(), torch.zeros(logits.shape[1])
    return VocabularyScores(torch.eye(len(logits)), table, bias)


def set_chunk_entries(monkeypatch, entries):
    """Of the gradient by the table, too, some rows are added to at once."""
    monkeypatch.setattr("stillhouse.speed.vocabulary.CHUNK_ENTRIES", entries)
    monkeypatch.setattr("stillhouse.speed.vocabulary.TABLE_ROWS", 4)
