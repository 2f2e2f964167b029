"""Moments of the vectors in a model as it reads some text, and what of a vector can be guessed from a part of it.

All sums are in float64, and what comes of them is rounded: it is the same with any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stillhouse.data.batch import Inputs
from stillhouse.models.adapter import input_names

SampleText = Callable[[], Iterable[Inputs]]


class Fold(NamedTuple):
    """How a vector is guessed from what is kept of it: `matrix @ kept + offset`."""

    matrix: Tensor
    offset: Tensor


@dataclass
class Moments:
    """Of vectors, one a token: their number, sum, sum of squares and, where there is a covariance, of products."""

    has_covariance: bool
    count: int = 0
    total: Any = 0.0
    squared: Any = 0.0
    products: Any = 0.0

    def add(self, vectors: Tensor) -> None:
        vectors = vectors.double()
        self.count += len(vectors)
        self.total = self.total + vectors.sum(0).cpu()
        self.squared = self.squared + vectors.square().sum(0).cpu()
        if self.has_covariance:
            self.products = self.products + (vectors.T @ vectors).cpu()

    @property
    def mean(self) -> Tensor:
        mean: Tensor = self.total / self.count
        return mean

    @property
    def squares(self) -> Tensor:
        squares: Tensor = self.squared / self.count
        return squares

    @property
    def variance(self) -> Tensor:
        return (self.squares - self.mean.square()).clamp_min(0)

    def covariance(self, parts: int) -> Tensor:
        """Within each of some equal parts; to 16 bits: less than its error, and all that depends on the order of sums."""
        covariance: Tensor = self.products / self.count
        covariance -= torch.outer(self.mean, self.mean)
        scale = torch.exp2(self.variance.clamp_min(1e-30).log2().div(2).round())
        covariance /= scale[:, None] * 2**-16
        covariance.div_(scale).round_().mul_(scale).mul_(scale[:, None] * 2**-16)
        side = len(covariance) // parts
        for start in range(0, len(covariance) if parts > 1 else 0, side):
            covariance[start : start + side, :start] = 0
            covariance[start : start + side, start + side :] = 0
        return covariance

    def fold(self, kept: Tensor, parts: int = 1) -> Fold:
        """The least-squares guess of the whole from what is kept, each of some equal parts by itself.

        Args:
            kept: Numbers of the dimensions that are kept.
            parts: How many parts the vector has: heads, one after the other.
        """
        covariance = self.covariance(parts)
        own = covariance[kept][:, kept]
        # The fewer tokens there are for each unknown, the less they are believed.
        own.diagonal().add_(len(kept) / parts / self.count * own.diagonal().mean() + 1e-12)
        matrix = torch.linalg.solve(own, covariance[kept]).T
        matrix[kept] = torch.eye(len(kept), dtype=matrix.dtype)
        return Fold(matrix.float(), (self.mean - matrix @ self.mean[kept]).float())


class PartCall(NamedTuple):
    """What a part of a model was called with, and which of the tokens are real."""

    is_real: Tensor
    arguments: tuple[Any, ...]
    options: dict[str, Any]


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside the block sums have one order, however many threads there are outside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Watch:
    """Moments of what linear maps read, and of what others give, over real tokens; see `watching`."""

    def __init__(self, model: PreTrainedModel, reads: Sequence[str], gives: Sequence[str], has_covariance: bool) -> None:
        self.model = model
        self.read, self.given = ({name: Moments(has_covariance) for name in names} for names in (reads, gives))
        self.is_real = torch.empty(0)

    def see(self, name: str, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if name in self.read:
            self.read[name].add(inputs[0][self.is_real])
        if name in self.given:
            self.given[name].add(output[self.is_real])

    def read_text(self, text: SampleText, parts: Sequence[str]) -> dict[str, list[PartCall]]:
        """Lets the model read some text; gives what some of its parts were called with."""
        calls: dict[str, list[PartCall]] = {name: [] for name in parts}

        def keep(name: str, _: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
            calls[name].append(PartCall(self.is_real, arguments, options))

        handles = [
            self.model.base_model.get_submodule(name).register_forward_pre_hook(partial(keep, name), with_kwargs=True)
            for name in parts
        ]
        try:
            for inputs in text():
                moved = inputs.changed(lambda tensor: tensor.to(self.model.device))
                self.is_real, arguments = moved.mask.bool(), moved.arguments()
                self.model.base_model(**{name: arguments[name] for name in input_names(self.model)})
        finally:
            for handle in handles:
                handle.remove()
        return calls

    def again(self, part: str, calls: Sequence[PartCall]) -> None:
        """Lets a part of the model alone do once more what it has done."""
        for self.is_real, arguments, options in calls:
            self.model.base_model.get_submodule(part)(*arguments, **options)


@contextmanager
def watching(
    model: PreTrainedModel, reads: Sequence[str], gives: Sequence[str], *, has_covariance: bool = False
) -> Iterator[Watch]:
    """Inside the block moments are collected while the model runs.

    Args:
        model: Whose linear maps these are.
        reads: Names of those whose inputs are looked at.
        gives: Names of those whose outputs are.
        has_covariance: Whether of products, too.
    """
    watch = Watch(model, reads, gives, has_covariance)
    names = dict.fromkeys((*reads, *gives))
    handles = [model.base_model.get_submodule(name).register_forward_hook(partial(watch.see, name)) for name in names]
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()
