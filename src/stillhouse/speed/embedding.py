"""Token embeddings of which only the rows that the training text has are trained, with gradients row by row.

A text of training has a part of a vocabulary, a step of it a few hundred rows. torch's own gradient of an embedding is a table
of zeros with a few rows in it, asked of the system, filled, normed and scaled at every step, and AdamW then reads and writes
four tables of that size: together much of a step on short texts. Here the rows that the text has stand in a table of their
own, the only one that has a gradient and an optimiser's state. That gradient stays from step to step, and only rows that a step
has read are added to, normed, scaled and set to zero again. Every other row gets what AdamW would give it but for rounding:
it is decayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LEAST_ROWS = 1000  # smaller tables are not worth the trouble


class RowEmbedding(nn.Embedding):
    """`nn.Embedding` that is trained in some of its rows.

    `weight` is no parameter until `end`, and stays as it was: neither an optimiser nor a checkpoint needs it.

    Attributes:
        trained: Those rows, `(trained, width)`.
        decay: What every other row has been multiplied by since `begin`.
        place: Of every row among those trained, -1 where it is none.
        table: The gradient of `trained`; zero but for the rows that the step has looked up.
    """

    trained: nn.Parameter
    decay: Tensor
    place: Tensor
    table: Tensor
    _looked_up: list[Tensor]

    def begin(self, rows: Tensor) -> None:
        """Trains `rows`, each named once, and nothing else."""
        place = torch.full((self.num_embeddings,), -1).index_copy_(0, rows, torch.arange(len(rows)))
        trained = nn.Parameter(self.weight.detach()[rows])
        table = torch.zeros_like(trained)
        self.__dict__["weight"] = self._parameters.pop("weight")
        self.__class__ = RowEmbedding
        self.register_parameter("trained", trained)
        self.register_buffer("decay", torch.ones((), dtype=torch.float64))
        self.place, self.table, self._looked_up = place, table, []

    def end(self) -> None:
        """An ordinary layer again."""
        rows = (self.place >= 0).nonzero()[:, 0]
        with torch.no_grad():
            self.weight.mul_(self.decay.item()).index_copy_(0, rows, self.trained[self.place[rows]])
        del self.trained, self.decay, self.place, self.table, self._looked_up
        self.__class__ = nn.Embedding  # type: ignore[assignment]
        self.register_parameter("weight", self.__dict__.pop("weight"))

    def forward(self, input: Tensor) -> Tensor:
        places = self.place[input]
        if torch.is_grad_enabled():  # of a text that was not announced there is no row to look up
            looked_up: Tensor = _LookedUp.apply(self.trained, places, self)  # type: ignore[no-untyped-call]
            return looked_up
        others = super().forward(input) * self.decay.to(self.weight.dtype)
        return torch.where((places >= 0)[..., None], nn.functional.embedding(places.clamp(min=0), self.trained), others)

    def add(self, places: Tensor, gradient: Tensor) -> None:
        """Adds the gradient of what was looked up, as the backward pass comes to it."""
        places, gradient = places.flatten(), gradient.reshape(-1, gradient.shape[-1])
        if self.padding_idx is not None:
            real = places != self.place[self.padding_idx]
            places, gradient = places[real], gradient[real]
        self.table.index_add_(0, places, gradient.to(self.table.dtype))
        self._looked_up.append(places)
        self.trained.grad = self.table

    def looked_up(self) -> Tensor:
        """The places that the step has looked up, each once."""
        places: Tensor = torch.unique(torch.cat([self.place[:0], *self._looked_up]))
        return places

    def finish_step(self, decay: float) -> None:
        """Decays the rows without a gradient as the optimiser has those with one, and sets the gradient to zero."""
        if self.trained.grad is not None:  # without one AdamW has done nothing
            self.decay *= decay
        for places in self._looked_up:
            self.table[places] = 0.0
        self._looked_up = []
        self.trained.grad = None


class _LookedUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, trained: Tensor, places: Tensor, layer: RowEmbedding) -> Tensor:
        ctx.save_for_backward(places)
        ctx.layer = layer
        return nn.functional.embedding(places, trained)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        (places,) = ctx.saved_tensors
        ctx.layer.add(places, gradient)
        return None, None, None


@contextmanager
def trained_rows(encoder: Any, tokens: Callable[[], NDArray[np.int64]], *, is_on: bool) -> Iterator[list[RowEmbedding]]:
    """Inside the block an encoder's token embeddings are trained in the rows of `tokens` alone.

    Its other tables are left alone: a model may read their weights directly, as DeBERTa does with its relative positions.

    Args:
        encoder: Of transformers.
        tokens: Gives all that it is going to be trained on; asked where the trick is worth it, for it may take a while.
        is_on: Off where the gradient has to be an ordinary one: where processes average it, and on other devices than the
            CPU, whose memory is not asked of the system.

    Yields:
        The layer, or none where it is not worth the trouble, or where its gradient comes from elsewhere, too.
    """
    layer = encoder.get_input_embeddings()
    if not (is_on and _is_worth_it(layer) and _is_read_nowhere_else(layer, encoder)):
        yield []
        return
    # A model may pad what it is given once more, with its own number.
    padding = (layer.padding_idx, getattr(getattr(encoder, "config", None), "pad_token_id", None))
    added = torch.tensor([row for row in padding if row is not None], dtype=torch.int64)
    rows = torch.unique(torch.cat((torch.from_numpy(tokens()), added)))
    RowEmbedding.begin(layer, rows)
    try:
        yield [layer]
    finally:
        layer.end()


def _is_worth_it(layer: Any) -> bool:
    if type(layer) is not nn.Embedding or layer.num_embeddings < LEAST_ROWS:
        return False
    return layer.weight.requires_grad and not layer.sparse and layer.max_norm is None and not layer.scale_grad_by_freq


def _is_read_nowhere_else(layer: nn.Embedding, encoder: nn.Module) -> bool:
    """Whether the weight is no other module's, too."""
    weights = (weight for part in encoder.modules() for weight in part._parameters.values())
    return sum(weight is layer.weight for weight in weights) == 1


def clip_gradients(parameters: Sequence[nn.Parameter], layers: Sequence[RowEmbedding], max_norm: float) -> Tensor:
    """Scales gradients so that their norm is at most `max_norm`.

    Args:
        parameters: All of them.
        layers: Those whose gradients are zero but for some rows.
        max_norm: Of all gradients together.

    Returns:
        The norm before.
    """
    layers = [layer for layer in layers if layer.trained.grad is layer.table]
    tables = {id(layer.trained) for layer in layers}
    others = [parameter for parameter in parameters if id(parameter) not in tables]
    places = [layer.looked_up() for layer in layers]
    parts = [layer.table[own] for layer, own in zip(layers, places, strict=True)]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in others if parameter.grad is not None] + parts)
    factor = max_norm / (norm + 1e-6)  # as torch clips
    if factor.device.type == "cpu" and factor >= 1:  # there reading it costs less than multiplying everything by one
        return norm
    factor = factor.clamp(max=1.0)
    nn.utils.clip_grads_with_norm_(others, max_norm, norm)
    for layer, own, part in zip(layers, places, parts, strict=True):
        layer.table[own] = part * factor
    return norm
