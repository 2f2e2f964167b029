"""With a good teacher, twenty labels and much text without, every method beats the same student trained on the labels alone."""

import shutil

import pytest
from tests import toy_data
from tests.tiny_models import make_tiny_checkpoint

from stillhouse import compare, distill
from stillhouse.methods import load_method, method_names

METHODS = [name for name in method_names() if load_method(name).uses_teacher]
RATE = 3e-3


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beats")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STILLHOUSE_CACHE", str(folder / "cache"))
        many = toy_data.classification(folder / "many.csv", rows=1500, seed=1)
        (folder / "data").mkdir()
        toy_data.classification(folder / "data" / "train.csv", rows=900, seed=2)
        toy_data.classification(folder / "data" / "dev.csv", rows=300, seed=3)
        tiny = str(make_tiny_checkpoint(folder / "tiny-bert", "bert"))
        common = {"learning_rate": RATE, "batch_size": 32, "max_length": 24}
        taught = distill(data=str(many), teacher=tiny, method="finetune", student="4x24", epochs=6, out=folder / "t", **common)
        teacher = shutil.copytree(taught.folder / "student", folder / "teacher")
        changes = ["methods.theseus.stages.replacing.epochs=30", "methods.theseus.stages.successor.epochs=10"]
        for method, stage in (("tinybert", "intermediate"), ("minilm", "relations"), ("minilmv2", "relations")):
            changes += [f"methods.{method}.stages.{stage}.epochs=3", f"methods.{method}.stages.{stage}.learning_rate={RATE}"]
        found = compare(
            data=str(folder / "data"),
            teacher=str(teacher),
            methods=METHODS,
            students="2x24",
            seeds=[0, 1],
            max_labels=20,
            epochs=3,
            changes=changes,
            out=folder / "comparison",
            **common,
        )
        assert found.results["teacher"]["score"] > 0.85
        return {pair["method"]: pair for pair in found.results["pairs"]}


@pytest.mark.parametrize("method", METHODS)
def test_it_beats_its_baseline(pairs, method):
    pair = pairs[method]
    assert (pair["seeds"], pair["examples"]) == (2, 300)
    assert pair["low"] > 0
    assert pair["minus_baseline"] > 0.02
