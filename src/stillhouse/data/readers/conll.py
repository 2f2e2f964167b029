"""CoNLL columns: `word ... tag` on a line, a blank line after each sentence, `-DOCSTART-` lines between documents."""

from __future__ import annotations

import re

from stillhouse.data.readers.table import Table, split_lines
from stillhouse.errors import UserError

_TOKEN_LINE = re.compile(r"\S+[ \t](?:.*[ \t])?(?:O|[BIES]-\S+)[ \t]*")
_BLANKS = re.compile(r"[ \t]+")
_LOOKED_AT = 20_000  # characters


def looks_like_conll(text: str) -> bool:
    """Whether the first lines end in tags: nine of ten, so that a bad tag is reported, not read as prose."""
    lines = [line for line in split_lines(text[:_LOOKED_AT]) if line.strip() and not line.startswith("-DOCSTART-")]
    if len(text) > _LOOKED_AT:
        lines = lines[:-1]  # cut in its middle
    return bool(lines) and sum(bool(_TOKEN_LINE.fullmatch(line)) for line in lines) >= 0.9 * len(lines)


def parse_conll(text: str, source: str) -> Table:
    """Sentences as lists: the first field of each line is the word, the last one its tag."""
    sentences: list[list[str]] = []
    tags: list[list[str]] = []
    starts: list[int] = []
    inside = False
    for number, line in enumerate(split_lines(text), 1):
        line = line.strip(" \t")
        if not line or line.startswith("-DOCSTART-"):
            inside = False
            continue
        fields = _BLANKS.split(line)
        if len(fields) < 2:
            raise UserError(f"{source}, line {number} has one field: {line!r}", expected="a word and, last, its tag")
        if not inside:
            inside = True
            sentences.append([])
            tags.append([])
            starts.append(number)
        sentences[-1].append(fields[0])
        tags[-1].append(fields[-1])
    if not sentences:
        raise UserError(f"{source} has no sentences", expected="lines of a word and its tag")
    return Table({"words": sentences, "tags": tags}, source, starts)
