"""Tiny encoders of every family and a batch for them, to look into."""

import torch
from tests.tiny_models import FAMILIES, tiny_config

from stillhouse.models.loading import build_encoder
from stillhouse.task import Task, load_kind

EVERY = (*FAMILIES, "mobilebert")
TASKS = {
    "classification": Task("t", load_kind("classification"), labels=("a", "b", "c")),
    "tagging": Task("t", load_kind("tagging"), labels=("O", "B-A", "I-A", "B-B", "I-B")),
    "qa": Task("t", load_kind("qa")),
}


def built(family, kind="classification", **options):
    torch.manual_seed(0)
    return build_encoder(tiny_config(family, layers=3, **options), TASKS[kind].head)


def batch(tokens=7):
    """Three rows, two of them padded."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 300, (3, tokens), generator=generator)
    mask = torch.ones(3, tokens, dtype=torch.long)
    mask[1, 5:] = 0
    mask[2, 3:] = 0
    segments = torch.zeros(3, tokens, dtype=torch.long)
    segments[:, 4:] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}


def blocks(model):
    """The layers as modules, found by hand; ALBERT's one group is called once a layer."""
    base = model.base_model
    if hasattr(base, "transformer"):
        return list(base.transformer.layer)
    if hasattr(base, "layers"):
        return list(base.layers)
    return list(getattr(base.encoder, "layer", None) or base.encoder.albert_layer_groups)
