"""Commands as they are typed, run in this process: what they leave with, what they say and what they leave behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillhouse.cli.main import main


def distil(*changes: str) -> list[str]:
    """A small run's command; of an option that is given twice the later value counts."""
    usual = "distill --data data.csv --teacher bare --student 1x24 --epochs 1 --max-length 32 --out run --precision fp32"
    return [*usual.split(), "--set", "teacher.finetune.epochs=1", *changes]


def leave(*arguments: str) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    return left.value.code


def refused(here: Path, capsys, *arguments: str) -> str:
    """The message of a command that is refused and leaves nothing behind."""
    before = set(here.rglob("*"))
    assert leave(*arguments) == 2
    assert set(here.rglob("*")) == before
    message = capsys.readouterr().err
    assert message.count("stillhouse: ") == 1
    assert message.startswith("stillhouse: ")
    assert "Traceback" not in message
    return message


def put(name: str, content: str | bytes) -> None:
    """Writes a file, with the folders above it."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
