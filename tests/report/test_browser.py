"""The page in a browser without a screen: nothing is complained about, and nothing is asked of any other place."""

import json
import re
import shutil
import subprocess

import pytest

from stillhouse.report import write_report

NAMES = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
QUIET = "--no-first-run --disable-background-networking --disable-component-update --disable-domain-reliability --disable-sync"

pytestmark = [
    pytest.mark.extra,
    pytest.mark.skipif(BROWSER is None, reason=f"no Chromium: none of {', '.join(NAMES)} is installed"),
]


def shown(page, folder):
    """The document as the browser has it in the end, what it wrote to its console, and what it asked of a network."""
    log = folder / "network.json"
    options = [*QUIET.split(), f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--enable-logging=stderr"]
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", *options, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    # What the page asks for has an origin; what the browser does of its own (the time, updates) has none.
    requests = log.read_text(encoding="utf-8", errors="replace").splitlines()
    requests = [line for line in requests if '"initiator":' in line and '"initiator":"not an origin"' not in line]
    asked = [url for line in requests for url in re.findall(r'"url":"((?:https?|wss?|ftp)://[^"]*)"', line)]
    return done.stdout, console, asked


@pytest.mark.parametrize("task", ["classification", "qa"])
def test_the_report_of_a_run(make_run, tmp_path, task):
    page = write_report(make_run(task))
    document, console, asked = shown(page, tmp_path)
    assert "Size and speed" in document
    assert document.count("<svg") == page.read_text(encoding="utf-8").count("<svg") > 0
    assert console == []
    assert asked == []


def test_a_page_that_complains_and_asks_is_noticed(tmp_path):
    page = tmp_path / "page.html"
    picture = json.dumps("http://127.0.0.1:9/picture.png")
    page.write_text(f"<html><body><img src={picture}><script>console.error('a complaint')</script></body></html>")
    document, console, asked = shown(page, tmp_path)
    assert "<img" in document
    assert any("a complaint" in line for line in console)
    assert any(url.endswith("/picture.png") for url in asked)
