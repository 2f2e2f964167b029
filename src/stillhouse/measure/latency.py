"""How long one forward pass takes, for several models under the same conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16", torch.float64: "fp64"}
SPECIAL_TOKENS = 10  # ids below are padding and its like, which some models treat apart


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a call: the median and the 95th percentile."""

    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Conditions:
    """What the latency of a forward pass holds for.

    Attributes:
        batch: Texts a pass.
        tokens: Tokens a text.
        threads: CPU threads of torch.
        precision: Of the arithmetic: that of autocast where it is on, else that of the weights.
        device: Where it runs.
    """

    batch: int
    tokens: int
    threads: int
    precision: str
    device: str


def measure_latency(calls: Mapping[str, Callable[[], object]], *, repeats: int = 30, warmup: int = 5) -> dict[str, Latency]:
    """Times calls that take turns (a, b, c, a, b, c, ...): another load on the machine, or its heat, falls on all alike.

    Args:
        calls: By name; each returns when its work is done, see `forward_passes`.
        repeats: Timed calls of each.
        warmup: Calls of each before, not timed.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be positive, not {repeats}")
    milliseconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warmup + repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds = time.perf_counter() - start
            if turn >= warmup:
                milliseconds[name].append(1000 * seconds)
    return {
        name: Latency(p50_ms=float(np.percentile(times, 50)), p95_ms=float(np.percentile(times, 95)))
        for name, times in milliseconds.items()
    }


@contextmanager
def forward_passes(
    models: Mapping[str, nn.Module], inputs_for: Mapping[str, Mapping[str, Tensor]]
) -> Iterator[dict[str, Callable[[], None]]]:
    """Forward passes to time inside the block: in eval mode without gradient, each on its model's own device.

    Args:
        models: By name; their training mode is restored afterwards.
        inputs_for: Keyword arguments of each model's forward, see `random_inputs`.
    """
    modes = {name: model.training for name, model in models.items()}
    try:
        with torch.inference_mode():
            yield {name: _forward_pass(model.eval(), inputs_for[name]) for name, model in models.items()}
    finally:
        for name, model in models.items():
            model.train(modes[name])


def conditions_of(model: nn.Module, inputs: Mapping[str, Tensor]) -> Conditions:
    """What the latency of a model on these inputs holds for."""
    device = _device(model)
    batch, tokens = next(iter(inputs.values())).shape[:2]
    return Conditions(batch, tokens, torch.get_num_threads(), _precision(model, device), device.type)


def random_inputs(
    model: Any,
    *,
    batch: int,
    tokens: int,
    names: Iterable[str] = ("input_ids", "attention_mask"),
    seed: int = 0,
) -> dict[str, Tensor]:
    """Texts of random ordinary tokens without padding.

    Args:
        model: Whose vocabulary to draw from: its configuration says how large it is.
        batch: Number of texts.
        tokens: Tokens in each.
        names: What the model's forward takes; of these `input_ids`, `attention_mask` and `token_type_ids` are made.
        seed: Of the tokens.
    """
    vocabulary = int(model.config.vocab_size)
    lowest = min(SPECIAL_TOKENS, vocabulary - 1)
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(lowest, vocabulary, (batch, tokens), generator=generator)
    made = {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "token_type_ids": torch.zeros_like(input_ids),
    }
    return {name: made[name] for name in names if name in made}


def _forward_pass(model: nn.Module, inputs: Mapping[str, Tensor]) -> Callable[[], None]:
    device = _device(model)
    own = {key: tensor.to(device) for key, tensor in inputs.items()}

    def call() -> None:
        model(**own)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return call


def _device(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _precision(model: nn.Module, device: torch.device) -> str:
    dtype = next((each.dtype for each in model.parameters() if each.is_floating_point()), torch.float32)
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
    return PRECISIONS.get(dtype, str(dtype).removeprefix("torch."))
