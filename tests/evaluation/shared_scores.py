"""What is scored by one process or by several: small models, text in several batches, and all that is said of them."""

import os
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import torch
from tests.corpus.toy_corpus import toy_corpus
from tests.masked_text import masked_encoder
from tests.models.encoders import TASKS
from tests.tiny_models import tiny_config
from tests.toy_splits import toy_rows

from stillhouse.config import EngineConfig
from stillhouse.corpus.masking import Masking
from stillhouse.data.ragged import Ragged
from stillhouse.data.text import scoring_order
from stillhouse.errors import NotFinite
from stillhouse.evaluation.language import language_scores
from stillhouse.evaluation.scoring import compute_logits
from stillhouse.machine.engine import build_accelerator
from stillhouse.models.loading import build_encoder
from stillhouse.runs.layer_distances import layer_distances

PAIRS = ((0, 0), (1, 2), (2, 3))


def engine(precision="fp32"):
    return build_accelerator(EngineConfig(precision=precision))


def text(count=30):
    return toy_corpus(count, masking=Masking(share=0.3))


def models():
    """Student and teacher with masked-LM heads."""
    return masked_encoder(layers=2), masked_encoder(seed=1, layers=3)


def encoder(kind, seed=0):
    """Of a kind of task."""
    torch.manual_seed(seed)
    return build_encoder(tiny_config("bert", layers=2), toy_rows(kind).task.head)


def cut_small(patch):
    """Of few rows there are several batches."""
    patch.setattr("stillhouse.evaluation.scoring.scoring_order", partial(scoring_order, tokens=60))
    patch.setattr("stillhouse.runs.layer_distances.TOKENS", 60)


def spoil(model):
    """Makes all outputs of a model NaN."""
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    return model


def everything():
    """All scores, by what they are, and the batches of each of those that tell."""
    accelerator, (student, teacher), corpus = engine(), models(), text()
    told = []
    options = {"report": lambda number, of, _name: told.append(of) if number == of else None}
    found = {"language": vars(language_scores(student, corpus, accelerator, teacher=teacher, **options))}
    found["distances"] = layer_distances(student, teacher, corpus, PAIRS, accelerator)
    for kind in TASKS:
        logits = compute_logits(encoder(kind), toy_rows(kind, times=3), 0, accelerator, **options)
        found[kind] = logits.values if isinstance(logits, Ragged) else logits
    return found | {"batches": told}


def refused(spoils):
    """Scores that are refused where a model, perhaps another process's, gives NaN alone."""
    accelerator, (student, teacher), corpus = engine(), models(), text()
    model = encoder("tagging")
    for one in (teacher, model) if spoils else ():
        spoil(one)
    scores = {
        "language": lambda: language_scores(student, corpus, accelerator, teacher=teacher),
        "distances": lambda: layer_distances(student, teacher, corpus, PAIRS, accelerator),
        "logits": lambda: compute_logits(model, toy_rows("tagging", times=3), 0, accelerator),
    }
    found = []
    for name, score in scores.items():
        with suppress(NotFinite):
            score()
            continue
        found.append(name)
    return found


def score_rank(environment, folder):
    """What each of several processes does."""
    os.environ.update(environment)
    rank = int(environment["RANK"])
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        few = language_scores(models()[0], text().select(np.arange(1)), engine())
        torch.save((everything(), refused(spoils=rank == 1), vars(few)), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()
