"""What a message calls a setting and what it advises: a comparison has several methods, whose runs share one folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_label: ContextVar[str] = ContextVar("label", default="")


@contextmanager
def in_comparison(label: str) -> Iterator[None]:
    """Within it, messages speak of a method as one of several.

    Args:
        label: What the comparison calls it.
    """
    token = _label.set(label)
    try:
        yield
    finally:
        _label.reset(token)


def setting(name: str) -> str:
    """How a method's setting is reached: `method.temperature`, or `methods.pkd.temperature`; without a name, the method."""
    method = f"methods.{_label.get()}" if _label.get() else "method"
    return f"{method}.{name}" if name else method


def another_method(name: str) -> str:
    """To use one that can do it: `--method logit`, or do without this one."""
    return f"leave {_label.get()} out of --methods" if _label.get() else f"--method {name}"


def anew() -> str:
    """How the same thing is done once more: the folder of a comparison holds more than the run that is spoken of."""
    return "another --out" if _label.get() else "--overwrite"


def another_folder(noun: str) -> str:
    """What to do about a folder that is in use: where it is a comparison's, deleting it is no advice."""
    return "choose another --out" + ("" if _label.get() else f", or --overwrite to delete that {noun}")
