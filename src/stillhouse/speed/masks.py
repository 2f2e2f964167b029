"""Random masks from whole random words: on a CPU one draw an entry is what much of dropout's time goes into."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

PIECES = 4  # entries from one 64-bit word
LEVELS = 2**16  # probabilities are rounded to one in so many


def keep_mask(shape: Sequence[int], drop_level: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    """0 with probability `drop_level / 2^16`, else 1, from torch's generator; below 2^16."""
    count = math.prod(shape)
    words = torch.empty(-(-count // PIECES), dtype=torch.int64).random_(-(2**63), None)
    # Not into bool, which torch fills one entry after the other.
    return torch.ge(words.view(torch.int16)[:count].view(shape), drop_level - LEVELS // 2, out=torch.empty(shape, dtype=dtype))
