"""Products of bf16 matrices by way of float32, for processors without an instruction for them.

    python benchmarks/bf16_products.py    # compares them with torch's own

On such processors torch falls back to loops a tenth as fast as its float32 products. Here the matrices, bf16 already, are
multiplied in float32, which holds a product of two bf16 numbers exactly, and each sum is rounded to bf16 once: what AVX512-BF16
gives, but for the order of the sums. Attention in torch's fused form, which only passes without gradient use, stays as it is.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

_NAMES = ("mm", "bmm", "addmm", "baddbmm")
_LIBRARY = torch.library.Library("aten", "IMPL")  # takes back what it has taken over when it goes


def main() -> None:
    """Prints how many entries come out other than from torch's own products, and by how much."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((429, 384), (384, 1536), (32, 429, 32), (32, 32, 429))
    matrix, weights, queries, keys = (torch.randn(size, generator=generator).bfloat16() for size in sizes)
    own = [matrix @ weights, queries @ keys]
    multiply_in_float32()
    for kind, one, found in zip(("layer", "map"), own, [matrix @ weights, queries @ keys], strict=True):
        difference = (found.float() - one.float()).abs()
        largest = difference.max() / one.float().std()
        print(
            f"a {kind}'s product: {(difference > 0).float().mean():.1e} of the entries differ, by {largest:.1e} of their spread"
        )


def multiply_in_float32() -> None:
    """Takes torch's matrix products on CPUs over, for as long as the process lives."""
    with warnings.catch_warnings(action="ignore"):  # that they are taken over
        for name in _NAMES:
            _LIBRARY.impl(name, _product(name), "CPU")


def _product(name: str) -> Any:
    into = getattr(torch.ops.aten, name).out  # an operator of its own, torch's still

    def product(*tensors: Tensor, **factors: Any) -> Tensor:
        left, right = tensors[-2:]
        exact = [tensor.float() if tensor.dtype == torch.bfloat16 else tensor for tensor in tensors]
        result: Tensor = into(*exact, **factors, out=exact[0].new_empty(*left.shape[:-1], right.shape[-1]))
        return result.to(left.dtype)

    return product


if __name__ == "__main__":
    main()
