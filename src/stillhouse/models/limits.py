"""How long an input may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stillhouse.errors import UserError
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
    if asked is None:
        return min(limit, kind.max_length)
    if asked > limit:
        raise UserError(
            f"--max-length {asked} is more than the model has positions for",
            expected=f"at most {limit}",
            fix=f"--max-length {limit}",
        )
    special = max(tokenizer.num_special_tokens_to_add(pair=kind.needs_pair) for _, tokenizer in models)
    least = (1 + kind.needs_pair) * (special + 1)
    if asked < least:
        raise UserError(
            f"--max-length {asked} leaves no room for text beside the model's {special} special tokens",
            expected=f"at least {least}",
        )
    return asked


def position_limit(config: Any, tokenizer: Any) -> int:
    """How many tokens a model can read at most."""
    positions = int(getattr(config, "max_position_embeddings", None) or 512)
    if config.model_type in ("roberta", "xlm-roberta", "camembert"):
        positions -= config.pad_token_id + 1  # positions are counted from behind the padding id
    return min(positions, int(tokenizer.model_max_length))
