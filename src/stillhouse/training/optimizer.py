"""AdamW with the usual two groups: weight decay for matrices, none for biases and normalisation."""

from __future__ import annotations

import torch
from torch import nn

from stillhouse.config import StageConfig


def build_optimizer(module: nn.Module, config: StageConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, fused. Parameters of one dimension or none are not decayed."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trainable if parameter.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in trainable if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, eps=1e-6, fused=True)
