"""Batches of random hidden states and attention with padding, for the objectives that look inside."""

import pytest
import torch

from stillhouse.data.batch import Batch
from stillhouse.features import Attention


def batch_of(*lengths, tokens=None):
    tokens = max(lengths) if tokens is None else tokens
    mask = (torch.arange(tokens)[None] < torch.tensor(lengths)[:, None]).long()
    inputs = {"attention_mask": mask}
    rows = torch.arange(len(lengths))
    return Batch(inputs, inputs, rows, rows >= 0, rows >= 0, rows)


def states(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attention(batch, heads, tokens, width, seed=0, window=None):
    query, key, value = (states(batch, heads, tokens, width, seed=seed * 10 + part) for part in range(3))
    return Attention(query, key, value, width**-0.5, window)


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
    return Attention(*parts, one.scaling, one.window)


def padded(one, more):
    """The same with `more` tokens of noise behind."""
    noise = 99 * states(one.query.shape[0], one.query.shape[1], more, one.query.shape[3], seed=77)
    parts = (torch.cat([part, noise], dim=2) for part in (one.query, one.key, one.value))
    return Attention(*parts, one.scaling, one.window)
