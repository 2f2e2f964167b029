"""Table tests of the learning rate."""

import pytest

from stillhouse.config import StageConfig
from stillhouse.training.learning_rate import learning_rate_factor


@pytest.mark.parametrize(
    ("step", "factor"),
    # 20 steps, 10 % warm-up: two steps of a third each, then 1 at step 2 falling to 0 at step 20.
    [(0, 1 / 3), (1, 2 / 3), (2, 1.0), (11, 0.5), (19, 1 / 18), (20, 0.0)],
)
def test_linear_warm_up_and_decay(step, factor):
    assert learning_rate_factor(step, 20, StageConfig(warmup=0.1)) == pytest.approx(factor)


def test_constant_after_warm_up():
    config = StageConfig(warmup=0.5, decay="constant")
    assert [learning_rate_factor(step, 4, config) for step in range(4)] == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])


def test_no_warm_up_starts_at_the_peak():
    assert learning_rate_factor(0, 7, StageConfig(warmup=0.0)) == 1.0
