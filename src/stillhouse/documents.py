"""JSON and YAML from text: whatever is wrong with it becomes one message that names where the text comes from."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from typing import Any

import yaml

from stillhouse.errors import UserError, cut, shown

MAX_DEPTH = 100  # of lists and objects in each other: nothing that is meant goes so deep, and what walks them may recurse
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # how JSON spells one half of a surrogate pair


class DocumentError(UserError):
    """Text is not the JSON or YAML that it should be.

    Attributes:
        reason: Why, without the place.
        is_syntax: Whether it is no JSON or YAML at all; else it cannot be used.
    """

    def __init__(self, where: str, reason: str, *, language: str = "", expected: str = "", fix: str = "") -> None:
        self.reason, self.is_syntax = cut(reason), bool(language)
        said = f"is not {language}" if language else "cannot be used"
        super().__init__(f"{where} {said}: {self.reason}", expected=expected, fix=fix)


def read_json(
    text: str | bytes, source: str, *, line: int | None = None, expected: str = "JSON", fix: str = ""
) -> Any:  # what JSON holds
    """What JSON says.

    Args:
        text: The whole of it; bytes are UTF-8.
        source: Where it comes from, for messages.
        line: On which line of the source it stands, where every line has its own.
        expected: What would have been right.
        fix: What to do about it.

    Raises:
        DocumentError: It is no JSON, an object has a key twice, a whole number is too long for Python, it is nested too
            deep, or a key holds half of a surrogate pair, which no file takes.
    """
    where = source if line is None else f"{source}, line {line}"
    words = {"expected": expected, "fix": fix}
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        value = _DECODER.decode(text)
        _check(value, text)
    except json.JSONDecodeError as error:
        if line is None:
            raise DocumentError(f"{source}, line {error.lineno}", error.msg, language="JSON", **words) from None
        raise DocumentError(where, f"{error.msg} at character {error.pos + 1}", language="JSON", **words) from None
    except UnicodeDecodeError as error:
        raise DocumentError(where, _not_utf8(error), language="JSON", **words) from None
    except RecursionError:
        raise DocumentError(where, _TOO_DEEP, **words) from None
    except _Unusable as error:
        raise DocumentError(where, str(error), **words) from None
    except ValueError:  # the one that is left: Python's limit
        reason = f"a whole number has more than {sys.get_int_max_str_digits()} digits"
        raise DocumentError(where, reason, **words) from None
    return value


def read_yaml(text: str | bytes, source: str, *, expected: str = "", fix: str = "") -> Any:
    """What YAML says; no anchor is followed, and every key is text.

    Args:
        text: One document; bytes are UTF-8.
        source: Where it comes from, for messages.
        expected: What would have been right.
        fix: What to do about it.

    Raises:
        DocumentError: It is no YAML, a value cannot be built (`2020-13-45`), a key stands twice or is no text, there is an
            alias, it is nested too deep, or it holds half of a surrogate pair.
    """
    try:
        loader = _Loader(text if isinstance(text, str) else text.decode("utf-8"))
        try:
            node = loader.get_single_node()
            return None if node is None else loader.construct_document(_checked(node))
        finally:
            loader.dispose()
    except UnicodeDecodeError as error:
        raise DocumentError(source, _not_utf8(error), language="YAML", expected=expected, fix=fix) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = source if mark is None else f"{source}, line {mark.line + 1}"
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise DocumentError(where, reason, language="YAML", expected=expected, fix=fix) from None
    except RecursionError:
        raise DocumentError(source, _TOO_DEEP, expected=expected, fix=fix) from None
    except _Unusable as error:
        raise DocumentError(source, str(error), expected=expected, fix=fix) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # What the constructors of values do with text of the right form that means nothing: a 13th month, `!!int x`.
        reason = f"a value in it cannot be built: {' '.join(str(error).split()) or type(error).__name__}"
        raise DocumentError(source, reason, expected=expected, fix=fix) from None


_TOO_DEEP = f"it is nested more than {MAX_DEPTH} deep"


class _Unusable(Exception):
    """Says why a document that can be parsed is refused."""


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"it is not UTF-8 text: byte 0x{error.object[error.start]:02X} at {error.start:,}"


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Unusable(f"key {_first_repeated([name for name, _ in pairs])} stands twice in one object")
    return found


def _first_repeated(names: list[str]) -> str:
    return shown(next(name for name, times in Counter(names).items() if times > 1))


_DECODER = json.JSONDecoder(object_pairs_hook=_without_repeats)


def _check(value: Any, text: str) -> None:
    """Refuses depth and keys that break what comes after; values are looked at only where the text gives a reason to."""
    is_suspect = _HALF.search(text) is not None
    if not is_suspect and text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH):
        objects = [one for one in level if isinstance(one, dict)]
        if is_suspect:
            for name in (name for one in objects for name in one):
                _check_halves(name, "key")
        inside = [*(one.values() for one in objects), *(one for one in level if isinstance(one, list))]
        level = [below for one in inside for below in one if isinstance(below, dict | list)]
        if not level:
            return
    raise _Unusable(_TOO_DEEP)


def _check_halves(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Unusable(f"{what} {shown(text)} holds half of a surrogate pair") from None


class _Loader(yaml.SafeLoader):
    """Follows no alias: a few lines of them can mean gigabytes, or a list within itself."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise _Unusable(f"*{cut(event.anchor)} stands for what is written elsewhere: write it out")
        return super().compose_node(parent, index)


def _checked(root: yaml.Node) -> yaml.Node:
    """The same node, whose keys are text, each once, and which is not too deep."""
    level = [root]
    for _ in range(MAX_DEPTH):
        below: list[yaml.Node] = []
        for node in level:
            if isinstance(node, yaml.MappingNode):
                names = [_key(name) for name, _ in node.value]
                if len({*names}) < len(names):
                    raise _Unusable(f"key {_first_repeated(names)} stands twice, in the mapping at {_place(node)}")
                below += [value for _, value in node.value]
            elif isinstance(node, yaml.SequenceNode):
                below += node.value
            else:
                _check_halves(node.value, "text")
        level = below
        if not level:
            return root
    raise _Unusable(_TOO_DEEP)


def _key(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str":
        what = shown(node.value) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        raise _Unusable(f"the key {what}, in {_place(node)}, is no text: put it into quotes")
    _check_halves(node.value, "key")
    return str(node.value)


def _place(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"
