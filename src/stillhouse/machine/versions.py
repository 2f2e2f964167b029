"""Which transformers this version was tested with: what a newer one does is not known."""

from __future__ import annotations

import re
from importlib.metadata import version

NEWEST_TRANSFORMERS = "5.23.0"


def untested_transformers() -> str | None:
    """What to know where the installed transformers is newer than any that was tested; None where it is not."""
    installed = version("transformers")
    if _release(installed) <= _release(NEWEST_TRANSFORMERS):
        return None
    return (
        f"transformers {installed} is newer than {NEWEST_TRANSFORMERS}, the newest that Stillhouse is tested with: "
        f'if a run fails or looks wrong, try pip install "transformers=={NEWEST_TRANSFORMERS}"'
    )


def _release(name: str) -> tuple[int, ...]:
    """`5.24.0.dev0` -> (5, 24, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", name)[:3])
