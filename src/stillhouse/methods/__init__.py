"""The methods, each a file named after it with a recipe card of the same name; nothing else has to know that it is there."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from stillhouse.errors import unknown_name

if TYPE_CHECKING:
    from stillhouse.method import Method

_FOLDER = Path(__file__).parent


def method_names() -> list[str]:
    """Names of all methods, without importing any."""
    return sorted(file.stem for file in _FOLDER.glob("*.py") if file.stem != "__init__")


def general_methods() -> list[str]:
    """Names of the methods that learn from a corpus."""
    return [name for name in method_names() if load_method(name).general_stages]


def load_method(name: str) -> type[Method]:
    """The method class of that name.

    Raises:
        UserError: There is no such method; the message lists the valid ones.
    """
    from stillhouse.method import Method

    if name not in method_names():
        raise unknown_name("method", name, method_names())
    module = import_module(f"stillhouse.methods.{name}")
    classes = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Method)]
    return next(value for value in classes if value.__module__ == module.__name__)


def recipe_card(name: str) -> str:
    """The card of a method, in Markdown: paper, equations, defaults, departures, when to use it."""
    if name not in method_names():
        raise unknown_name("method", name, method_names())
    return (_FOLDER / f"{name}.md").read_text(encoding="utf-8")
