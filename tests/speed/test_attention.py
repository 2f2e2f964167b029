"""Attention block by block is attention, with dropout and without."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from stillhouse.speed import attention as module


def block_attention(*arguments):
    return module.block_attention(*arguments).transpose(1, 2)  # as torch's gives it


def vectors(batch=2, heads=3, tokens=7, width=5, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, heads, tokens, width, generator=generator).to(dtype).requires_grad_() for _ in range(3)]


def masks():
    keys = torch.ones(2, 1, 1, 7, dtype=torch.bool)
    keys[1, ..., 4:] = False
    position = torch.arange(7)
    near = (position[:, None] - position).abs() <= 2
    return {"none": None, "keys": keys, "near": keys.expand(2, 1, 7, 7) & near, "one": near[None, None]}


@pytest.mark.parametrize("mask", masks())
@pytest.mark.parametrize("entries", [1, 2 * 7 * 7, 10**6])
def test_without_dropout_it_is_torchs(monkeypatch, mask, entries):
    monkeypatch.setattr("stillhouse.speed.blocks.BLOCK_ENTRIES", entries)
    inputs = vectors()
    allowed = masks()[mask]
    if mask == "near":
        allowed = allowed | torch.eye(7, dtype=torch.bool)  # every query sees a key
    ours = block_attention(*inputs, allowed, 0.3, 0.0)
    theirs = scaled_dot_product_attention(*inputs, attn_mask=allowed, scale=0.3)
    assert torch.allclose(ours, theirs, atol=1e-6)
    slopes = [torch.autograd.grad(result.square().sum(), inputs) for result in (ours, theirs)]
    for one, other in zip(*slopes, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
        assert one.abs().max() > 1e-3


@pytest.mark.parametrize("entries", [1, 10**6])
def test_the_gradient_is_that_of_the_maps_that_were_dropped(monkeypatch, entries):
    monkeypatch.setattr("stillhouse.speed.blocks.BLOCK_ENTRIES", entries)

    def attend(*inputs):
        torch.manual_seed(5)
        return block_attention(*inputs, masks()["keys"], 0.4, 0.3)

    # Entry by entry it takes long: random directions then.
    assert torch.autograd.gradcheck(attend, vectors(dtype=torch.float64), fast_mode=entries == 1)


def test_the_mean_over_many_draws_is_attention_without_dropout():
    torch.manual_seed(0)
    query, key, value = (tensor.detach()[:1, :1] for tensor in vectors())
    many = [tensor.expand(4000, 5, -1, -1) for tensor in (query, key, value)]
    found = block_attention(*many, None, 0.4, 0.25)
    exact = scaled_dot_product_attention(query, key, value, scale=0.4)[0, 0]
    spread = found.std(dim=(0, 1)) / 20_000**0.5
    assert ((found.mean(dim=(0, 1)) - exact).abs() < 5 * spread).all()
    assert spread.min() > 0
    assert not torch.equal(found[0], found[1])


def test_rotated_vectors_are_taken_in_the_type_of_the_values():
    """Under autocast rotation gives float32, the values are bf16."""
    query, key, value = vectors()
    low = value.detach().to(torch.bfloat16).requires_grad_()
    torch.manual_seed(0)
    found = block_attention(query, key, low, None, 0.4, 0.2)
    gradients = torch.autograd.grad(found.float().square().sum(), (query, key, low))
    assert found.dtype == torch.bfloat16
    torch.manual_seed(0)
    exact = block_attention(query, key, value, None, 0.4, 0.2)
    for own, one in zip(gradients, torch.autograd.grad(exact.square().sum(), (query, key, value)), strict=True):
        assert (own - one).norm() < 0.02 * one.norm()


def test_what_it_takes():
    query, key, value = vectors()
    keys = masks()["keys"]
    for dropout in (0.0, 0.1):
        assert module.can_attend(query, key, value, None, dropout)
        assert module.can_attend(query, key, value, keys, dropout)
        assert not module.can_attend(query, key, value, keys.float(), dropout)  # added to scores, as LayoutLM's
        assert not module.can_attend(query, key, value, keys.expand(-1, 3, -1, -1), dropout)
        assert not module.can_attend(query, key, value, keys[0, 0], dropout)
        assert not module.can_attend(query, key[:, :1], value[:, :1], None, dropout)
    assert not module.can_attend(query, key, value, None, 1.0)


@pytest.mark.parametrize("tokens", [1, 15, 16, 17])
@pytest.mark.parametrize("has_mask", [False, True])
def test_texts_shorter_than_a_vector_register(tokens, has_mask):
    """Their maps are made wider, which nothing shows."""
    inputs = vectors(tokens=tokens)
    mask = torch.arange(tokens) < torch.tensor([tokens, 1])[:, None] if has_mask else None
    mask = None if mask is None else mask[:, None, None]
    ours, theirs = block_attention(*inputs, mask, 0.3, 0.0), scaled_dot_product_attention(*inputs, attn_mask=mask, scale=0.3)
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, atol=1e-6)
    slopes = [torch.autograd.grad(result.square().sum(), inputs) for result in (ours, theirs)]
    for one, other in zip(*slopes, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_query_that_may_look_nowhere_looks_everywhere():
    query, key, value = vectors()
    found = block_attention(query, key, value, torch.zeros(1, 1, 1, 7, dtype=torch.bool), 0.3, 0.0)
    assert torch.allclose(found, value.mean(dim=2, keepdim=True).expand_as(value), atol=1e-6)


def test_a_seed_gives_its_maps():
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(block_attention(*vectors(), None, 0.4, 0.5))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_bf16_is_near_float32():
    """Forward and backward, inside autocast, which has no say here."""
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        torch.manual_seed(0)
        inputs = [tensor.detach().to(torch.bfloat16).to(dtype).requires_grad_() for tensor in vectors()]
        with torch.autocast("cpu", torch.bfloat16):
            found = block_attention(*inputs, masks()["keys"], 0.4, 0.2)
        results.append([found, *torch.autograd.grad(found.square().sum(), inputs)])
    for own, exact in zip(*results, strict=True):
        assert (own.dtype, exact.dtype) == (torch.bfloat16, torch.float32)
        assert 0 < (own - exact).norm() < 0.01 * exact.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_vectors_lie_token_by_token_as_layers_give_and_take_them(dtype):
    inputs = [tensor.detach().to(dtype).transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for tensor in vectors()]
    found = module.block_attention(*inputs, None, 0.4, 0.2)
    assert found.is_contiguous()
    for gradient in torch.autograd.grad(found.float().square().sum(), inputs):
        assert gradient.transpose(1, 2).is_contiguous()
