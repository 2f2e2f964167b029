"""Data and a teacher for small comparisons."""

import pytest
from tests import toy_data
from tests.tiny_models import make_tiny_checkpoint

from stillhouse.files import write_text


@pytest.fixture
def drawn():
    """The page of this comparison is looked at."""


@pytest.fixture(autouse=True)
def empty_page(request, monkeypatch):
    """Pages that nobody looks at stay empty: drawing one takes as long as three runs."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(
            "stillhouse.comparison.compare.write_comparison_report", lambda folder: write_text(folder / "report.html", "")
        )


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(shared_cache, monkeypatch):
    """One cache for a file: most comparisons have the same teacher."""
    monkeypatch.setenv("STILLHOUSE_CACHE", str(shared_cache))


@pytest.fixture
def empty_cache(tmp_path, own_cache, monkeypatch):
    """What this comparison keeps, it has worked out itself."""
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    toy_data.classification(folder / "data.csv", rows=160, unlabelled=48)
    make_tiny_checkpoint(folder / "bert", "bert")
    return folder
