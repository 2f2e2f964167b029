"""A trained model answers alike wherever it comes from, and as often as it is asked."""

import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from accelerate import Accelerator
from tests.tiny_models import make_tiny_checkpoint
from tests.toy_splits import TEXTS
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from stillhouse.config import DataConfig, EngineConfig
from stillhouse.errors import UserError
from stillhouse.evaluation.given_data import evaluate_models, predict_file
from stillhouse.evaluation.predictor import Predictor, Remembered, remember, remembered
from stillhouse.models.model import Model
from stillhouse.task import Task, load_kind

LABELS = ("no", "yes", "maybe")
FP32 = EngineConfig(precision="fp32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "trained"
    return make_tiny_checkpoint(path, "bert", layers=2, head="classification", labels=LABELS)


def live(folder):
    """The same model, as somebody has it in memory."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="sdpa").train()
    task = Task("trained", load_kind("classification"), LABELS)
    return Predictor.of_model(Model("trained", model, AutoTokenizer.from_pretrained(folder)), task, Accelerator(cpu=True))


def without_encoder(folder, favourite):
    """A model of which there is nothing but a function: it always gives one class."""
    own = Predictor.of_folder(str(folder), FP32)
    return Predictor("function", own.task, own.tokenizer, own.config, lambda rows: np.eye(3)[[favourite] * len(rows)])


def test_a_folder_and_the_live_model_give_the_same(folder):
    stored, own = Predictor.of_folder(str(folder), FP32), live(folder)
    assert (stored.name, stored.task) == (own.name, own.task)
    answers = stored.predict(TEXTS)
    assert answers == own.predict(TEXTS)
    assert [answer["text"] for answer in answers] == list(TEXTS)
    rows = stored.task.kind.given_texts(TEXTS, None)
    logits = stored.logits(stored.tokenize(rows).tokens)
    assert np.array_equal(logits, own.logits(own.tokenize(rows).tokens))
    assert len(np.unique(logits, axis=0)) == len(TEXTS)


def test_outputs_of_one_name_are_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["id2label"] = {"0": "no", "1": "yes", "2": "no"}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="several outputs of one name: no, yes, no"):
        Predictor.of_folder(str(copy), FP32)


def test_it_is_loaded_once(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    predictor = Predictor.of_folder(str(copy), FP32)
    shutil.rmtree(copy)
    assert predictor.predict(TEXTS) == predictor.predict(TEXTS)
    assert predictor.predict(()) == []


def test_nothing_but_its_logits_is_asked_for(folder, tmp_path):
    (tmp_path / "data.csv").write_text("text,label\nnice,yes\ndull,no\ngood,yes\n")
    yes, no = without_encoder(folder, 1), without_encoder(folder, 0)
    assert [row["label"] for row in predict_file(yes, str(tmp_path / "data.csv"), [])] == ["yes"] * 3
    scores = evaluate_models({"student": yes, "teacher": no}, DataConfig(source=str(tmp_path / "data.csv")))
    assert (scores["student"]["score"], scores["teacher"]["score"]) == (2 / 3, 1 / 3)
    assert scores["agreement"] == 0


@pytest.mark.parametrize("threshold", [None, -1.5, math.inf])
def test_what_it_remembers_of_its_training(threshold):
    config = SimpleNamespace()
    assert remembered(config) == Remembered(columns={}, max_length=None, stride=128, no_answer_threshold=0.0)
    remember(config, DataConfig(text="review", label="stars", max_length=48, stride=16), threshold)
    columns = {"text": "review", "text_pair": None, "label": "stars"}
    assert remembered(config) == Remembered(columns, 48, 16, 0.0 if threshold is None else threshold)


@pytest.mark.parametrize("content", [5, "x", [1], {"max_length": "x"}, {"max_length": 0}, {"columns": 3}, {"stride": [1]}])
def test_what_somebody_has_changed_is_refused(content):
    with pytest.raises(UserError, match="says stillhouse"):
        remembered(SimpleNamespace(stillhouse=content, name_or_path="model"))
    assert remembered(SimpleNamespace(stillhouse={"max_length": None})) == Remembered()


def test_a_model_that_its_own_code_cannot_run_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    tokenizer = (copy / "tokenizer.json").read_text()
    (copy / "tokenizer.json").write_text(tokenizer.replace('"type_id": 1', '"type_id": 2'))  # of which the model has no vector
    predictor = Predictor.of_folder(str(copy), FP32)
    assert predictor.predict(TEXTS)
    with pytest.raises(UserError, match="copy, a bert, cannot be run: index out of range"):
        predictor.predict(TEXTS, TEXTS)


def test_what_people_have_to_know_of_a_model_is_said(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    del config["architectures"]
    (copy / "config.json").write_text(json.dumps(config))
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "".join(f"film {number},{LABELS[number % 3]}\n" for number in range(9)))
    found = evaluate_models({"student": Predictor.of_folder(str(copy), FP32)}, DataConfig(source=str(rows)))
    assert (
        "copy: config.json names no architecture; the weights are those of a BertForSequenceClassification"
        in found["notes"][-1]
    )
