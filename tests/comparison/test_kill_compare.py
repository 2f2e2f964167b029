"""A comparison that was killed goes on in the middle of a run, and ends as one that was never interrupted."""

import json

import pytest
from tests import toy_data
from tests.processes import finish, kill_when
from tests.records import timeless
from tests.tiny_models import make_tiny_checkpoint


def weights(out):
    return {path.relative_to(out): path.read_bytes() for path in sorted(out.glob("rows/*/*/student/model.safetensors"))}


@pytest.mark.long
def test_kill_minus_nine_while_theseus_replaces(tmp_path, start):
    data = toy_data.classification(tmp_path / "data.csv", rows=80, unlabelled=20)
    teacher = make_tiny_checkpoint(tmp_path / "bare", "bert", layers=2)

    def command(out):
        options = f"--data {data} --teacher {teacher} --students 1x24 --methods theseus --seeds 0,1 --grid 1e-3,3e-3"
        options += f" --max-length 32 --out {out} --batch-size 8 --epochs 1 --allow-weak-teacher"
        options += " --set methods.theseus.stages.replacing.epochs=3 --set methods.theseus.stages.replacing.batch_size=8"
        options += " --set teacher.finetune.epochs=2"
        options += " --set engine.log_every=1 --set engine.checkpoint_seconds=0"
        return ["compare", *options.split()]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(*start(command(whole), tmp_path / "cache"))
    process, output = start(command(killed), tmp_path / "other-cache")
    log = killed / "rows" / "theseus-1x24" / "rate0.003-seed0" / "log.jsonl"
    kill_when(lambda: log.exists() and log.read_text().count('{"stage": "replacing"') >= 15, (process, output))
    assert process.exitcode == -9
    assert (log.parent / "checkpoints" / "replacing" / "checkpoint.pt").exists()
    finished = {path: path.stat().st_mtime_ns for path in killed.glob("rows/*/*/metrics.json")}
    assert len(finished) == 1  # the first try

    finish(*start(command(killed), tmp_path / "other-cache"))
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())
    assert weights(killed) == weights(whole)
    assert len(weights(whole)) == 2 * 2
    # A run that is done again measures its latency anew.
    records = [json.loads((out / "comparison.json").read_text()) for out in (killed, whole)]
    assert timeless(records[0]) == timeless(records[1])
    assert not list(killed.rglob(".*.tmp"))
    assert not list(killed.rglob("checkpoints"))
