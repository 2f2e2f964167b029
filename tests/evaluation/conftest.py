"""What is measured is looked at here."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def little_measured():
    """All passes and resamples."""
