"""A newer transformers than the newest tested one is said, once, and stops nothing."""

from pathlib import Path

import pytest
from tests.commands import distil, leave

from stillhouse.machine import versions
from stillhouse.machine.versions import NEWEST_TRANSFORMERS, untested_transformers

PINNED = Path(__file__).parents[2] / "constraints.txt"


def test_the_newest_tested_version_is_the_pinned_one():
    assert f"transformers=={NEWEST_TRANSFORMERS}" in PINNED.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("installed", "is_said"),
    [
        (NEWEST_TRANSFORMERS, False),
        ("5.9.0", False),
        ("4.57.3", False),
        (f"{NEWEST_TRANSFORMERS}.post1", False),
        ("5.24.0.dev0", True),
        ("5.100.0", True),
        ("6.0.0rc1", True),
    ],
)
def test_what_is_newer(monkeypatch, installed, is_said):
    monkeypatch.setattr(versions, "version", lambda name: installed)
    said = untested_transformers()
    assert (said is not None) == is_said
    assert said is None or said.startswith(f"transformers {installed} is newer than {NEWEST_TRANSFORMERS}, ")


def test_a_run_says_it_once(here, capsys, monkeypatch):
    monkeypatch.setattr(versions, "NEWEST_TRANSFORMERS", "4.0.0")
    assert leave(*distil("--method", "finetune", "--allow-weak-teacher")) == 0
    assert capsys.readouterr().out.count("is newer than 4.0.0, the newest that Stillhouse is tested with") == 1
