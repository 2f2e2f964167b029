"""Data and a teacher for small comparisons."""

import pytest
from tests import toy_data
from tests.tiny_models import make_tiny_checkpoint


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    toy_data.classification(folder / "data.csv", rows=160, unlabelled=48)
    make_tiny_checkpoint(folder / "bert", "bert")
    return folder
