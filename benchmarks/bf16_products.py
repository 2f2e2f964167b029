"""Products of bf16 matrices by way of float32, for processors without an instruction for them.

    python benchmarks/bf16_products.py [--json FILE]    # compares them with torch's own, in values and speed

On such processors torch falls back to loops far slower than its float32 products. Here the matrices, bf16 already, are
multiplied in float32, which holds a product of two bf16 numbers exactly, and each sum is rounded to bf16 once, as torch's own
kernels do it; the order of the sums differs. Attention in torch's fused form, which only passes without gradient use, stays as
it is.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.config import EngineConfig
from stillhouse.files import write_json
from stillhouse.machine.engine import build_accelerator, environment

_NAMES = ("mm", "bmm", "addmm", "baddbmm")
_LIBRARY = torch.library.Library("aten", "IMPL")  # takes back what it has taken over when it goes


def main() -> None:
    """Prints how many entries come out other than from torch's own products, by how much, and how long both take."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    layer = nn.Linear(384, 1536, dtype=torch.bfloat16)
    vectors, gradient = torch.randn(429, 384).bfloat16().requires_grad_(), torch.randn(429, 1536).bfloat16()
    queries, keys = torch.randn(32, 429, 32).bfloat16(), torch.randn(32, 32, 429).bfloat16()
    kinds: dict[str, Callable[[], Tensor]] = {
        "a layer": lambda: layer(vectors).detach(),
        "its gradient by vectors": lambda: torch.autograd.grad(layer(vectors), vectors, gradient)[0],
        "its gradient by weights": lambda: torch.autograd.grad(layer(vectors), layer.weight, gradient)[0],
        "maps": lambda: queries @ keys,
    }
    own = {kind: _timed(product) for kind, product in kinds.items()}
    multiply_in_float32()
    record: dict[str, Any] = {"command": "benchmarks/bf16_products.py", "date": time.strftime("%Y-%m-%d")}
    record |= {"machine": environment(build_accelerator(EngineConfig())), "products": {}}
    for kind, product in kinds.items():
        (result, seconds), (their_result, their_seconds) = _timed(product), own[kind]
        difference = (result.float() - their_result.float()).abs()
        found = {
            "share_that_differs": float((difference > 0).float().mean()),
            "largest_difference_in_standard_deviations": float(difference.max() / their_result.float().std()),
            "times_as_fast": their_seconds / seconds,
        }
        print(f"{kind:<26}" + ", ".join(f"{name.replace('_', ' ')} {value:.2g}" for name, value in found.items()))
        record["products"][kind] = found
    if options.json:
        write_json(options.json, record)


def multiply_in_float32() -> None:
    """Takes torch's matrix products on CPUs over, for as long as the process lives."""
    with warnings.catch_warnings(action="ignore"):  # that they are taken over
        for name in _NAMES:
            _LIBRARY.impl(name, _product(name), "CPU")


def _product(name: str) -> Any:
    into = getattr(torch.ops.aten, name).out  # an operator of its own, torch's still

    def product(*tensors: Tensor, **factors: Any) -> Tensor:
        left, right = tensors[-2:]
        is_bf16 = all(tensor.dtype == torch.bfloat16 for tensor in tensors)
        exact = [tensor.float() for tensor in tensors] if is_bf16 else tensors
        result: Tensor = into(*exact, **factors, out=exact[0].new_empty(*left.shape[:-1], right.shape[-1]))
        return result.to(left.dtype)

    return product


def _timed(product: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What it gives, and the median of its seconds."""
    result, seconds = product(), []
    for _ in range(9):
        started = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - started)
    return result, statistics.median(seconds)


if __name__ == "__main__":
    main()
