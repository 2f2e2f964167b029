"""What models are given of some rows: one padded view of them for each tokenizer, and what the rows ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.task import Task

IGNORED = -100


@dataclass(frozen=True)
class Inputs:
    """Rows in the tokens of one tokenizer, padded to the longest.

    Attributes:
        ids: Token ids.
        mask: 1 = real token.
        segments: Segment ids.
        words: Tagging: position of each word's first sub-word; 0 where there is none.
    """

    ids: Int[Tensor, "batch tokens"]
    mask: Int[Tensor, "batch tokens"]
    segments: Int[Tensor, "batch tokens"]
    words: Int[Tensor, "batch words"] | None = None

    def arguments(self) -> dict[str, Tensor]:
        """As models of transformers name them."""
        return {"input_ids": self.ids, "attention_mask": self.mask, "token_type_ids": self.segments}

    def changed(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The same with every tensor changed."""
        words = None if self.words is None else change(self.words)
        return Inputs(change(self.ids), change(self.mask), change(self.segments), words)


@dataclass(frozen=True)
class Batch:
    """What one forward pass of student and teacher is given, and what the objectives need beside the Features.

    Attributes:
        task: What is to be learnt from its labels; None of plain text.
        views: By tokenizer, under the key that a `Model` carries; models of one tokenizer read the same view. The first is
            that of the model that learns: the losses run in its tokens.
        labels: `(batch,)` class ids, `(batch, classes)` for multilabel, `(batch,)` floats for regression, `(batch, words)` tag
            ids, `(batch, 2)` start and end positions, or for masked text `(batch, tokens)`: the token that stood where a model
            has to find it; -100 or NaN where there is no label.
        has_label: Which rows have a gold label, `(batch,)`.
        positions: Which positions of the logits are real: `(batch, words)` for tagging, `(batch, tokens)` for question
            answering and masked text, `(batch,)`, all true, otherwise.
        rows: Numbers of the rows in their text, `(batch,)`; -1 for a row that is none of them; always on the CPU.
    """

    task: Task | None
    views: Mapping[int, Inputs]
    labels: Tensor
    has_label: Bool[Tensor, " batch"]
    positions: Bool[Tensor, ...]
    rows: Int[Tensor, " batch"]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def learner(self) -> Inputs:
        """The view of the model that learns."""
        return next(iter(self.views.values()))

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        if device.type == "cpu":
            return self
        # Row numbers look things up on the CPU: moving them would make the CPU wait for the device.
        return replace(self._changed(lambda tensor: tensor.to(device, non_blocking=True)), rows=self.rows)

    def select(self, where: NDArray[Any]) -> Batch:
        """Some of its rows, padded as they are."""
        index = torch.from_numpy(where)
        return self._changed(lambda tensor: tensor[index.to(tensor.device)])

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Batch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors: dict[str, Any] = {name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, views={key: view.changed(change) for key, view in self.views.items()}, **tensors)
