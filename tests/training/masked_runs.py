"""A student with a masked-LM head, trained on masked text in one process or in several."""

import os

import torch
from tests.masked_text import MaskedText, masked_encoder
from tests.training.toy_stage import SILENT, VOCABULARY, toy_split, train_stages, training_context
from torch.optim.optimizer import register_optimizer_step_pre_hook

from stillhouse.config import StageConfig
from stillhouse.method import Stage
from stillhouse.objectives.hidden_cosine import HiddenCosine
from stillhouse.objectives.masked_lm import MaskedLM
from stillhouse.objectives.soft_tokens import SoftTokens

OBJECTIVES = {
    "distilbert": (SoftTokens(weight=5.0), MaskedLM(weight=2.0), HiddenCosine(layers=((2, 3),))),
    "masked_lm": (MaskedLM(),),
    "masked_soft_tokens": (SoftTokens(positions="masked"),),
}
MASK = 50


def text():
    return MaskedText(toy_split(), mask=MASK)


def masked_model(seed=0, layers=2, **options):
    return masked_encoder(seed=seed, layers=layers, vocab_size=VOCABULARY, **SILENT, **options)


def train_masked(folder, *, objectives="distilbert", tied=True, accumulate=1, precision="fp32"):
    """Trains a few steps: gives the first one's gradients and the student's weights in the end, both by name."""
    student = masked_model(tie_word_embeddings=tied)
    config = StageConfig(steps=4, select_on="none", learning_rate=1e-3, batch_size=16, accumulate=accumulate, max_grad_norm=0.0)
    gradients = {}

    def keep(_optimizer, _arguments, _options):
        for name, parameter in student.named_parameters():
            if parameter.grad is not None and name not in gradients:
                gradients[name] = parameter.grad.clone()

    handle = register_optimizer_step_pre_hook(keep)
    try:
        stages = [Stage("general", OBJECTIVES[objectives], config)]
        context = training_context(folder, precision=precision)
        train_stages(stages, student, text(), lambda: 0.0, context, teacher=masked_model(1, layers=3), seed=3)
    finally:
        handle.remove()
    return gradients, student.state_dict()


def train_rank(environment, folder, options):
    """What each of several processes does: the first writes what came out."""
    os.environ.update(environment)
    gradients, weights = train_masked(folder / environment["RANK"], **options)
    if environment["RANK"] == "0":
        torch.save((gradients, weights), folder / "trained.pt")
    torch.distributed.destroy_process_group()
