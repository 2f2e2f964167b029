"""What a run says while it works: progress bars on a terminal, plain lines where there is none, or nothing at all."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from typing import Any

OnProgress = Callable[[int, int, str], None]
"""Told step, steps and the name of what is going on."""

SECONDS_BETWEEN_LINES = 15.0


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def show(text: str, *, error: bool = False, end: str = "\n") -> None:
    """Prints text, at once. All that people read goes through here.

    What would act on a terminal (names in data may hold it) is spelt out as JSON spells it, so that JSON stays JSON.

    Args:
        text: Lines.
        error: To stderr.
        end: What follows.
    """
    print(_plain(text), end=end, flush=True, file=sys.stderr if error else sys.stdout)


def _plain(text: str) -> str:
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Console:
    """Lines and progress for people.

    Args:
        quiet: Say nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._is_silent = False
        self._warned: set[str] = set()
        self._terminal = not quiet and sys.stderr.isatty()
        self._bars: Any = None
        self._task: Any = None
        self._name = ""
        self._started = self._last_line = 0.0
        self._first_step = 0

    def only_progress(self) -> Console:
        """The same console without lines of text: what a run says of itself is too much where there are many."""
        other = Console(quiet=self._quiet)
        other._is_silent = True
        other._warned = self._warned
        return other

    def say(self, text: str = "") -> None:
        """One line, to stdout."""
        if not (self._quiet or self._is_silent):
            show(text)

    def warn(self, text: str) -> None:
        """A line that people have to know, where there are many runs too, but once, whatever the figures in it."""
        shape = re.sub(r"\d[\d.,]*", "", text)
        if not self._quiet and shape not in self._warned:
            self._warned.add(shape)
            show(text)

    def progress(self, step: int, steps: int, name: str) -> None:
        """Shows that `step` of `steps` are done; the last one ends the bar."""
        if self._quiet:
            return
        now = time.perf_counter()
        if name != self._name:
            self._name, self._started, self._last_line, self._first_step = name, now, now, step - 1
            if self._terminal:
                self._open(steps, name)
        if self._terminal:
            self._bars.update(self._task, completed=step)
        elif step == steps or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            left = (now - self._started) / max(1, step - self._first_step) * (steps - step)
            show(f"  {name}: {step} of {steps} steps" + (f", {left:.0f} s left" if step < steps else ""))
        if step == steps:
            self.close()

    def scoring(self, step: int, steps: int, name: str) -> None:
        """Like `progress`, for what mostly takes moments: without a terminal it is silent until a line's time is up."""
        is_last_of_silence = step == steps and not self._terminal and (name != self._name or self._last_line == self._started)
        if not is_last_of_silence:
            self.progress(step, steps, name)
        else:
            self.close()

    def _open(self, steps: int, name: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.close(keep_name=True)
        columns = (TextColumn("  {task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        from rich.console import Console as RichConsole

        self._bars = Progress(*columns, console=RichConsole(stderr=True))
        self._bars.start()
        self._task = self._bars.add_task(_plain(name), total=steps)

    def close(self, *, keep_name: bool = False) -> None:
        """Ends a bar that is being shown; also after an error, so that the message stands on a line of its own."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        if not keep_name:
            self._name = ""
