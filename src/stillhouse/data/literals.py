"""Lists and dictionaries that stand as text in cells, as in CSV files: parsed, and never evaluated.

They may be spelt as JSON, Python or numpy spell them: `["a", "b"]`, `['a', 'b']`, `['a' 'b']`,
`{'text': array(['a'], dtype=object)}`.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

from stillhouse.data.missing import MARKS
from stillhouse.data.readers.table import Table
from stillhouse.documents import DocumentError, read_json
from stillhouse.errors import UserError, shown

_SHARE = 0.9  # of the cells of a column of literals, so that a slip of the pen is reported
_BRACKETS = {"[": "]", "{": "}", "(": ")"}
_BROKEN = re.compile(r"[\[{(]['\"]|\[[^\[\]{}]*,[^\[\]{}]*\]$|\{[^\[\]{}]*,[^\[\]{}]*\}$")  # cut, or without quotes
_STRING = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_TOKEN = re.compile(rf"""{_STRING}|[\[\](){{}}:,=]|[^\s'"\[\](){{}}:,=]+""", re.DOTALL)
_NAMES = {"nan": None, "null": None, "true": True, "false": False}
_WRAPPERS = re.compile(r"(np\.|numpy\.)?(array|str_|bool_|u?int\d+|float\d+)|list|tuple|(frozen)?set")


def literal_values(table: Table, name: str) -> list[Any]:
    """The values of a column; where (nearly) all of its cells are lists or dictionaries as text, what these say.

    Raises:
        UserError: One of such cells cannot be parsed.
    """
    if name not in table.parsed:
        table.parsed[name] = _parsed(table, name)
    return table.parsed[name]


def check_no_lists(table: Table, name: str) -> None:
    """Refuses a column of names where cells are lists as text: single ones, or in no form that is understood."""
    values = literal_values(table, name)
    for value in dict.fromkeys(value for value in values if isinstance(value, str)):
        text = value.strip()
        is_list = text.startswith(tuple(_BRACKETS)) and parse_literal(text) is not None
        if is_list or _BROKEN.match(text):
            raise UserError(
                f"{table.where(values.index(value))}: the label {shown(value)} is a list as text, "
                + ("which other rows of the column are not" if is_list else "and cannot be read"),
                expected="names in all rows; or in all rows lists such as ['joy', 'anger'], as JSON or Python spell them",
                fix="write the column in one form",
            )


def parse_literal(text: str) -> list[Any] | dict[Any, Any] | None:
    """A list (tuple, set, array) or dictionary as text -> its value; None where the text is nothing of the kind."""
    try:
        value = read_json(text, "a cell")
    except DocumentError as error:
        if not error.is_syntax:  # it is JSON, but a key stands twice or it is nested too deep
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes that Python does not know
                value = _value(ast.parse(_with_commas(text), mode="eval").body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return value if isinstance(value, (list, dict)) else None


def looks_like_list(text: str) -> bool:
    """Whether a text begins and ends as a list (tuple, set) or dictionary of strings does."""
    text = text.strip()
    return len(text) > 2 and _BRACKETS.get(text[0]) == text[-1] and text[1] in "'\""


def _has_bracket(text: str) -> bool:
    return text.lstrip().startswith(tuple(_BRACKETS)) or text.strip() == "set()"


def _parsed(table: Table, name: str) -> list[Any]:
    values = table.column(name)
    texts = {row: value.strip() for row, value in enumerate(values) if isinstance(value, str)}
    texts = {row: text for row, text in texts.items() if text and text not in MARKS}
    lists = sum(isinstance(value, (list, dict)) for value in values)
    least = _SHARE * (len(texts) + lists)
    if not texts or sum(map(_has_bracket, texts.values())) + lists < least:
        return values
    by_text = {text: parse_literal(text) for text in set(texts.values())}
    unread = [row for row, text in texts.items() if by_text[text] is None]
    if len(unread) > len(texts) / 2:
        return values
    if unread:
        raise UserError(
            f"{table.where(unread[0])}: {shown(values[unread[0]])} in column {name!r} is no list or dictionary",
            expected="what the other rows hold, such as ['joy', 'anger'], [\"joy\", \"anger\"] or {'text': ['Paris']}, whole",
            fix="correct that row",
        )
    return [by_text[texts[row]] if row in texts else value for row, value in enumerate(values)]


def _with_commas(text: str) -> str:
    """The same with a comma in the place of numpy's spaces: Python would join two strings that only a space parts."""
    parts: list[str] = []
    depth, behind = 0, 0
    for token in _TOKEN.finditer(text):
        between = text[behind : token.start()]
        if between.strip():
            break
        behind = token.end()
        if depth and between and parts[-1] not in "[({:,=" and token[0] not in "])}:,=":
            parts.append(",")
        elif parts and parts[-1][-1] in "'\"" and token[0][0] in "'\"":
            break  # doubled quotes are no two strings
        parts.append(token[0])
        depth += (token[0] in "[({") - (token[0] in "])}")
    if text[behind:].strip():
        raise ValueError("no literal")
    return "".join(parts)


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value) if value is None or isinstance(value, (str, int, float)):
            return value
        case ast.List(items) | ast.Tuple(items) | ast.Set(items):
            return [_value(item) for item in items]
        case ast.Dict(keys, values):
            return _without_repeats([(_key(key), _value(value)) for key, value in zip(keys, values, strict=True)])
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as number)):
            return -number
        case ast.UnaryOp(ast.UAdd(), ast.Constant(int() | float() as number)):
            return number
        case ast.Name(name) if name in _NAMES:
            return _NAMES[name]
        case ast.Call(called, items) if _WRAPPERS.fullmatch(ast.unparse(called)) and len(items) < 2:
            return _value(items[0]) if items else []
    raise ValueError("no literal")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _key(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise ValueError("no key")
