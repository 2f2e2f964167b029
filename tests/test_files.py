"""Files are whole or absent, also where the system refuses to write them."""

import contextlib
import errno
import os
import re
import resource
import shutil
import signal
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from stillhouse import UserError
from stillhouse.files import given_path, require_writable, sweep, temporary_beside, write_atomically, write_folder, write_text
from stillhouse.writers import is_writing, writer_mark
from tests.commands import distil, leave, refused


@contextlib.contextmanager
def largest_file(size: int):
    """No file may become larger: the system then refuses to write, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_space_for_the_first_file(here, capsys):
    with largest_file(100):
        message = refused(here, capsys, *distil("--out", "runs/new/run"))
    assert re.search(
        r"no space left while writing runs/new/run/run\.yaml.*fix: free some, or choose another", message, re.DOTALL
    )


def test_too_little_space_is_noticed_before_training(here, capsys, monkeypatch):
    disk = namedtuple("disk", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: disk(10**9, 10**9 - 300_000, 300_000))
        message = refused(here, capsys, *distil())
    assert re.search(r"no space left for run: 0 MiB are free.*expected: about 2 MiB.*fix: free some", message, re.DOTALL)


def test_a_disk_that_fills_up_loses_nothing(here, capsys):
    with largest_file(50_000):
        assert leave(*distil("--allow-weak-teacher")) == 2
    message = capsys.readouterr().err
    assert re.search(r"no space left while writing run/checkpoints/teacher/checkpoint\.pt", message)
    assert not list(here.rglob(".*.tmp"))
    assert leave(*distil("--allow-weak-teacher")) == 0


WRITERS = {
    "safetensors": lambda path: save_file({"a": torch.zeros(5000)}, path),
    "tokenizers": lambda path: Tokenizer(models.WordPiece({f"a{n}": n for n in range(5000)}, unk_token="a0")).save(str(path)),
    "python": lambda path: path.write_bytes(bytes(20_000)),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_says_that_there_is_no_space(tmp_path, writer):
    (tmp_path / "file").write_text("before")
    with largest_file(10_000), pytest.raises(UserError, match=r"no space left while writing .*file"):
        write_atomically(tmp_path / "file", WRITERS[writer])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "before"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space left while writing run"),
        (errno.EDQUOT, "no space left while writing run"),
        (errno.EACCES, "no permission to write run.*expected: a folder that can be written"),
        (errno.EROFS, "no permission to write run"),
        (errno.EIO, "run/run.yaml cannot be written: Input/output error"),
    ],
)
def test_what_the_system_refuses_at_the_output(here, capsys, monkeypatch, number, said):
    real = os.replace

    def refuse(source, target):
        if Path(target).name == "run.yaml":
            raise OSError(number, os.strerror(number))
        real(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    assert re.search(said, refused(here, capsys, *distil()), re.DOTALL)


def test_outputs_are_ordinary_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe' is no ordinary file"):
        require_writable(tmp_path / "pipe")
    (tmp_path / "real").write_text("before")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_text(tmp_path / "link", "after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "after"


def test_what_killed_writers_left_is_swept_when_they_are_long_gone(tmp_path):
    for name in (".old.1-a.tmp", ".new.1-b.tmp", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text("half of them")
    (tmp_path / ".old-file.1-c.tmp").write_text("half")
    for name in (".old.1-a.tmp", ".old-file.1-c.tmp", "mine"):
        os.utime(tmp_path / name, (0, 0))
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".new.1-b.tmp", "mine"]


def write_and_die(path: Path):
    """In a process of its own, which is killed while it writes."""
    write_folder(path, lambda _: os.kill(os.getpid(), signal.SIGKILL))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="a system that does not tell of its processes")
def test_what_a_writer_leaves_is_swept_as_soon_as_it_is_dead_and_not_before(tmp_path, server):
    process = server.Process(target=write_and_die, args=(tmp_path / "killed",))
    process.start()
    process.join(120)
    (left,) = tmp_path.iterdir()
    own = temporary_beside(tmp_path / "alive")  # for hours nothing is added to a folder whose files grow
    own.mkdir()
    process, machine, start = writer_mark().split("-")
    others = f".other.{process}-{'0' * len(machine)}-{start}-a.tmp", f".reused.{process}-{machine}-{int(start, 16) - 1:x}-a.tmp"
    for name in others:
        (tmp_path / name).mkdir()
    os.utime(own, (0, 0))
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {own.name, others[0]}
    os.utime(tmp_path / others[0], (0, 0))  # of another machine the age tells
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [own.name]
    assert left.name.startswith(".killed.")
    assert is_writing("1") is None


def loop(path: Path) -> str:
    path.symlink_to(path)
    return str(path)


def pipe(path: Path) -> str:
    os.mkfifo(path)
    return str(path)


# By what is wrong with it: what is given, of a place where nothing is, and what is said.
PATHS = {
    "loop": (loop, "cannot be read: Too many levels of symbolic links"),
    "pipe": (pipe, "is no ordinary file"),
    "device": (lambda path: "/dev/zero", "is no ordinary file"),
    "nul": (lambda path: f"{path}\0.csv", "can be no path: it holds a NUL character"),
    "bytes": (lambda path: f"{path}\udcff.csv", "is not UTF-8"),
    "long": (lambda path: f"{path}{'x' * 300}", "cannot be read: File name too long"),
    "longer": (lambda path: "x/" * 5_000, "cannot be read: File name too long"),
    "nobody": (lambda path: "~stillhouse-has-no-such-user/x", "begins with an unknown user"),
}


@pytest.mark.parametrize("fault", PATHS)
def test_paths_that_can_be_none(tmp_path, fault):
    make, said = PATHS[fault]
    given = make(tmp_path / "place")
    with pytest.raises(UserError, match=f"--data .*{said}") as caught:
        given_path(given, "--data")
    assert len(str(caught.value)) < 500


def test_paths_that_are_given(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "é.csv").write_text("a")
    (tmp_path / "link").symlink_to(tmp_path / "é.csv")
    assert given_path("~/é.csv", "--data").read_text() == given_path(tmp_path / "link", "--data").read_text()
    for name in ("~/nothing/there", "~/é.csv/below", "hub:owner/name:config"):
        assert not given_path(name, "--data").exists()


@pytest.mark.parametrize("option", ["--data", "--transfer", "--teacher", "--student", "--out", "--store", "--config"])
@pytest.mark.parametrize("fault", ["pipe", "loop", "nobody", "long", "bytes"])
def test_options_that_name_files(here, capsys, option, fault):
    given = PATHS[fault][0](here / "place")
    assert PATHS[fault][1] in refused(here, capsys, *distil(option, given))
    if option in ("--data", "--out", "--store", "--config", "--teacher"):
        assert PATHS[fault][1] in refused(here, capsys, "compare", *distil(option, given)[1:9], option, given)


@pytest.mark.parametrize("fault", ["pipe", "nobody", "long"])
def test_other_commands_that_name_files(here, capsys, monkeypatch, fault):
    given, said = PATHS[fault][0](here / "place"), PATHS[fault][1]
    for command in (
        ["predict", given, "--text", "a"],
        ["predict", "headed", "--data", given],
        ["predict", "headed", "--text", "a", "--out", given],
        ["evaluate", "headed", "--data", given],
        ["evaluate", "headed", "--data", "data.csv", "--out", given],
        ["evaluate", given, "--data", "data.csv"],
        ["report", given],
        ["store", "ls", "--store", given],
    ):
        assert said in refused(here, capsys, *command), command
    monkeypatch.setenv("STILLHOUSE_CACHE", given)
    assert said in refused(here, capsys, "store", "ls")


def test_a_run_folder_in_the_home(here, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(here / "home"))
    assert leave(*distil("--out", "~/runs/a", "--allow-weak-teacher")) == 0
    assert (here / "home" / "runs" / "a" / "metrics.json").is_file()
    assert not (here / "~").exists()


def test_a_folder_that_another_process_has_written_meanwhile_stays(tmp_path):
    def write(folder):
        (folder / "a").write_text("mine")
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept" / "a").write_text("theirs")

    write_folder(tmp_path / "kept", write, replaces=False)
    assert (tmp_path / "kept" / "a").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [tmp_path / "kept"]
