"""A student whose layers are copies of its teacher's first ones, and a batch for both."""

import torch
from tests.objectives.matching import batch_of
from tests.tiny_models import tiny_config

from stillhouse.data.batch import Batch, Inputs
from stillhouse.models.loading import build_encoder
from stillhouse.students.copy_layers import copy_layers
from stillhouse.task import Task, load_kind

TASK = Task("t", load_kind("classification"), labels=("a", "b", "c"))


def pair(family="bert", layers=4, own=2):
    torch.manual_seed(0)
    predecessor = build_encoder(tiny_config(family, layers=layers), TASK.head)
    successor = build_encoder(tiny_config(family, layers=own), TASK.head)
    copy_layers(successor, predecessor, range(1, own + 1), with_head=True)
    return successor, predecessor


def batch(rows=4):
    empty = batch_of(*([7] * (rows - 1)), 5)
    ids = torch.randint(5, 200, (rows, 7), generator=torch.Generator().manual_seed(1))
    inputs = Inputs(ids, empty.learner.mask, 0 * ids)
    return Batch(TASK, {0: inputs}, empty.labels, empty.has_label, empty.positions, torch.arange(rows))
