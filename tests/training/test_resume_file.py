"""A checkpoint is continued by the run that wrote it and by no other."""

import pytest
import torch

from stillhouse.errors import UserError
from stillhouse.training.resume import Progress, load_checkpoint, restore_random_state, save_checkpoint


def test_a_checkpoint_gives_back_what_was_saved(tmp_path):
    path, progress = tmp_path / "checkpoint.pt", Progress(step=3, best_score=0.5, best_step=2, examples=21)
    state = {"module": {"a": torch.arange(5)}, "optimizer": {"b": 7}}
    assert load_checkpoint(path, "one") is None
    save_checkpoint(path, progress, identity="one", **state)
    drawn = torch.rand(3)
    found, content = load_checkpoint(path, "one")
    assert found == progress
    assert torch.equal(content["module"]["a"], torch.arange(5))
    assert content["optimizer"] == {"b": 7}
    restore_random_state(content["random"])
    assert torch.equal(torch.rand(3), drawn)


def test_a_checkpoint_of_another_identity(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, Progress(), identity="one", module={}, optimizer={})
    with pytest.raises(UserError, match="belongs to other data, another teacher or another configuration"):
        load_checkpoint(path, "another")
