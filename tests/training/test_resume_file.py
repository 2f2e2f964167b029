"""A checkpoint is continued by the run that wrote it and by no other."""

import pytest
import torch

from stillhouse.errors import UserError
from stillhouse.files import checksum_of
from stillhouse.training.resume import Progress, best_name, damage_of, load_checkpoint, restore_random_state, save_checkpoint


def test_a_checkpoint_gives_back_what_was_saved(tmp_path):
    path, progress = tmp_path / "checkpoint.pt", Progress(step=3, best_score=0.5, best_step=2, examples=21)
    state = {"module": {"a": torch.arange(5)}, "optimizer": {"b": 7}}
    assert load_checkpoint(path, "one", ["a"]) is None
    save_checkpoint(path, progress, identity="one", **state)
    drawn = torch.rand(3)
    found, content = load_checkpoint(path, "one", ["a"])
    assert found == progress
    assert torch.equal(content["module"]["a"], torch.arange(5))
    assert content["optimizer"] == {"b": 7}
    restore_random_state(content["random"])
    assert torch.equal(torch.rand(3), drawn)


def test_a_checkpoint_of_another_identity(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, Progress(), identity="one", module={}, optimizer={})
    with pytest.raises(UserError, match="belongs to other data, another teacher or another configuration"):
        load_checkpoint(path, "another", [])


def test_a_checkpoint_of_other_names(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, Progress(), identity="one", module={"a": torch.zeros(1)}, optimizer={})
    with pytest.raises(UserError, match="written by more or fewer processes"):
        load_checkpoint(path, "one", ["a", "b"])


@pytest.mark.parametrize("damage", [*range(0, 12_000, 97), "cut", "empty", "longer"])
def test_damage_of_a_checkpoint_is_found(tmp_path, damage):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, Progress(step=1), identity="one", module={"a": torch.rand(200)}, optimizer={"b": 7})
    assert damage_of(tmp_path) is None
    content = bytearray(path.read_bytes())
    if isinstance(damage, int):
        content[damage // 8 * 7 % len(content)] ^= 1 << damage % 8
    path.write_bytes({"cut": content[:-1], "empty": b"", "longer": content + b"x"}.get(damage, content))
    assert damage_of(tmp_path) == path


def test_damage_of_the_best_weights_is_found(tmp_path):
    best = tmp_path / best_name(2)
    best.write_bytes(b"weights")
    progress = Progress(step=3, best_step=2, best_checksum=checksum_of(best))
    save_checkpoint(tmp_path / "checkpoint.pt", progress, identity="one", module={}, optimizer={})
    assert damage_of(tmp_path) is None
    best.write_bytes(b"weighus")
    assert damage_of(tmp_path) == best
    best.unlink()
    assert damage_of(tmp_path) == best


def test_no_stage_has_no_damage(tmp_path):
    assert damage_of(tmp_path / "nothing") is None
