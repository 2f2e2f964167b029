"""Queries, keys and values of an encoder's layers, recorded on their way into attention, which makes no maps.

A function registered with transformers' `AttentionInterface` sees what each layer attends with, keeps it where a recorder
listens, and hands it on to SDPA, or where that is slow on a CPU to `block_attention`. A mask function stands under the same
name: without one, transformers would pass no mask at all and attend to padding, silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from stillhouse.features import Attention
from stillhouse.models.quiet import quiet_transformers
from stillhouse.speed.attention import block_attention, can_attend, is_short

IMPLEMENTATION = "stillhouse"


class _Enough(Exception):
    """All that is wanted of a pass has been recorded."""


class Recorded(NamedTuple):
    """What a layer attended with, `(batch, heads, tokens, head_dim)` each, and how."""

    query: Tensor
    key: Tensor
    value: Tensor
    attention: Attention


@dataclass
class _Recorder:
    """Keeps the wanted calls of one forward pass, known by their order: ALBERT's layers share one module."""

    wanted: frozenset[int]
    stops: bool
    calls: int = 0
    recorded: dict[int, Recorded] = field(default_factory=dict)
    lacks_mask: bool = False
    lacks_gradient: bool = False


_listening: ContextVar[_Recorder | None] = ContextVar("stillhouse_recorder", default=None)
_short_texts: ContextVar[bool] = ContextVar("stillhouse_short_texts", default=False)


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    recorder = _listening.get()
    given = options.get("scaling")
    scaling = query.shape[-1] ** -0.5 if given is None else float(given)
    if recorder is not None:
        recorder.calls += 1
        if recorder.calls in recorder.wanted:
            # transformers counts a window's middle to its half.
            window = getattr(module, "sliding_window", None)
            recorder.recorded[recorder.calls] = Recorded(query, key, value, Attention(scaling, window and window - 1))
            recorder.lacks_gradient |= not query.requires_grad
            recorder.lacks_mask |= attention_mask is None
            if recorder.stops and recorder.recorded.keys() == recorder.wanted:
                raise _Enough
    dropout = float(options.get("dropout") or 0.0)  # 0 in eval mode
    in_blocks = query.device.type == "cpu" and (dropout > 0 or (_short_texts.get() and is_short(query)))
    if in_blocks and can_attend(query, key, value, attention_mask, dropout) and not _asks_for_more(options):
        return block_attention(query, key, value, attention_mask, scaling, dropout), None
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return output, None


def _asks_for_more(options: Mapping[str, Any]) -> bool:
    """Whether attention is other than over all keys that the mask allows, as SDPA alone knows how to do."""
    return any(options.get(name) is not None for name in ("position_bias", "cache", "softcap")) or bool(
        options.get("is_causal")
    )


AttentionInterface.register(IMPLEMENTATION, _attend)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)


@contextmanager
def states_before(layers: Mapping[int, nn.Module], *, stops: bool) -> Iterator[dict[int, Tensor]]:
    """What a pass, which has to run inside the block, gives to some layers.

    Args:
        layers: By the number under which their input is wanted.
        stops: Leave the block as soon as everything is there.

    Yields:
        The inputs by number; filled when the block is left.

    Raises:
        RuntimeError: The pass never came to one of them.
    """
    states: dict[int, Tensor] = {}

    def keep(number: int, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        states[number] = given[0] if given else named["hidden_states"]
        if stops and states.keys() == layers.keys():
            raise _Enough

    handles = [
        layer.register_forward_pre_hook(lambda _, given, named, number=number: keep(number, given, named), with_kwargs=True)
        for number, layer in layers.items()
    ]
    try:
        with suppress(_Enough):
            yield states
    finally:
        for handle in handles:
            handle.remove()
    if missing := sorted(layers.keys() - states.keys()):
        raise RuntimeError(f"the pass ended before hidden states {missing} were there")


@contextmanager
def recording(
    model: Any, calls: Iterable[int], every: int, attention_mask: Tensor | None, *, stops: bool = False
) -> Iterator[dict[int, Recorded]]:
    """Records attention inputs of one forward pass of `model`, which has to run inside the block.

    What runs again later, such as a checkpointed layer in the backward pass, is not recorded.

    Args:
        model: An encoder of transformers.
        calls: Which of its attention calls to keep, 1-based, in the order of the pass.
        every: How many calls the pass makes.
        attention_mask: The mask that the model is given.
        stops: Leave the block as soon as everything is recorded: what the model does after it is not wanted, and how often it
            attends is not looked at.

    Yields:
        The recorded calls by number; filled when the block is left.

    Raises:
        RuntimeError: The model's attention cannot be recorded, a call is missing, its padding mask is missing, or it
            carries no gradient (reentrant checkpointing).
    """
    wanted = frozenset(calls)
    if not wanted:
        yield {}
        return
    _listen_to(model)
    recorder = _Recorder(wanted, stops)
    token = _listening.set(recorder)
    try:
        yield recorder.recorded
    except _Enough:
        every = recorder.calls
    finally:
        _listening.reset(token)
    _check(recorder, model, every, attention_mask)


def attend_in_blocks(model: Any) -> None:
    """Lets a model attend with `block_attention` in training on a CPU, for good, where its attention can be replaced."""
    with suppress(RuntimeError):
        _listen_to(model)


@contextmanager
def short_texts_in_blocks() -> Iterator[None]:
    """Inside the block such models attend to short texts with `block_attention` without dropout, too.

    Not for scores: those are of transformers' own attention, whatever a model has been through.
    """
    token = _short_texts.set(True)
    try:
        yield
    finally:
        _short_texts.reset(token)


def _listen_to(model: Any) -> None:
    if model.config._attn_implementation != IMPLEMENTATION:
        with quiet_transformers():  # what it says where it cannot is said below
            model.set_attn_implementation(IMPLEMENTATION)
    if model.config._attn_implementation != IMPLEMENTATION:
        raise RuntimeError(f"the attention of {type(model).__name__} cannot be recorded: it is not on AttentionInterface")


def _check(recorder: _Recorder, model: nn.Module, every: int, attention_mask: Tensor | None) -> None:
    name = type(model).__name__
    missing = sorted(recorder.wanted - recorder.recorded.keys())
    if missing or recorder.calls != every:
        raise RuntimeError(
            f"{name} attended {recorder.calls} times instead of {every}"
            + (f", so that Q, K and V of {missing} were not captured" if missing else "")
        )
    if recorder.lacks_mask and attention_mask is not None and not bool(attention_mask.all()):
        raise RuntimeError(f"{name} attends to padding: no mask reached its attention (is its mask function registered?)")
    is_trained = torch.is_grad_enabled() and model.training
    if recorder.lacks_gradient and is_trained and any(parameter.requires_grad for parameter in model.parameters()):
        raise RuntimeError(f"Q, K and V of {name} carry no gradient: gradient checkpointing needs use_reentrant=False")
