"""A model with its tokenizer and its name: what a run works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Model:
    """An encoder with a head, its tokenizer, and what reports call it.

    Attributes:
        start: Where its weights come from, in words.
        is_fresh: Whether none of them come from anywhere.
        view: Key of the tokens that it reads, in texts and batches: models of one tokenizer have the same.
        notes: What people have to know of a model that was there already.
    """

    name: str
    encoder: Any
    tokenizer: Any
    start: str = ""
    is_fresh: bool = False
    view: int = 0
    notes: tuple[str, ...] = ()
