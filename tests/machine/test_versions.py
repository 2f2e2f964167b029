"""Which versions are supported; a newer transformers than the newest tested one is said, once, and stops nothing."""

import re
import tomllib
from pathlib import Path

import pytest
from tests.commands import distil, leave

from stillhouse.machine import versions
from stillhouse.machine.versions import NEWEST_TRANSFORMERS, untested_transformers

ROOT = Path(__file__).parents[2]


def pinned(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def test_the_newest_tested_version_is_the_pinned_one():
    assert pinned("constraints.txt")["transformers"] == NEWEST_TRANSFORMERS


@pytest.mark.parametrize("package", ["transformers", "datasets"])
def test_the_oldest_supported_versions_are_those_that_are_tested(package):
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    (floor,) = (line.partition(">=")[2] for line in dependencies if line.startswith(f"{package}>="))
    newest = pinned("constraints.txt")[package]
    assert floor == pinned("constraints-oldest.txt")[package]
    said = re.sub(r"\s+", " ", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert f"{package} at {newest}" in said if floor == newest else f"{package} from {floor} to {newest}" in said


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
