"""What decides a model's outputs, as one number."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from torch import nn


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of what decides a model's outputs and training: class, configuration, and all weights."""
    digest = hashlib.sha256(type(module).__name__.encode())
    config = getattr(module, "config", None)
    if config is not None:
        values = {
            name: value for name, value in config.to_diff_dict().items() if name not in ("_name_or_path", "dtype", "stillhouse")
        }
        digest.update(json.dumps(values, sort_keys=True, default=str).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(np.ascontiguousarray(tensor.detach().float().cpu().numpy()).tobytes())
    return digest.hexdigest()
