"""Parameters and size on disk, counted by hand and against the saved file."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertForMaskedLM,
)

from stillhouse.measure.size import count_parameters, weights_mib

SIZES = {"vocab_size": 11, "hidden_size": 6, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 10}
TINY = BertConfig(**SIZES, max_position_embeddings=7, num_labels=3)


def test_bert_by_hand():
    # Embeddings: (11 + 7 + 2) * 6 and a norm of 2 * 6. A layer: four 6x6 maps with biases, two norms, 6 -> 10 -> 6.
    # Pooler 6x6 + 6, head 6 -> 3.
    layer = 4 * (36 + 6) + 2 * 12 + (60 + 10) + (60 + 6)
    model = AutoModelForSequenceClassification.from_config(TINY)
    assert layer == 328
    assert count_parameters(model) == 132 + 2 * layer + 42 + 21


def test_frozen_parameters_count_too():
    model = AutoModelForSequenceClassification.from_config(TINY).requires_grad_(False)
    assert count_parameters(model) == 851


def test_published_size_from_a_configuration_alone():
    # BERT-base uncased without a head has 109,482,240 parameters; no weights are needed to count them.
    with torch.device("meta"):
        model = AutoModelForTokenClassification.from_config(BertConfig(num_labels=2))
        # The token head leaves the pooler (768 * 768 + 768) out, and adds 768 * 2 + 2.
        assert count_parameters(model) == 109_482_240 - 590_592 + 1_538
        assert weights_mib(model) == pytest.approx(4 * count_parameters(model) / 2**20)


def test_shared_weights_count_once():
    model = BertForMaskedLM(TINY)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    # Embeddings and layers as above; the decoder's table is the embeddings': the head is its transform, norm and bias.
    assert count_parameters(model) == 132 + 2 * 328 + (36 + 6) + 12 + 11


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_size_is_that_of_the_saved_file(tmp_path, dtype):
    model = AutoModelForSequenceClassification.from_config(TINY).to(dtype)
    path = tmp_path / "model.safetensors"
    save_file({name: tensor.float().contiguous() for name, tensor in model.state_dict().items()}, path)
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    assert weights_mib(model) * 2**20 == path.stat().st_size - header


def test_buffers_are_saved_too_in_their_own_width():
    module = nn.BatchNorm1d(5)  # 10 parameters, 10 running numbers, one int64 counter
    assert weights_mib(module) * 2**20 == 4 * 20 + 8
