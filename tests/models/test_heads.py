"""What stands on an encoder: a masked-LM head, that of a task, or nothing; and the same encoder under another one."""

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny_models import FAMILIES, make_tiny_checkpoint, tiny_config
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForPreTraining

from stillhouse.models.adapter import head_parameters
from stillhouse.models.checkpoint import find_checkpoint
from stillhouse.models.heads import with_head
from stillhouse.models.loading import build_encoder, head_config, load_encoder
from stillhouse.task import MASKED_LM, NO_HEAD, Task, load_kind
from stillhouse.teachers.kept_models import fits_kept, keep, load_kept

TASK = Task("t", load_kind("classification"), ("no", "yes", "maybe"))
HEADS = {"masked": MASKED_LM, "none": NO_HEAD, "task": TASK.head}
CLASSES = {"masked": "BertForMaskedLM", "none": "BertModel", "task": "BertForSequenceClassification"}


def saved(folder, family="bert", cls=AutoModelForMaskedLM, **changes):
    """A tiny model with a head over its vocabulary, and its tokenizer."""
    made = make_tiny_checkpoint(folder, family, layers=2)
    torch.manual_seed(3)
    model = cls.from_config(AutoConfig.from_pretrained(made))
    model.save_pretrained(made)
    return made, model.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_masked_lm_head_is_found_and_used(family, tmp_path):
    folder, model = saved(tmp_path / "made", family)
    found, has_head = load_encoder(find_checkpoint(str(folder)), MASKED_LM)
    assert has_head
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


def test_a_model_with_two_heads_has_one_for_masked_tokens(tmp_path):
    folder, model = saved(tmp_path / "made", cls=AutoModelForPreTraining)
    checkpoint = find_checkpoint(str(folder))
    assert checkpoint.notes == ()
    found, has_head = load_encoder(checkpoint, MASKED_LM)
    assert has_head
    assert torch.equal(found.cls.predictions.bias, model.cls.predictions.bias)


def test_an_encoder_and_a_classifier_have_no_such_head(tmp_path):
    bare = make_tiny_checkpoint(tmp_path / "bare", "bert")
    classifier = make_tiny_checkpoint(tmp_path / "c", "bert", head="classification", labels=("no", "yes", "maybe"))
    for folder in (bare, classifier):
        model, has_head = load_encoder(find_checkpoint(str(folder)), MASKED_LM)
        assert not has_head
        name = "embeddings.word_embeddings.weight"
        weights = load_file(folder / "model.safetensors")
        own = weights[name] if name in weights else weights[f"bert.{name}"]
        assert torch.equal(model.bert.state_dict()[name], own)
    _, lacks_none = load_encoder(find_checkpoint(str(classifier)), NO_HEAD)
    assert lacks_none


def test_a_masked_lm_teaches_no_task(tmp_path):
    folder, _ = saved(tmp_path / "made")
    model, has_head = load_encoder(find_checkpoint(str(folder)), TASK.head)
    assert not has_head
    assert model.config.num_labels == 3


@pytest.mark.parametrize("head", HEADS)
def test_configurations_of_heads(head):
    config = head_config(tiny_config("bert"), HEADS[head])
    assert config.architectures == [
        {"masked": "BertForMaskedLM", "none": "BertModel", "task": "BertForSequenceClassification"}[head]
    ]
    assert len(config.id2label) == (3 if head == "task" else 2)
    assert (config.problem_type is None) == (head != "task")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("before", HEADS)
@pytest.mark.parametrize("after", HEADS)
def test_an_encoder_under_another_head(family, before, after):
    torch.manual_seed(0)
    one = build_encoder(tiny_config(family, layers=2), HEADS[before])
    other = with_head(one, HEADS[after])
    ours, theirs = one.base_model.state_dict(), other.base_model.state_dict()
    both = ours.keys() & theirs.keys()
    assert len(both) >= len(ours) - 2  # a pooler has two tensors
    for name in both:
        assert torch.equal(ours[name], theirs[name]), name
        assert ours[name].data_ptr() != theirs[name].data_ptr(), name
    assert (not head_parameters(other)) == (after == "none")


def test_kept_models_with_tied_weights_are_found(tmp_path):
    """Of weights that are tied one alone stands in the file."""
    folder, model = saved(tmp_path / "made")
    assert keep(tmp_path / "kept", folder)
    fresh = build_encoder(AutoConfig.from_pretrained(folder), MASKED_LM)
    assert fits_kept(tmp_path / "kept", fresh, print)
    load_kept(tmp_path / "kept", fresh)
    for name, tensor in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor), name
    assert not fits_kept(tmp_path / "kept", build_encoder(AutoConfig.from_pretrained(folder), TASK.head), print)
