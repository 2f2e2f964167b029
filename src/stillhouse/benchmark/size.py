"""How large a model is: its parameters, and the weights as they are saved."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

FLOAT_BYTES = 4  # weights are saved in fp32


@dataclass(frozen=True)
class ParameterCounts:
    """Parameters by part; a parameter that two parts share counts once, in the part named first here."""

    embeddings: int
    encoder: int
    head: int

    @property
    def total(self) -> int:
        return self.embeddings + self.encoder + self.head


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, frozen ones included, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_by_part(model: nn.Module) -> ParameterCounts:
    """Parameters of the embeddings, of the encoder above them (pooler included) and of the task head.

    The encoder is the model's `base_model`, as transformers calls it; a module without one is an encoder itself.
    Embeddings are its `embeddings`, or every `nn.Embedding` where it has no part of that name.
    """
    base = getattr(model, "base_model", model)
    embeddings = getattr(base, "embeddings", None)
    sources = [embeddings] if isinstance(embeddings, nn.Module) else _lookup_tables(base)
    in_embeddings = {id(parameter) for source in sources for parameter in source.parameters()}
    in_base = {id(parameter) for parameter in base.parameters()}
    counts = {"embeddings": 0, "encoder": 0, "head": 0}
    for parameter in model.parameters():
        part = "embeddings" if id(parameter) in in_embeddings else "encoder" if id(parameter) in in_base else "head"
        counts[part] += parameter.numel()
    return ParameterCounts(**counts)


def weights_mib(model: nn.Module) -> float:
    """MiB (2^20 bytes) of parameters and persistent buffers as saved: numbers in fp32, shared tensors once."""
    tensors: dict[int, Tensor] = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    sizes = [
        tensor.numel() * (FLOAT_BYTES if tensor.is_floating_point() else tensor.element_size()) for tensor in tensors.values()
    ]
    return sum(sizes) / 2**20


def _lookup_tables(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, nn.Embedding)]
