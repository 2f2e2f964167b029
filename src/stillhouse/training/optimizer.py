"""AdamW with the usual two groups, for the encoder and, where it has a rate of its own, for the head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from stillhouse.config import StageConfig


def build_optimizer(module: nn.Module, config: StageConfig, head: Sequence[nn.Parameter] = ()) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, fused. Parameters of one dimension or none are not decayed.

    Each group holds under `peak` the learning rate that its schedule rises to.

    Args:
        module: Everything that is trained.
        config: Learning rates and weight decay.
        head: The task head's parameters among them.
    """
    head_rate = config.learning_rate if config.head_learning_rate is None else config.head_learning_rate
    in_head = {id(parameter) for parameter in head} if head_rate != config.learning_rate else set()
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = []
    for is_head, peak in ((False, config.learning_rate), (True, head_rate)):
        members = [parameter for parameter in trainable if (id(parameter) in in_head) == is_head]
        for is_matrix, decay in ((True, config.weight_decay), (False, 0.0)):
            chosen = [parameter for parameter in members if (parameter.ndim > 1) == is_matrix]
            if chosen:
                groups.append({"params": chosen, "lr": peak, "peak": peak, "weight_decay": decay})
    return torch.optim.AdamW(groups, lr=config.learning_rate, eps=1e-6, fused=True)
