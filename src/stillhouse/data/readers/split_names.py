"""Which split a name says: that of a file, a folder, a split of the hub, or a key in JSON."""

from __future__ import annotations

import re

_SPLITS = {"train": "train", "test": "test", "dev": "validation", "valid": "validation", "validation": "validation"}
_SPLITS["val"] = "validation"
_SPLIT_WORD = re.compile(rf"(?<![a-z])({'|'.join(sorted(_SPLITS, key=len, reverse=True))})(?![a-z])")


def split_of(name: str) -> str | None:
    """The split that a name says, with or without a prefix or suffix; None where it says none, or two.

    >>> split_of("lite_train"), split_of("dev_matched"), split_of("contest")
    ('train', 'validation', None)
    """
    said = {_SPLITS[word] for word in _SPLIT_WORD.findall(name.casefold())}
    return said.pop() if len(said) == 1 else None
