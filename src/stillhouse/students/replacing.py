"""BERT-of-Theseus: teacher blocks and the layers that replace them, in one forward pass.

The predecessor's N layers are M modules of N/M layers each; the successor has one layer a module. While training, every
module draws a gate r with probability p: y -> r successor(y) + (1 - r) predecessor(y). In eval mode, and when the stage is
over, the successor runs alone.

Reference: Xu et al., 2020 (arXiv:2002.02925v4), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stillhouse.config import Fraction, NonNegativeFloat, PositiveInt
from stillhouse.data.batch import Batch
from stillhouse.data.seeds import GATES
from stillhouse.data.text import Rows, Step
from stillhouse.features import Features, Needs
from stillhouse.models.adapter import layer_stack
from stillhouse.students.side import StageSide, StudentSide

Schedule = Literal["constant", "curriculum", "decreasing"]


def replacing_rate(step: int, *, schedule: Schedule, base: float, slope: float, constant_steps: int | None = None) -> float:
    """The probability p that a module is the successor's, at a step.

    Args:
        step: Optimiser steps taken so far.
        schedule: `constant`: `base` for the first `constant_steps` steps (None = all), then 1. `curriculum`:
            `min(1, slope * step + base)`. `decreasing`, the paper's counter-check: `max(base, 1 - slope * step)`.
        base: p of the first step, 0..1; of a decreasing schedule its last value.
        slope: Change of p with each step, >= 0.
        constant_steps: See `schedule`.
    """
    if schedule == "curriculum":
        return min(1.0, slope * step + base)
    if schedule == "decreasing":
        return max(base, 1.0 - slope * step)
    return base if constant_steps is None or step < constant_steps else 1.0


class Replacing(StageSide):
    """The successor with its predecessor beside it.

    Attributes:
        schedule: See `replacing_rate`.
        base: See `replacing_rate`.
        slope: See `replacing_rate`; None = p reaches its other end half way through the stage.
        constant_steps: See `replacing_rate`.
        per_example: One gate for each example and module instead of one for each module and step: both branches run.
        predecessor_dropout: Whether the predecessor's dropout is active in training.
        official: As the authors' code does: a layer that was drawn before and is not now moves on its optimiser's momentum,
            and the norm by which gradients are clipped counts those of predecessor, embeddings and head, which rest.
    """

    schedule: Schedule = "curriculum"
    base: Fraction = 0.3
    slope: NonNegativeFloat | None = None
    constant_steps: PositiveInt | None = None
    per_example: bool = False
    predecessor_dropout: bool = True
    official: bool = False

    def build(self, encoder: nn.Module, teacher: nn.Module | None, needs: Needs) -> StudentSide:
        assert isinstance(encoder, PreTrainedModel)
        assert isinstance(teacher, PreTrainedModel)
        return ReplacingSide(encoder, teacher, needs, self)


class ReplacingSide(StudentSide):
    """See the head of this file.

    A gate depends on the step's seed and number and on the module alone, so that it is the same in every process and after a
    resume. Where no successor was drawn, the step trains nothing.

    Args:
        encoder: The successor: a plain model of M layers. Its layers' forward is replaced until `release`.
        predecessor: The task's teacher, N layers; it gets no gradient and belongs to no state that is saved.
        needs: What the stage reads.
        spec: Rate and granularity.
    """

    may_rest: ClassVar[bool] = True

    def __init__(self, encoder: PreTrainedModel, predecessor: PreTrainedModel, needs: Needs, spec: Replacing) -> None:
        super().__init__(encoder, needs)
        successors, layers = layer_stack(encoder), layer_stack(predecessor)
        size = len(layers) // len(successors)
        assert size * len(successors) == len(layers)
        # In lists that are no modules: what is in them is neither trained, saved, nor counted.
        self._modules_replaced = [list(layers)[index * size : (index + 1) * size] for index in range(len(successors))]
        self.models.append(predecessor)
        predecessor.requires_grad_(False)
        if spec.official:
            trained = {id(parameter) for parameter in successors.parameters()}
            self.measured = [parameter for parameter in encoder.parameters() if id(parameter) not in trained]
            self.measured += [parameter for layer in layers for parameter in layer.parameters()]
        self._spec = spec
        self._rate = spec.base
        self._gates = np.ones((1, len(successors)), dtype=bool)
        self._rows: Rows = np.zeros(1, dtype=np.int64)
        self._drawn = np.zeros(len(successors), dtype=bool)
        self._successors = list(successors)
        self._gates_of_batch: Tensor | None = None
        for index, layer in enumerate(self._successors):
            layer.forward = self._gated(index, layer.forward)

    def before_step(self, step: Step) -> None:
        spec = self._spec
        slope = spec.slope if spec.slope is not None else (1 - spec.base) / max(1, step.of // 2)
        self._rate = replacing_rate(
            step.number, schedule=spec.schedule, base=spec.base, slope=slope, constant_steps=spec.constant_steps
        )
        draws = (len(step.rows) if spec.per_example else 1, len(self._successors))
        self._gates = step.random(GATES).random(draws) < self._rate
        self._rows = step.rows
        if spec.official:
            self._drawn |= self._gates.any(axis=0)
            for layer in compress(self._successors, self._drawn):
                for parameter in layer.parameters():
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
            for parameter in self.measured:
                parameter.grad = None

    def try_out(self, batch: Batch) -> None:
        self._rows = batch.rows.numpy()
        self.train()
        for is_successor in (True, False):
            self._gates = np.full((len(batch.rows) if self._spec.per_example else 1, len(self._successors)), is_successor)
            self(batch)

    def values(self) -> dict[str, float]:
        return {"replacing_rate": self._rate}

    def get_extra_state(self) -> Tensor:
        """Which layers have been drawn yet: only those have a momentum."""
        return torch.from_numpy(self._drawn.copy())

    def set_extra_state(self, state: Tensor) -> None:
        """Takes up what `get_extra_state` gave."""
        self._drawn = state.cpu().numpy().copy()

    def forward(self, batch: Batch) -> Features:
        if self._spec.per_example:
            order = np.argsort(self._rows)
            places = order[np.searchsorted(self._rows[order], batch.rows.numpy())]
            device = next(self.encoder.parameters()).device
            self._gates_of_batch = torch.from_numpy(self._gates[places]).to(device, non_blocking=True)
        return super().forward(batch)

    def train(self, mode: bool = True) -> ReplacingSide:
        super().train(mode)
        for layers in self._modules_replaced:
            for layer in layers:
                layer.train(mode and self._spec.predecessor_dropout)
        return self

    def release(self) -> None:
        for layer in self._successors:
            layer.__dict__.pop("forward", None)
        for parameter in self.measured:
            parameter.requires_grad_(False)
            parameter.grad = None

    def _gated(self, index: int, successor: Callable[..., Tensor]) -> Callable[..., Tensor]:
        predecessors: Sequence[nn.Module] = self._modules_replaced[index]

        def replaced(hidden: Tensor, *rest: Any, **options: Any) -> Tensor:
            for layer in predecessors:
                hidden = layer(hidden, *rest, **options)
            return hidden

        def forward(hidden_states: Tensor, *rest: Any, **options: Any) -> Tensor:
            if not self.encoder.training or self._gates[:, index].all():
                return successor(hidden_states, *rest, **options)
            if not self._spec.per_example:
                return replaced(hidden_states, *rest, **options)
            assert self._gates_of_batch is not None
            ours = successor(hidden_states, *rest, **options)
            gate = self._gates_of_batch[:, index][:, None, None]
            return torch.where(gate, ours, replaced(hidden_states, *rest, **options))

        return forward
