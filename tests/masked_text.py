"""Masked text: rows of which some tokens are hidden, and models that are to find them."""

from dataclasses import replace

import numpy as np
import torch
from transformers import AutoModelForMaskedLM

from stillhouse.data.batch import IGNORED
from tests.tiny_models import tiny_config

MASKS = 7  # a stream
SPECIAL = 5  # ids below are no text


class MaskedText:
    """Rows of which some tokens, others in every step, are hidden behind a mask. It is a `Text` by what it has alone."""

    repeats = False

    def __init__(self, rows, mask, special=SPECIAL):
        self.rows, self.mask, self.special = rows, mask, special
        self.task = rows.task

    @property
    def lengths(self):
        return self.rows.lengths

    def batch(self, rows, step=None):
        batch = self.rows.batch(rows)
        given, real = batch.learner.ids, batch.learner.mask.bool()
        hidden = self._hidden(rows, given, step) & real
        ids = given.masked_fill(hidden, self.mask)
        labels = given.masked_fill(~hidden, IGNORED)
        return replace(batch, views={0: replace(batch.learner, ids=ids)}, labels=labels, positions=real)

    def _hidden(self, rows, ids, step):
        random = np.random.default_rng(0) if step is None else step.random(MASKS)
        drawn = random.random((len(self.lengths), self.lengths.max()))[rows, : ids.shape[1]] < 0.3
        return torch.from_numpy(drawn) & (ids >= self.special)

    def counts(self, rows, step=None):
        return self.rows.counts(rows) | {"targets": int((self.batch(rows, step).labels != IGNORED).sum())}

    def tokens(self):
        return np.union1d(self.rows.tokens(), self.mask)

    def fingerprint(self):
        return f"masked {self.rows.fingerprint()}"


def masked_encoder(family="bert", seed=0, **options):
    """A tiny model with a masked-LM head, whose bias is not zero as it would be by chance."""
    torch.manual_seed(seed)
    model = AutoModelForMaskedLM.from_config(tiny_config(family, **options)).eval()
    bias = model.get_output_embeddings().bias
    torch.nn.init.normal_(bias)
    return model
