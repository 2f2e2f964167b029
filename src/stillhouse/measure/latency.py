"""How long one forward pass takes, for several models under the same conditions."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16", torch.float64: "fp64"}
SPECIAL_TOKENS = 10  # ids below are padding and its like, which some models treat apart


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a forward pass, and the conditions they hold for.

    Attributes:
        p50_ms: Median.
        p95_ms: 95th percentile.
        batch: Texts a pass.
        tokens: Tokens a text.
        threads: CPU threads of torch.
        precision: Of the arithmetic: that of autocast where it is on, else that of the weights.
        device: Where it ran.
    """

    p50_ms: float
    p95_ms: float
    batch: int
    tokens: int
    threads: int
    precision: str
    device: str


def measure_latency(
    models: Mapping[str, nn.Module],
    inputs_for: Mapping[str, Mapping[str, Tensor]],
    *,
    batch: int,
    tokens: int,
    repeats: int = 30,
    warmup: int = 5,
) -> dict[str, Latency]:
    """Times forward passes in eval mode without gradient, on each model's own device.

    The models take turns (a, b, c, a, b, c, ...), so that another load on the machine, or its heat, falls on all alike.

    Args:
        models: By name; their training mode is restored afterwards.
        inputs_for: Keyword arguments of each model's forward, each `(batch, tokens)`; see `random_inputs`.
        batch: Texts a pass, as the inputs hold them.
        tokens: Tokens a text, as the inputs hold them.
        repeats: Timed passes of each model.
        warmup: Passes of each model before, not timed.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be positive, not {repeats}")
    for name in models:
        for key, tensor in inputs_for[name].items():
            if tuple(tensor.shape[:2]) != (batch, tokens):
                raise ValueError(f"{key} of {name} is {tuple(tensor.shape)}, not batch {batch} x tokens {tokens}")
    devices = {name: _device(model) for name, model in models.items()}
    inputs = {name: {key: tensor.to(device) for key, tensor in inputs_for[name].items()} for name, device in devices.items()}
    modes = {name: model.training for name, model in models.items()}
    milliseconds: dict[str, list[float]] = {name: [] for name in models}
    try:
        with torch.inference_mode():
            for turn in range(warmup + repeats):
                for name, model in models.items():
                    model.eval()
                    seconds = _time_pass(model, inputs[name], devices[name])
                    if turn >= warmup:
                        milliseconds[name].append(1000 * seconds)
    finally:
        for name, model in models.items():
            model.train(modes[name])
    return {
        name: Latency(
            p50_ms=float(np.percentile(times, 50)),
            p95_ms=float(np.percentile(times, 95)),
            batch=batch,
            tokens=tokens,
            threads=torch.get_num_threads(),
            precision=_precision(models[name], devices[name]),
            device=devices[name].type,
        )
        for name, times in milliseconds.items()
    }


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
        model: Whose vocabulary to draw from: its input embeddings say how large it is.
        batch: Number of texts.
        tokens: Tokens in each.
        names: What the model's forward takes; of these `input_ids`, `attention_mask` and `token_type_ids` are made.
        seed: Of the tokens.
    """
    vocabulary = int(model.get_input_embeddings().num_embeddings)
    lowest = min(SPECIAL_TOKENS, vocabulary - 1)
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(lowest, vocabulary, (batch, tokens), generator=generator)
    made = {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "token_type_ids": torch.zeros_like(input_ids),
    }
    return {name: made[name] for name in names if name in made}


def _time_pass(model: nn.Module, inputs: Mapping[str, Tensor], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    model(**inputs)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _device(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _precision(model: nn.Module, device: torch.device) -> str:
    dtype = next((each.dtype for each in model.parameters() if each.is_floating_point()), torch.float32)
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
    return PRECISIONS.get(dtype, str(dtype).removeprefix("torch."))
