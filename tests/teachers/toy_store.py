"""A teacher on toy text, a store for it, and whether what is read of it is what the model gives."""

from functools import partial

import numpy as np
import torch
from tests.features import needing
from tests.training.toy_stage import toy_encoder, toy_split, training_context

from stillhouse.config import TeacherConfig
from stillhouse.data.text import scoring_order
from stillhouse.models.digest import weights_digest
from stillhouse.teachers.source import OnlineTeacher, Source, build_teacher
from stillhouse.teachers.store import row_keys

EVERYTHING = needing(
    logits=True,
    hidden_states=frozenset({0, 2}),
    cls=frozenset({1}),
    attentions=frozenset({1, 2}),
    parts=frozenset({"query", "value"}),
)


def build(folder, needs, said=None, split=None, features="store", epochs=3.0, encoder=None, is_shared=False, view=0, **options):
    encoder = toy_encoder(3) if encoder is None else encoder
    config = TeacherConfig(features=features, store=str(folder / "store"), **options)
    accelerator = training_context(folder).accelerator
    return build_teacher(
        encoder,
        toy_split() if split is None else split,
        needs,
        Source(config, "toy", weights_digest(encoder), is_shared=is_shared, view=view),
        epochs=epochs,
        accelerator=accelerator,
        say=(said if said is not None else []).append,
    )


def assert_alike(one, other, mask):
    """Equal where there is a token."""
    assert one.tensors.keys() == other.tensors.keys()
    assert one.attention == other.attention
    for name, value in one.tensors.items():
        theirs = other[name]
        assert value.dtype == theirs.dtype, name
        assert value.shape == theirs.shape, name
        if name.name == "hidden_state":
            value, theirs = value[mask], theirs[mask]
        elif value.ndim == 4:
            value, theirs = value.transpose(1, 2)[mask], theirs.transpose(1, 2)[mask]
        assert torch.allclose(value, theirs, atol=1e-5), name


def make_shards_small(monkeypatch):
    monkeypatch.setattr("stillhouse.teachers.fill.SHARD_BYTES", 20_000)
    monkeypatch.setattr("stillhouse.teachers.fill.scoring_order", partial(scoring_order, tokens=100))


def texts(encoded):
    return set(map(bytes, row_keys(encoded)))


def shards_of(folder):
    return sorted((folder / "store").glob("*/*.safetensors"))


def check(stored, folder, rows=None, needs=EVERYTHING, split=None):
    """What is read is what the model gives."""
    split = toy_split() if split is None else split
    online = OnlineTeacher(toy_encoder(3), needs, training_context(folder).accelerator)
    batch = split.batch(np.arange(97) if rows is None else np.array(rows))
    assert_alike(stored.features(batch), online.features(batch), batch.learner.mask.bool())
