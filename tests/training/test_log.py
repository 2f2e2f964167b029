"""log.jsonl after a kill or damage: what no run wrote goes, and what will be written again."""

import pytest

from stillhouse.training.log import RunLog


def write_log(path):
    log = RunLog(path)
    for stage, steps in (("teacher", 3), ("distil", 4)):
        for step in range(1, steps + 1):
            log.write(stage, step, objectives={"kl": 0.5}, loss=0.5)
            log.write(stage, step, selection=0.5)
    return log, path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    "bad",
    [
        b'{"stage": "distil", "st\n',
        b"\xff\n",
        b"[]\n",
        b'{"stage": 1, "step": 1}\n',
        b'{"stage": "distil", "step": "1"}\n',
        b'{"stage": "distil", "step": 1, "objectives": 3}\n',
        b"[" * 3_000 + b"\n",
    ],
)
def test_bad_lines_are_left_out_and_said(tmp_path, bad):
    log, lines = write_log(tmp_path / "log.jsonl")
    (tmp_path / "log.jsonl").write_bytes(b"".join([*lines[:5], bad, *lines[5:]]))
    said = []
    log.mend(said.append)
    assert said == [f"  {tmp_path / 'log.jsonl'} is damaged: 1 of {len(lines) + 1} lines are left out"]
    assert (tmp_path / "log.jsonl").read_bytes() == b"".join(lines)


def test_half_a_line_at_the_end_goes_without_a_word(tmp_path):
    log, lines = write_log(tmp_path / "log.jsonl")
    (tmp_path / "log.jsonl").write_bytes(b"".join(lines) + b'{"stage": "dis')
    said = []
    log.mend(said.append)
    assert said == []
    assert (tmp_path / "log.jsonl").read_bytes() == b"".join(lines)


@pytest.mark.parametrize(
    ("stage", "step", "left"), [("distil", 2, 10), ("distil", 0, 6), ("teacher", 1, 10), ("baseline", 0, 14)]
)
def test_steps_that_will_be_taken_again_are_forgotten(tmp_path, stage, step, left):
    log, lines = write_log(tmp_path / "log.jsonl")
    log.forget(stage, step)
    kept = (tmp_path / "log.jsonl").read_bytes().splitlines(keepends=True)
    assert len(kept) == left
    assert [line for line in lines if line in kept] == kept


def test_no_log(tmp_path):
    for log in (RunLog(None), RunLog(tmp_path / "log.jsonl")):
        log.mend(pytest.fail)
        log.forget("distil", 0)
        log.sync()
