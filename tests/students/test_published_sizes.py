"""Parameter counts of the papers' students, from configurations alone: no weight is made."""

import pytest
import torch
from transformers import AutoModel, AutoModelForPreTraining, AutoModelForSequenceClassification, BertConfig

from stillhouse.students.shape import parse_shape, student_config

BASE = BertConfig()


def count(spec, model_class=AutoModel):
    config = BASE if spec is None else student_config(BASE, parse_shape(spec, BASE))
    config.num_labels = 2
    with torch.device("meta"):
        model = model_class.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        (None, 109_482_240),
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
