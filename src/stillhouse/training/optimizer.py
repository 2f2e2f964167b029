"""AdamW over what a stage trains: each part of the encoder at its own rate, matrices with weight decay, all else without."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from stillhouse.config import StageConfig
from stillhouse.method import Trained
from stillhouse.models.adapter import head_parameters, layer_stack


def let_rest(encoder: Any, trained: Trained) -> None:
    """Takes the gradient from what is not trained of an encoder."""
    for parameter, factor in _factors(encoder, trained):
        if factor == 0:
            parameter.requires_grad_(False)


def build_optimizer(module: nn.Module, config: StageConfig, encoder: Any, trained: Trained) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, fused. Parameters of one dimension or none are not decayed.

    Each group holds under `peak` the learning rate that its schedule rises to.

    Args:
        module: Everything that is trained.
        config: Learning rates and weight decay.
        encoder: The encoder in it; what is beside it has the stage's learning rate.
        trained: Factors of its parts.
    """
    head_rate = config.learning_rate if config.head_learning_rate is None else config.head_learning_rate
    in_head = {id(parameter) for parameter in head_parameters(encoder)}
    peaks = {
        id(parameter): factor * (head_rate if id(parameter) in in_head else config.learning_rate)
        for parameter, factor in _factors(encoder, trained)
    }
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            peak = peaks.get(id(parameter), config.learning_rate)
            groups.setdefault((peak, parameter.ndim > 1), []).append(parameter)
    options = [
        {"params": members, "lr": peak, "peak": peak, "weight_decay": config.weight_decay if is_matrix else 0.0}
        for (peak, is_matrix), members in groups.items()
    ]
    return torch.optim.AdamW(options, lr=config.learning_rate, eps=1e-6, fused=True)


def _factors(encoder: Any, trained: Trained) -> list[tuple[nn.Parameter, float]]:
    """Every parameter of an encoder with the factor of its part."""
    factors = {id(parameter): trained.head for parameter in head_parameters(encoder)}
    if trained.layers != trained.embeddings:  # else no family has to tell its layers apart
        stack = layer_stack(encoder)
        by_layer = trained.layers if isinstance(trained.layers, tuple) else (trained.layers,) * len(stack)
        for layer, factor in zip(stack, by_layer, strict=True):
            factors |= dict.fromkeys(map(id, layer.parameters()), factor)
    return [(parameter, factors.get(id(parameter), trained.embeddings)) for parameter in encoder.parameters()]
