"""Attention maps block by block: objectives that compare maps never hold more of them than a block at a time."""

from __future__ import annotations

from collections.abc import Iterator

# Entries of the maps that are worked on at once: what a processor's cache holds, and what keeps a GPU busy.
BLOCK_ENTRIES, BLOCK_ENTRIES_GPU = 2**18, 2**26

Block = tuple[slice, slice]


def blocks(examples: int, heads: int, tokens: int, *, on_cpu: bool) -> Iterator[Block]:
    """Slices of examples and heads whose maps together have about as many entries as are worked on at once."""
    entries = BLOCK_ENTRIES if on_cpu else BLOCK_ENTRIES_GPU
    head_step = max(1, min(heads, entries // tokens**2))
    example_step = max(1, entries // (tokens**2 * head_step)) if head_step == heads else 1
    for example in range(0, examples, example_step):
        for head in range(0, heads, head_step):
            yield slice(example, example + example_step), slice(head, head + head_step)
