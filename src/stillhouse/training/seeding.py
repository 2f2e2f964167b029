"""The state of torch's generators, which a checkpoint holds."""

from __future__ import annotations

import torch
from torch import Tensor


def random_state() -> dict[str, Tensor]:
    """State of torch's generators on CPU and, where used, on the accelerators."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda:{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_random_state(states: dict[str, Tensor]) -> None:
    """Puts torch's generators back to a state of `random_state`."""
    torch.set_rng_state(states["cpu"].cpu())
    for name, state in states.items():
        if name.startswith("cuda:") and int(name.removeprefix("cuda:")) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state.cpu(), device=name)
