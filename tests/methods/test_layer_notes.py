"""A run says which layer learns from which, and where the depths do not divide."""

import numpy as np
import pytest
from tests import toy_data
from tests.tiny_models import make_tiny_checkpoint

from stillhouse.runs.defaults import with_defaults
from stillhouse.runs.options import config_from_options
from stillhouse.runs.prepare import prepare

ROUNDED = " (3 does not divide 4: halves are rounded up)"


@pytest.mark.parametrize(
    ("method", "student", "changes", "said"),
    [
        ("tinybert", "3x24", [], "layer 1 from 1, 2 from 3, 3 from 4 of the teacher" + ROUNDED),
        ("tinybert", "2x24", [], "layer 1 from 2, 2 from 4 of the teacher"),
        ("tinybert", "3x24", ["method.layer_map=top"], "layer 1 from 2, 2 from 3, 3 from 4 of the teacher"),
        ("tinybert", "3x24", ["method.layer_map=[1,2,4]"], "layer 1 from 1, 2 from 2, 3 from 4 of the teacher"),
        ("pkd", "3x24", [], "layer 1 from 1, 2 from 3 of the teacher" + ROUNDED),
        ("pkd", "3x24", ["method.layer_map=last"], "layer 1 from 2, 2 from 3 of the teacher"),
    ],
)
def test_which_layer_learns_from_which(tmp_path, method, student, changes, said):
    data = toy_data.classification(tmp_path / "data.csv", rows=40)
    teacher = make_tiny_checkpoint(tmp_path / "teacher", "bert")
    options = {"data": str(data), "teacher": str(teacher), "method": method, "student": student, "max_length": 32}
    prepared = prepare(with_defaults(config_from_options(options, changes=changes)))
    assert [note for note in prepared.model_notes if note.endswith(said)] != []


def test_rows_of_a_stage_whose_losses_count_padding_are_filled_up(tmp_path):
    data = toy_data.classification(tmp_path / "data.csv", rows=40)
    teacher = make_tiny_checkpoint(tmp_path / "teacher", "bert")
    options = {"data": str(data), "teacher": str(teacher), "method": "tinybert", "student": "2x24", "max_length": 32}
    prepared = prepare(with_defaults(config_from_options({**options, "compat": "official"})))
    intermediate, prediction = prepared.stages
    shapes = [prepared.rows_of(stage).batch(np.array([0])).learner.ids.shape for stage in (intermediate, prediction)]
    assert shapes[0] == (1, 32)
    assert shapes[1][1] < 32
