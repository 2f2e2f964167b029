"""With a good teacher, few labels and much text without, methods beat the same student trained on the labels alone."""

import pytest
from tests import toy_data
from tests.tiny_models import make_tiny_checkpoint

from stillhouse import compare, distill
from stillhouse.methods import load_method, method_names

METHODS = [name for name in method_names() if load_method(name).uses_teacher]
RATE = 3e-3


@pytest.fixture(autouse=True, scope="module")
def little_measured():
    """Intervals are looked at here."""


@pytest.mark.long
def test_soft_labels_of_a_good_teacher_beat_gold_labels_alone(tmp_path, empty_report):
    """40 gold labels, 500 texts, a teacher that learnt from all labels: over three seeds its student is the better one."""
    data = tmp_path / "data"
    data.mkdir()
    toy_data.classification(data / "train.csv", rows=600)
    toy_data.classification(data / "dev.csv", rows=300, seed=1)
    tiny = str(make_tiny_checkpoint(tmp_path / "tiny-bert", "bert"))
    common = {"data": str(data), "learning_rate": RATE, "max_length": 24, "precision": "fp32", "allow_weak_teacher": True}
    known = {"method": "finetune", "student": "half", "epochs": 8, "batch_size": 32, "out": tmp_path / "knowing"}
    knowing = distill(teacher=tiny, **common, **known)
    assert knowing.metrics["student"]["score"] > 0.85
    common |= {"teacher": str(knowing.folder / "student"), "method": "logit", "student": "1x12", "epochs": 4, "batch_size": 16}
    gains = []
    for seed in range(3):
        run = distill(max_labels=40, seed=seed, baseline=True, out=tmp_path / f"few{seed}", **common)
        gains.append(run.metrics["student"]["score"] - run.metrics["baseline"]["score"])
    assert sum(gains) / len(gains) > 0.04


@pytest.mark.long
def test_every_method_beats_its_baseline(tmp_path, empty_report):
    """In one test, so that the comparison runs once.

    All but Theseus, whose student and baseline both start from the fitted teacher, head included: that start is worth nearly
    all that there is to gain, here as on real data, and replacing must not lose it.
    """
    many = toy_data.classification(tmp_path / "many.csv", rows=1500, seed=1)
    (tmp_path / "data").mkdir()
    toy_data.classification(tmp_path / "data" / "train.csv", rows=900, seed=2)
    toy_data.classification(tmp_path / "data" / "dev.csv", rows=300, seed=3)
    tiny = str(make_tiny_checkpoint(tmp_path / "tiny-bert", "bert"))
    common = {"learning_rate": RATE, "batch_size": 32, "max_length": 24, "precision": "fp32"}
    taught = distill(data=str(many), teacher=tiny, method="finetune", student="4x24", epochs=6, out=tmp_path / "t", **common)
    changes = ["methods.theseus.stages.replacing.epochs=30"]
    for method, stage in (("tinybert", "intermediate"), ("minilm", "relations"), ("minilmv2", "relations")):
        changes += [f"methods.{method}.stages.{stage}.epochs=3", f"methods.{method}.stages.{stage}.learning_rate={RATE}"]
    found = compare(
        data=str(tmp_path / "data"),
        teacher=str(taught.folder / "student"),
        methods=METHODS,
        students="2x24",
        seeds=[0, 1],
        max_labels=20,
        epochs=3,
        changes=changes,
        out=tmp_path / "comparison",
        **common,
    )
    assert found.results["teacher"]["score"] > 0.85
    pairs = {pair["method"]: pair for pair in found.results["pairs"]}
    assert pairs.keys() == set(METHODS)
    assert {(pair["seeds"], pair["examples"]) for pair in pairs.values()} == {(2, 300)}
    theseus = pairs.pop("theseus")
    assert theseus["high"] > 0
    scores = {row["line"]: row["mean"] for row in found.results["summary"]}
    assert scores[theseus["baseline"]] > 0.8
    assert {method: pair["minus_baseline"] for method, pair in pairs.items() if pair["low"] <= 0} == {}
    assert min(pair["minus_baseline"] for pair in pairs.values()) > 0.02
