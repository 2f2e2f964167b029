"""Batches of random hidden states and attention with padding, for the objectives that look inside."""

import pytest
import torch
from tests.features import Attended
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stillhouse.data.batch import Batch, Inputs
from stillhouse.task import Task, load_kind

TASK = Task("t", load_kind("classification"), ("a", "b", "c"))
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
# Of the maps of 3 examples, 5 heads and 7 tokens: a query, some queries, a head, some heads, an example, all of them at once.
ENTRIES = [1, 3 * 16, 7 * 16, 2 * 7 * 16, 5 * 7 * 16, 10**6]


def set_block_entries(monkeypatch, entries):
    for name in ("BLOCK_ENTRIES", "BLOCK_ENTRIES_GPU"):
        monkeypatch.setattr(f"stillhouse.speed.blocks.{name}", entries)


class Sizes(TorchDispatchMode):
    """Entries of the largest tensor that any operation makes inside the block."""

    largest = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        self.largest = max([self.largest, *(one.numel() for one in tree_leaves(result) if isinstance(one, torch.Tensor))])
        return result


def near(tokens, reach):
    """Pairs of tokens that are no further apart, one by one."""
    return torch.tensor([[abs(one - other) <= reach for other in range(tokens)] for one in range(tokens)])


def largest_tensor(formula, tokens, **options):
    """Of a formula of two pairs of vectors and a mask, forward and backward, one example with two heads of width 4."""
    ours, theirs = ([states(1, 2, tokens, 4, seed=seed).requires_grad_() for seed in pair] for pair in ((1, 2), (3, 4)))
    with Sizes() as sizes:
        formula(tuple(ours), tuple(theirs), torch.ones(1, tokens, dtype=torch.long), **options).backward()
    return sizes.largest


def batch_of(*lengths, tokens=None):
    tokens = max(lengths) if tokens is None else tokens
    mask = (torch.arange(tokens)[None] < torch.tensor(lengths)[:, None]).long()
    rows = torch.arange(len(lengths))
    return Batch(TASK, {0: Inputs(mask, mask, 0 * mask)}, rows, rows >= 0, rows >= 0, rows)


def states(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attention(batch, heads, tokens, width, seed=0, window=None):
    query, key, value = (states(batch, heads, tokens, width, seed=seed * 10 + part) for part in range(3))
    return Attended(query, key, value, width**-0.5, window)


def assert_alike(formula, reference, arguments, inputs, atol):
    """Two formulas give one value, and one gradient by the inputs, which is not zero."""
    values, slopes = [], []
    for one in (formula, reference):
        value = 2.5 * one(*arguments)  # what does not pass a gradient on would show
        slopes.append(torch.autograd.grad(value, inputs))
        values.append(value.item())
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    for one, other in zip(*slopes, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=atol)
        assert one.abs().max() > 1e-3


def cut(one, rows, tokens):
    """The given rows of an attention, without what lies behind `tokens`."""
    parts = (part[rows, :, :tokens] for part in (one.query, one.key, one.value))
    return Attended(*parts, one.scaling, one.window)


def padded(one, more):
    """The same with `more` tokens of noise behind."""
    noise = 99 * states(one.query.shape[0], one.query.shape[1], more, one.query.shape[3], seed=77)
    parts = (torch.cat([part, noise], dim=2) for part in (one.query, one.key, one.value))
    return Attended(*parts, one.scaling, one.window)
