"""Shared by all tests: quiet, offline, and never in the user's cache."""

import gc
import importlib
import multiprocessing
import os
from pathlib import Path

import pytest

from stillhouse.files import write_text
from tests.processes import SMALL_TABLE, measure_little, rank_environments, run_command

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# Fixtures import their models and data themselves: the hub reads these settings when it is imported, and shapes are checked
# only in modules that are imported after this file.


# Files that take longest, the longest first: two workers, each with a file at a time, then end at about the same moment.
LONGEST = (
    "test_distill.py",
    "comparison/test_compare.py",
    "methods/test_families.py",
    "test_general.py",
    "test_processes.py",
    "test_resume.py",
    "methods/test_contract.py",
    "comparison/test_compare_refusals.py",
    "test_bad_input.py",
    "training/test_inside.py",
)


# What imports nearly all that a run, or a comparison of BERTs, needs.
EVERYTHING = ("stillhouse.comparison.compare", "transformers.models.bert.modeling_bert", "matplotlib.backends.backend_svg")


def pytest_collection_modifyitems(items):
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish():
    """What is imported stays: a run asks for a whole collection after each stage, which would look through all of it."""
    if "PYTEST_XDIST_WORKER" in os.environ:  # which needs all of it in the end
        for name in EVERYTHING:
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True, scope="session")
def small_tables():
    """The token embeddings of tiny models are trained as those of large ones: in the rows of the text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stillhouse.speed.embedding.LEAST_ROWS", SMALL_TABLE)
        yield


@pytest.fixture(autouse=True, scope="module")
def little_measured():
    """Runs of a module measure little; a module or folder that looks at what is measured overrides this with nothing."""
    with pytest.MonkeyPatch.context() as patch:
        measure_little(patch)
        yield


def leave_reports_empty(patch):
    """Half of a small run's time goes into drawing; where only the file matters, it is enough."""
    patch.setattr("stillhouse.runs.session.write_report", lambda folder: write_text(folder / "report.html", ""))


@pytest.fixture
def empty_report(monkeypatch):
    """Runs of this test write an empty report."""
    leave_reports_empty(monkeypatch)


@pytest.fixture(scope="module")
def empty_reports():
    """Runs of this module write empty reports."""
    with pytest.MonkeyPatch.context() as patch:
        leave_reports_empty(patch)
        yield


@pytest.fixture(scope="session")
def shelf(tmp_path_factory):
    """Tiny models: `bare` without a head, `headed` with one, `constant` whose head always says the same."""
    from safetensors.torch import load_file, save_file

    from tests.tiny_models import make_tiny_checkpoint

    folder = tmp_path_factory.mktemp("models")
    make_tiny_checkpoint(folder / "bare", "bert", layers=2)
    for name in ("headed", "constant"):
        make_tiny_checkpoint(folder / name, "bert", layers=2, head="classification", labels=("negative", "positive"))
    weights = load_file(folder / "constant" / "model.safetensors")
    weights["classifier.weight"].zero_()
    save_file(weights, folder / "constant" / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch, shelf, empty_report):
    """The working folder: data.csv, and links to the models. Runs that come to their end there write an empty report."""
    from tests import toy_data

    monkeypatch.chdir(tmp_path)
    toy_data.classification(tmp_path / "data.csv", rows=60)
    for model in shelf.iterdir():
        (tmp_path / model.name).symlink_to(model)
    return tmp_path


@pytest.fixture(scope="session")
def server():
    """Forks processes from one that has imported everything and computed nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*EVERYTHING, "stillhouse.cli.main"])
        yield context


@pytest.fixture(scope="module")
def start(server, tmp_path_factory):
    """Starts a command in a process of its own."""

    def started(arguments, cache, environment=()):
        output = tmp_path_factory.mktemp("output") / "output.txt"
        given = (arguments, str(cache), str(output), dict(environment))
        process = server.Process(target=run_command, args=given, daemon=True)
        process.start()
        return process, output

    return started


@pytest.fixture(scope="module")
def start_ranks(start):
    """Starts a command in one process or in several that work together."""

    def started(processes, arguments, cache):
        environments = rank_environments(processes) if processes > 1 else [{"ACCELERATE_USE_CPU": "true"}]
        return [start(arguments, cache, own) for own in environments]

    return started
