"""How large a model is: its parameters, and the weights as they are saved."""

from __future__ import annotations

from torch import Tensor, nn

FLOAT_BYTES = 4  # weights are saved in fp32


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, frozen ones included, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def weights_mib(model: nn.Module) -> float:
    """MiB (2^20 bytes) of parameters and persistent buffers as saved: numbers in fp32, shared tensors once."""
    tensors: dict[int, Tensor] = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    sizes = [
        tensor.numel() * (FLOAT_BYTES if tensor.is_floating_point() else tensor.element_size()) for tensor in tensors.values()
    ]
    return sum(sizes) / 2**20
