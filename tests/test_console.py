"""What the console says: bars in a terminal, lines elsewhere, and nothing where it is told to be quiet."""

import io
import json
import sys
import time

from stillhouse.console import Console, show


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_bars_on_stderr(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console()
    for step in (1, 2, 3):
        console.progress(step, 3, "distil [red]\x9b")
    assert "distil [red]\\u009b" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_scoring_is_said_where_it_takes_long(monkeypatch, capsys):
    clock = iter([0.0, 100.0, 116.0, 117.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    console = Console()
    console.scoring(1, 1, "moments")
    for step in (1, 2):
        console.scoring(step, 2, "moments")
    assert capsys.readouterr().out == ""
    for step in (1, 2, 3):
        console.scoring(step, 3, "minutes")
    assert capsys.readouterr().out == "  minutes: 2 of 3 steps, 8 s left\n  minutes: 3 of 3 steps\n"


def test_what_people_have_to_know_is_said_once_where_there_are_many_runs(capsys):
    console, left = Console(), iter([3.1, 3, 2.9])
    for run in (console.only_progress(), console.only_progress(), console):
        run.say("the rows of this run")
        run.warn(f"there is room for {next(left)} GiB")
    assert capsys.readouterr().out == "there is room for 3.1 GiB\nthe rows of this run\n"


def test_a_quiet_console_says_nothing(monkeypatch, capsys):
    console = Console(quiet=True)
    console.say("a line")
    console.warn("the disk is full")
    console.progress(1, 1, "distil")
    console.close()
    assert capsys.readouterr() == ("", "")


def test_what_would_act_on_a_terminal_is_spelt_out(capsys):
    control = "\x1b[31m red \x9b2J \x00 \u202e right \r line\ttab\u2028 half \udcff"
    console = Console()
    console.say(f"column {control}")
    console.warn(control)
    console.progress(1, 1, control)
    show(control, error=True)
    printed = capsys.readouterr()
    for text in printed:
        assert text.count("\\u001b[31m red \\u009b2J \\u0000 \\u202e right \\u000d line\ttab\\u2028 half \\udcff") >= 1
        assert not set(text) & set("\x1b\x9b\x00\u202e\r\u2028\udcff")
    show(json.dumps({"label": "\x9b"}, ensure_ascii=False))
    assert json.loads(capsys.readouterr().out) == {"label": "\x9b"}
