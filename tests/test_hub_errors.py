"""A hub that is switched off or out of reach is said at once, whatever was to come from it."""

import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.commands import distil, refused


@pytest.mark.parametrize("change", ["--data hub:owner/name", "--data sst2", "--teacher owner/name", "--student owner/name"])
def test_a_hub_that_is_switched_off(here, capsys, change):
    import datasets  # noqa: F401 - takes its time, which is not the hub's

    started = time.monotonic()
    message = refused(here, capsys, *distil(*change.split()))
    assert re.search("HF_HUB_OFFLINE.*fix: ", message, re.DOTALL)
    assert time.monotonic() - started < 10


@pytest.mark.long
def test_a_hub_that_cannot_be_reached_is_said_at_once(here):
    # Nothing listens on port 9: every connection is refused. The libraries read their settings when they are imported.
    script = """
        import time, datasets, stillhouse.runs.run
        from stillhouse.cli.main import main
        for change in ("--data", "hub:owner/name"), ("--data", "sst2"), ("--teacher", "owner/name"):
            started = time.monotonic()
            try:
                main(["distill", "--data", "data.csv", "--teacher", "bare", "--out", "run", *change])
            except SystemExit as left:
                print(left.code, time.monotonic() - started < 10)
        """
    hidden = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    env |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(here / "hub"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["2", "True"] * 3
    assert done.stderr.count("stillhouse: ") == 3
    assert done.stderr.count("cannot be reached") == 3
    assert done.stderr.count("fix: ") == 3
    assert "Traceback" not in done.stderr
    assert not Path("run").exists()
