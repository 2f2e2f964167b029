"""What a model with a masked-LM head knows of held-out text, alone and beside its teacher."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.console import OnProgress
from stillhouse.data.batch import IGNORED, Batch
from stillhouse.data.text import Text, scoring_order
from stillhouse.errors import NotFinite
from stillhouse.evaluation.scoring import own_batches, summed
from stillhouse.features import ONLY_VOCABULARY, VocabularyScores
from stillhouse.models.forward import evaluating, forward
from stillhouse.speed.vocabulary import position_chunks, scores_of

MOST_NATS = 700.0  # whose exponential a float can hold


@dataclass(frozen=True)
class LanguageScores:
    """What a model says of the tokens that are hidden in a text; means are over these.

    Attributes:
        masked_accuracy: Share of which its likeliest token is the one that stood there.
        perplexity: exp of the mean of `-log softmax(scores)[label]`; beyond e^700 no longer told apart.
        agreement: Share at which its likeliest token is the teacher's; None without a teacher.
        kl: Mean of `KL( softmax(teacher) || softmax(model) )` in nats; None without a teacher.
    """

    masked_accuracy: float
    perplexity: float
    agreement: float | None = None
    kl: float | None = None


def language_scores(
    encoder: nn.Module,
    text: Text,
    accelerator: Any,
    *,
    teacher: nn.Module | None = None,
    report: OnProgress | None = None,
) -> LanguageScores:
    """Scores of a model on masked text, in eval mode: the same ones in every process, each of which has to call this.

    Args:
        encoder: The model, with a masked-LM head.
        text: Masked the same way every time; outside of training a `Corpus` is.
        accelerator: Gives device and precision.
        teacher: A model with such a head over the same vocabulary, which is given the same masked text.
        report: Told how many batches of how many are done.

    Raises:
        NotFinite: An output is NaN or infinite; then every process raises it.
        ValueError: Not one token is masked.
    """
    models = [encoder.to(accelerator.device), *(() if teacher is None else (teacher.to(accelerator.device),))]
    sums = torch.zeros(5, dtype=torch.float64)
    parts = own_batches(text.lengths, accelerator)
    with torch.inference_mode():
        for number, part in enumerate(parts, 1):
            for gold, scores in _masked_scores(models, text.batch(part), accelerator):
                sums += _sums(gold, *scores)
            if report is not None:
                report(number, len(parts), "scores")
    count, right, surprise, same, divergence = summed(sums, accelerator).tolist()
    if not math.isfinite(surprise + divergence):
        raise NotFinite("the model's outputs are NaN or infinite")
    if not count:
        raise ValueError("no token of this text is masked")
    perplexity = math.exp(min(surprise / count, MOST_NATS))
    beside = () if teacher is None else (same / count, max(0.0, divergence / count))
    return LanguageScores(right / count, perplexity, *beside)


def masked_accuracy(encoder: nn.Module, text: Text, accelerator: Any) -> float:
    """`LanguageScores.masked_accuracy` alone, for the choice of a state while training; see `language_scores`."""
    return language_scores(encoder, text, accelerator).masked_accuracy


def most_frequent_share(text: Text) -> float:
    """The masked accuracy of a model that always says the token that is hidden most often."""
    gold = torch.cat([text.batch(rows).labels.flatten() for rows in scoring_order(text.lengths)])
    counts = gold[gold != IGNORED].bincount()
    return float(counts.max() / counts.sum())


def fill_masks(
    models: Mapping[str, nn.Module], text: Text, rows: Sequence[int], tokenizer: Any, accelerator: Any, best: int = 3
) -> list[dict[str, Any]]:
    """What models say of the hidden tokens of some rows, each by itself: for a report.

    Args:
        models: By the names that their answers are to have, with masked-LM heads over the vocabulary of the tokenizer.
        text: As for `language_scores`.
        rows: Numbers of its rows.
        tokenizer: Writes the tokens.
        accelerator: Gives device and precision; processes do not wait for each other.
        best: How many answers of each model.

    Returns:
        For each row `tokens`, as the models are given them, and `masked`: `position` among these tokens, `gold`, and
        `answers` by model, pairs of a token and its probability, the likeliest first.
    """
    encoders = [encoder.to(accelerator.device) for encoder in models.values()]
    examples = []
    for row in rows:
        batch = text.batch(np.array([row]))
        real, labels = batch.learner.mask[0].bool(), batch.labels[0]
        gold = labels[labels != IGNORED].tolist()
        answers: list[dict[str, Any]] = []
        with torch.inference_mode():
            for _, scores in _masked_scores(encoders, batch, accelerator):
                likeliest = [_likeliest(one, tokenizer, best) for one in scores]
                answers += [dict(zip(models, each, strict=True)) for each in zip(*likeliest, strict=True)]
        positions = (labels != IGNORED).nonzero().flatten().tolist()
        masked = [
            {"position": position, "gold": tokenizer.decode([token]), "answers": answer}
            for position, token, answer in zip(positions, gold, answers, strict=True)
        ]
        tokens = [tokenizer.decode([token]) for token in batch.learner.ids[0][real].tolist()]
        examples.append({"tokens": tokens, "masked": masked})
    return examples


def _likeliest(scores: Tensor, tokenizer: Any, count: int) -> list[list[list[Any]]]:
    """For each position the likeliest tokens, with their probabilities."""
    probs, tokens = (part.tolist() for part in scores.softmax(dim=-1).topk(min(count, scores.shape[-1])))
    return [
        [[tokenizer.decode([token]), prob] for token, prob in zip(*each, strict=True)]
        for each in zip(tokens, probs, strict=True)
    ]


def _masked_scores(models: Sequence[nn.Module], batch: Batch, accelerator: Any) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Some masked positions of a batch at a time: what stood there, and each model's scores over the vocabulary."""
    batch = batch.to(accelerator.device)
    is_masked = batch.labels != IGNORED
    gold = batch.labels[is_masked]
    given = [_vocabulary(model, batch, accelerator).at(is_masked) for model in models]
    tables = [one.table.to(one.states.dtype) for one in given]
    for rows in position_chunks(len(gold), len(tables[0])):
        yield gold[rows], [scores_of(one.states[rows], table, one.bias) for one, table in zip(given, tables, strict=True)]


def _vocabulary(model: nn.Module, batch: Batch, accelerator: Any) -> VocabularyScores:
    with evaluating(model), accelerator.autocast():
        return forward(model, batch.learner, ONLY_VOCABULARY).vocabulary


def _sums(gold: Tensor, scores: Tensor, their_scores: Tensor | None = None) -> Tensor:
    """Over some positions: how many, how many right, the surprise, how many as the teacher has it, the divergence from it."""
    log_probs = scores.log_softmax(dim=-1)
    answers = scores.argmax(dim=-1)
    terms = [torch.ones_like(log_probs[:, 0]), answers == gold, -log_probs.gather(1, gold[:, None]).flatten()]
    if their_scores is None:
        terms += [torch.zeros_like(terms[0])] * 2
    else:
        theirs = their_scores.log_softmax(dim=-1)
        terms += [answers == their_scores.argmax(dim=-1), (theirs.exp() * (theirs - log_probs)).sum(dim=-1)]
    return torch.stack([term.float() for term in terms]).cpu().double().sum(dim=1)
