"""How long an input may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stillhouse.errors import UserError
from stillhouse.models.architecture import positions
from stillhouse.task import Kind


def max_length(asked: int | None, kind: Kind, models: Sequence[tuple[Any, Any]]) -> int:
    """The longest input in tokens: as asked for, else the default, never beyond what a model has positions for.

    The first of two texts may take half of it, so that a pair needs twice the room of a text.

    Args:
        asked: What the user wants; None = the default.
        kind: Of the task, which has a default of its own.
        models: Their configurations of transformers, each with its tokenizer.

    Raises:
        UserError: More was asked for than a model has positions for, or no more than special tokens take up.
    """
    limit = min(position_limit(config, tokenizer) for config, tokenizer in models)
    if asked is not None and asked > limit:
        raise UserError(
            f"--max-length {asked} is more than the model has positions for",
            expected=f"at most {limit}",
            fix=f"--max-length {limit}",
        )
    special = max(tokenizer.num_special_tokens_to_add(pair=kind.needs_pair) for _, tokenizer in models)
    least, length = (1 + kind.needs_pair) * (special + 1), min(limit, kind.max_length) if asked is None else asked
    if length < least:
        raise UserError(
            f"--max-length {length} leaves no room for text beside the model's {special} special tokens",
            expected=f"at least {least}",
        )
    return length


def position_limit(config: Any, tokenizer: Any) -> int:
    """How many tokens a model can read at most; where its positions have no end, as many as it was trained on."""
    room = positions(config) or int(getattr(config, "max_position_embeddings", None) or 512)
    return int(min(room, tokenizer.model_max_length))
