"""Latency: order of the passes, conditions, and that a slower model is measured as slower."""

import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig, IBertConfig

from stillhouse.measure.latency import conditions_of, forward_passes, measure_latency, random_inputs


class Logged(nn.Module):
    """Writes down its passes, and takes as long as it is told."""

    def __init__(self, name, log, seconds=0.0):
        super().__init__()
        self.name, self.log, self.seconds = name, log, seconds
        self.embeddings = nn.Embedding(13, 2)
        self.config = SimpleNamespace(vocab_size=13)

    def forward(self, input_ids, attention_mask):
        self.log.append((self.name, self.training, torch.is_inference_mode_enabled()))
        time.sleep(self.seconds)
        return self.embeddings(input_ids)


def measured(models, **options):
    inputs = {name: random_inputs(model, batch=2, tokens=3) for name, model in models.items()}
    with forward_passes(models, inputs) as passes:
        return measure_latency(passes, **options)


def test_models_take_turns_in_eval_mode_without_gradient():
    log = []
    models = {"teacher": Logged("teacher", log).train(), "student": Logged("student", log).eval()}
    measured(models, repeats=2, warmup=1)
    assert log == [("teacher", False, True), ("student", False, True)] * 3
    assert models["teacher"].training
    assert not models["student"].training


def test_a_slower_model_takes_longer():
    log = []
    result = measured({"slow": Logged("slow", log, 0.02), "fast": Logged("fast", log)}, repeats=5, warmup=1)
    assert result["slow"].p50_ms >= 20
    assert result["slow"].p50_ms > result["fast"].p50_ms
    assert result["fast"].p95_ms >= result["fast"].p50_ms > 0


def test_anything_that_can_be_called_is_timed_in_turn():
    log = []
    result = measure_latency({"a": lambda: log.append("a"), "b": lambda: log.append("b")}, repeats=2, warmup=1)
    assert log == ["a", "b"] * 3
    assert result.keys() == {"a", "b"}


def test_conditions_are_said():
    def conditions(model):
        return conditions_of(model, random_inputs(model, batch=2, tokens=3))

    said = conditions(Logged("model", []))
    assert (said.batch, said.tokens, said.device) == (2, 3, "cpu")
    assert (said.threads, said.precision) == (torch.get_num_threads(), "fp32")
    assert conditions(Logged("model", []).bfloat16()).precision == "bf16"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conditions(Logged("model", [])).precision == "bf16"


def test_a_real_model_with_all_of_its_inputs():
    sizes = {"hidden_size": 6, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 10}
    model = AutoModelForSequenceClassification.from_config(BertConfig(vocab_size=17, **sizes))
    names = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
    inputs = random_inputs(model, batch=2, tokens=5, names=names)
    assert set(inputs) == {"input_ids", "attention_mask", "token_type_ids"}
    with forward_passes({"model": model}, {"model": inputs}) as passes:
        assert measure_latency(passes, repeats=2, warmup=1)["model"].p50_ms > 0


def test_embeddings_of_a_class_of_their_own():
    sizes = {"hidden_size": 6, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 10}
    model = AutoModelForSequenceClassification.from_config(IBertConfig(vocab_size=17, **sizes))
    assert int(random_inputs(model, batch=7, tokens=11)["input_ids"].max()) == 16


def test_random_inputs_are_ordinary_tokens_and_repeat():
    model = Logged("model", [])
    first, again = (random_inputs(model, batch=7, tokens=11) for _ in range(2))
    assert torch.equal(first["input_ids"], again["input_ids"])
    assert not torch.equal(first["input_ids"], random_inputs(model, batch=7, tokens=11, seed=1)["input_ids"])
    assert set(first["input_ids"].unique().tolist()) == {10, 11, 12}
    assert first["attention_mask"].all()
    assert set(first) == {"input_ids", "attention_mask"}


def test_training_mode_comes_back_after_an_error():
    class Broken(Logged):
        def forward(self, input_ids, attention_mask):
            raise RuntimeError("broken")

    model = Broken("broken", []).train()
    with pytest.raises(RuntimeError, match="broken"):
        measured({"broken": model})
    assert model.training


def test_no_repeats_are_refused():
    with pytest.raises(ValueError, match="repeats must be positive"):
        measure_latency({"model": lambda: None}, repeats=0)
