"""CoNLL columns: `word ... tag` on a line, a blank line after each sentence, `-DOCSTART-` lines between documents.

Lines that begin with # and stand before a sentence are comments (`# id 7`, `# text = ...`), unless they are a word and its
tag, as `#tag O` is.
"""

from __future__ import annotations

import re
from collections import Counter

from stillhouse.data.readers.table import Table, split_lines
from stillhouse.errors import UserError

_TAG = r"(?:O|[BIESLUMW]-\S+)"
_TOKEN_LINE = re.compile(rf"\S+[ \t](?:.*[ \t])?{_TAG}[ \t]*")
_LAST_FIELD = re.compile(_TAG)
_BLANKS = re.compile(r"[ \t]+")
_LOOKED_AT = 20_000  # characters
_SHOWN = 80  # characters of a line in a message


def looks_like_conll(text: str) -> bool:
    """Whether the first lines end in tags: nine of ten, so that a bad tag is reported, not read as prose."""
    lines = [line for line in split_lines(text[:_LOOKED_AT]) if line.strip() and not line.startswith("-DOCSTART-")]
    if len(text) > _LOOKED_AT:
        lines = lines[:-1]  # cut in its middle
    lines = [line for line in lines if not line.startswith("#") or _TOKEN_LINE.fullmatch(line)]
    return bool(lines) and sum(bool(_TOKEN_LINE.fullmatch(line)) for line in lines) >= 0.9 * len(lines)


def parse_conll(text: str, source: str) -> Table:
    """Sentences as lists: the first field of each line is the word, the last one its tag.

    Raises:
        UserError: A line has one field, a comment stands inside of a sentence, or there are no sentences.
    """
    lines = [line.strip(" \t") for line in split_lines(text)]
    usual = _usual_fields(lines)
    sentences: list[list[str]] = []
    tags: list[list[str]] = []
    starts: list[int] = []
    comments = 0
    inside = False
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("-DOCSTART-"):
            inside = False
            continue
        fields = _BLANKS.split(line)
        if line.startswith("#") and not _is_token(fields, usual, inside=inside):
            if inside:
                raise UserError(
                    f"{source}, line {number} is a comment inside of a sentence: {line[:_SHOWN]!r}",
                    expected="comments before a sentence, and a blank line between two sentences",
                )
            comments += 1
            continue
        if len(fields) < 2:
            raise UserError(f"{source}, line {number} has one field: {line[:_SHOWN]!r}", expected="a word and, last, its tag")
        if not inside:
            inside = True
            sentences.append([])
            tags.append([])
            starts.append(number)
        sentences[-1].append(fields[0])
        tags[-1].append(fields[-1])
    if not sentences:
        raise UserError(f"{source} has no sentences", expected="lines of a word and its tag")
    notes = [f"{comments:,} comment lines, which begin with #, were left out"] if comments else []
    return Table({"words": sentences, "tags": tags}, source, starts, notes)


def _usual_fields(lines: list[str]) -> int:
    """How many fields most lines have that are surely no comments; 0 where there are none."""
    counts = Counter(len(_BLANKS.split(line)) for line in lines if line and not line.startswith(("#", "-DOCSTART-")))
    return counts.most_common(1)[0][0] if counts else 0


def _is_token(fields: list[str], usual: int, *, inside: bool) -> bool:
    """Whether a line that begins with # is a word and its tag.

    Inside of a sentence a tag or the usual number of fields says so. Before one both do, because a comment's last word may
    look like a tag (`# text = vitamin O`); and a hashtag needs one of them alone, so that a bad tag of it is reported.
    """
    if len(fields) < 2:
        return False
    signs = len(fields) == usual, bool(_LAST_FIELD.fullmatch(fields[-1]))
    return any(signs) if inside or len(fields[0]) > 1 else all(signs) or (not usual and signs[1])
