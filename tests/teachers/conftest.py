"""Small shards, and a count of what is computed."""

import pytest
from tests.teachers.toy_store import make_shards_small

from stillhouse.teachers import fill


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of a few rows each."""
    make_shards_small(monkeypatch)


@pytest.fixture
def passes(monkeypatch):
    """Rows that went through the model to be kept."""
    counted = []
    compute = fill.compute_features

    def noted(encoder, inputs, needs):
        counted.append(len(inputs["input_ids"]))
        return compute(encoder, inputs, needs)

    monkeypatch.setattr(fill, "compute_features", noted)
    return counted
