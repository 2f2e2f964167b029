"""Commands in processes of their own, which a test may kill; the fixture `start` starts them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

LIMIT = 600  # seconds; only a process that hangs takes so long
SMALL_TABLE = 2  # rows


def run_command(arguments: list[str], cache: str, output: str) -> None:
    """What each process does: the command, with small tables as in the tests' own process."""
    from stillhouse.cli.main import main
    from stillhouse.speed import embedding

    embedding.LEAST_ROWS = SMALL_TABLE
    os.environ["STILLHOUSE_CACHE"] = cache
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    main(arguments)


def finish(process: Any, output: Path) -> None:
    """Waits for a command that ends as it should."""
    process.join(LIMIT)
    assert process.exitcode == 0, output.read_text()
    assert "Traceback" not in output.read_text()
