"""Parameter counts of the papers' students, from configurations alone: no weight is made."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
)

from stillhouse.students.shape import parse_shape, student_config

BASE = BertConfig()
# BERT of L layers, width H, feed-forward F, vocabulary 30,522, with pooler:
# embeddings (30522 + 512 + 2) H + 2H; a layer 4 (H^2 + H) + 2HF + F + H + 4H; pooler H^2 + H. For 3x384, F = 1536:
# 11,918,592 + 3 * 1,774,464 + 147,840 = 17,389,824.


def empty(spec, model_class=AutoModel, base=BASE):
    config = base if spec is None else student_config(base, parse_shape(spec, base))
    config.num_labels = 2
    with torch.device("meta"):
        return model_class.from_config(config)


def count(spec, model_class=AutoModel, base=BASE):
    return empty(spec, model_class, base).num_parameters()


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        (None, 109_482_240),
        ("12x768", 109_482_240),
        ("6x768", 66_955_008),
        ("half", 66_955_008),  # BERT-PKD, Theseus, TinyBERT6, MiniLM 6x768
        ("4x768", 52_779_264),
        ("3x768", 45_691_392),
        ("4x312", 14_350_248),  # TinyBERT4: feed-forward 1200
        ("12x384", 33_360_000),  # MiniLM: feed-forward 4 x 384
        ("6x384", 22_713_216),
        ("4x384", 19_164_288),
        ("3x384", 17_389_824),
    ],
)
def test_encoders(spec, parameters):
    assert count(spec) == parameters


def test_with_a_head_for_two_classes():
    assert count("4x312", AutoModelForSequenceClassification) == 14_350_874
    assert count("4x312", AutoModelForPreTraining) == 14_479_676  # TinyBERT4 as its authors publish it
    assert count("half", AutoModelForSequenceClassification) == 66_956_546  # Theseus' successor
    # In Theseus' training: the predecessor, and the six layers that are to replace its twelve.
    assert count(None, AutoModelForSequenceClassification) == 109_483_778
    assert count(None) - count("half") == 42_527_232


def test_distilbert():
    """As published, and of a BERT-base: with two rows of segments, which the published one has not."""
    published = DistilBertConfig()
    counts = {AutoModel: 66_362_880, AutoModelForMaskedLM: 66_985_530, AutoModelForSequenceClassification: 66_955_010}
    assert {kind: count(None, kind, published) for kind in counts} == counts
    assert count("half", base=DistilBertConfig(n_layers=12)) == counts[AutoModel]
    assert count("6x768", AutoModelForMaskedLM) == counts[AutoModelForMaskedLM] + 2 * 768


@pytest.mark.parametrize(
    ("spec", "encoder"), [("12x384", 21_293_568), ("6x384", 10_646_784), ("4x384", 7_097_856), ("3x384", 5_323_392)]
)
def test_the_parts_of_minilm(spec, encoder):
    model = empty(spec)
    parts = [model.embeddings.word_embeddings, model.embeddings, model.encoder, model.pooler]
    assert [sum(parameter.numel() for parameter in part.parameters()) for part in parts] == [
        11_720_448,
        11_918_592,
        encoder,
        147_840,
    ]


def test_pkds_student_without_a_pooler():
    model = empty("6x768")
    assert model.num_parameters() - sum(parameter.numel() for parameter in model.pooler.parameters()) == 66_364_416


@pytest.mark.parametrize(
    ("spec", "billions"), [(None, 22.347251712), ("4x312", 1.247281152), ("6x768", 11.173625856), ("4x768", 7.449083904)]
)
def test_operations_of_a_pass_over_128_tokens(spec, billions):
    """TinyBERT's table: two a multiplication and addition, matrix products of the layers alone."""
    model = empty(spec).eval()
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.ones(1, 128, dtype=torch.long))
    pooler = 2 * model.config.hidden_size**2
    assert counter.get_total_flops() - pooler == billions * 10**9
