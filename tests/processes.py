"""Commands in processes of their own, which a test may kill; the fixtures `start` and `start_ranks` start them."""

from __future__ import annotations

import gc
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIMIT = 600  # seconds; only a process that hangs takes so long
SMALL_TABLE = 2  # rows
FEW_RESAMPLES = 200


def measure_little(patch: Any) -> None:
    """One pass for the latency, few resamples for an interval: half of a small run's time would go into them.

    Args:
        patch: A `pytest.MonkeyPatch`, or in a process of a test's own `PLAIN`.
    """
    from stillhouse.evaluation import intervals
    from stillhouse.measure.latency import measure_latency

    real = intervals._Kinds.resample
    patch.setitem(measure_latency.__kwdefaults__, "repeats", 1)
    patch.setitem(measure_latency.__kwdefaults__, "warmup", 0)
    patch.setattr(
        intervals._Kinds, "resample", lambda self, resamples, random: real(self, min(resamples, FEW_RESAMPLES), random)
    )


class _Plain:
    """Patches what nobody sets back."""

    setattr = staticmethod(setattr)

    def setitem(self, mapping: Any, name: str, value: Any) -> None:
        mapping[name] = value


PLAIN = _Plain()


def run_command(arguments: list[str], cache: str, output: str, environment: dict[str, str]) -> None:
    """What each process does: the command, with small tables and little to measure as in the tests' own process.

    Args:
        arguments: The command.
        cache: Where it keeps what it keeps.
        output: File for what it says.
        environment: Variables of its own.
    """
    from stillhouse.cli.main import main
    from stillhouse.speed import embedding

    gc.freeze()  # what is imported stays, see conftest
    embedding.LEAST_ROWS = SMALL_TABLE
    measure_little(PLAIN)
    os.environ.update(environment, STILLHOUSE_CACHE=cache)
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    main(arguments)


def rank_environments(processes: int) -> list[dict[str, str]]:
    """What `torch.distributed.run` gives each of its processes on one machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        {name: str(value) for name, value in {**common, "RANK": rank, "LOCAL_RANK": rank}.items()}
        | {"ACCELERATE_USE_CPU": "true"}
        for rank in range(processes)
    ]


def finish(process: Any, output: Path) -> str:
    """Waits for a command that ends as it should; gives what it said."""
    process.join(LIMIT)
    said = output.read_text()
    assert process.exitcode == 0, said
    assert "Traceback" not in said
    return said


def kill_when(happened: Callable[[], bool], *started: tuple[Any, Path]) -> None:
    """Kills commands that are under way, once something has happened."""
    deadline = time.monotonic() + LIMIT
    while not happened():
        assert all(process.is_alive() for process, _ in started), [output.read_text() for _, output in started]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    for process, _ in started:
        process.kill()
    for process, _ in started:
        process.join(LIMIT)
