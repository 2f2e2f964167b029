"""A head and the order of its labels are taken from the same place: from the weights that are there."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny_models import FAMILIES, make_tiny_checkpoint, tiny_config
from transformers import CONFIG_MAPPING, BertForMultipleChoice, RobertaConfig

from stillhouse.errors import UserError
from stillhouse.evaluation.predictor import load_with_head
from stillhouse.models.architecture import head_kind, head_labels, positions
from stillhouse.models.checkpoint import find_checkpoint
from stillhouse.models.limits import max_length, position_limit
from stillhouse.models.loading import load_encoder, load_tokenizer
from stillhouse.models.quiet import quiet_transformers
from stillhouse.students.build import load_student
from stillhouse.task import Task, load_kind

LABELS = ("positive", "negative", "mixed")  # not in the order of their names
CLASSIFICATION = Task("t", load_kind("classification"), LABELS)
SORTED = Task("t", load_kind("classification"), tuple(sorted(LABELS)))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return make_tiny_checkpoint(tmp_path_factory.mktemp("c") / "c", "bert", layers=1, head="classification", labels=LABELS)


def copy(folder, tmp_path, **changes):
    folder = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    return folder


def with_weights(folder, change):
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", metadata={"format": "pt"})
    return find_checkpoint(str(folder))


def head_of(model):
    return model.state_dict()["classifier.weight"]


@pytest.mark.parametrize("said", [None, [], ["BertForMaskedLM"], ["BertModel"], ["GPT2LMHeadModel"], ["RobertaForMaskedLM"]])
def test_the_weights_say_what_the_configuration_does_not(said, classifier, tmp_path):
    checkpoint = find_checkpoint(str(copy(classifier, tmp_path, architectures=said)))
    assert (head_kind(checkpoint.config), head_labels(checkpoint.config)) == (load_kind("classification"), LABELS)
    (note,) = checkpoint.notes
    assert "weights are those of a BertForSequenceClassification, labels positive, negative, mixed" in note
    model, has_head = load_encoder(checkpoint, CLASSIFICATION.head)
    assert has_head
    assert torch.equal(head_of(model), load_file(classifier / "model.safetensors")["classifier.weight"])
    assert load_with_head(str(tmp_path / "copy"))[1].labels == LABELS


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", ["classification", "tagging", "qa"])
def test_heads_of_every_family_are_told_apart_or_left_out(family, head, tmp_path):
    labels = () if head == "qa" else ("O", "B-A", "I-A")
    made = make_tiny_checkpoint(tmp_path / "made", family, layers=1, head=head, labels=labels)
    assert find_checkpoint(str(made)).notes == ()
    checkpoint = find_checkpoint(str(copy(made, tmp_path, architectures=None)))
    is_ambiguous = family == "modernbert"  # its heads have the same tensors
    assert head_kind(checkpoint.config) == (None if is_ambiguous else load_kind(head))
    assert checkpoint.drops_head == is_ambiguous
    assert len(checkpoint.notes) == 1
    if is_ambiguous:
        task = Task("t", load_kind(head), labels)
        model, has_head = load_encoder(checkpoint, task.head)
        assert not has_head
        assert not torch.equal(head_of(model), load_file(made / "model.safetensors")["classifier.weight"])


@pytest.mark.parametrize(
    "changes",
    [{"problem_type": "regression"}, {"architectures": None, "id2label": None, "label2id": None}],
    ids=["regression of three", "no names"],
)
def test_a_head_that_nobody_can_read_is_left_out_and_said(changes, classifier, tmp_path):
    folder = copy(classifier, tmp_path, **changes)
    checkpoint = find_checkpoint(str(folder))
    assert head_kind(checkpoint.config) is None
    assert checkpoint.drops_head
    assert "left out" in checkpoint.notes[0]
    own = load_file(classifier / "model.safetensors")["classifier.weight"]
    model, has_head = load_encoder(checkpoint, SORTED.head)
    assert not has_head
    assert not torch.equal(head_of(model), own)
    student, start = load_student(checkpoint, SORTED.head)
    assert not torch.equal(head_of(student), own)
    assert "with a fresh head" in start.description
    with pytest.raises(UserError, match=r"has no task head; .*left out"):
        load_with_head(str(folder))


def test_a_student_keeps_its_head_only_for_the_same_labels_in_the_same_order(classifier, tmp_path):
    checkpoint = find_checkpoint(str(copy(classifier, tmp_path, architectures=["BertForMaskedLM"])))
    own = load_file(classifier / "model.safetensors")["classifier.weight"]
    assert torch.equal(head_of(load_student(checkpoint, CLASSIFICATION.head)[0]), own)
    assert not torch.equal(head_of(load_student(checkpoint, SORTED.head)[0]), own)


@pytest.mark.parametrize("lost", ["classifier.weight", "bert.pooler.dense.weight"])
def test_a_head_that_is_named_but_not_there(lost, classifier, tmp_path):
    checkpoint = with_weights(copy(classifier, tmp_path), lambda own: {name: own[name] for name in own if name != lost})
    assert head_kind(checkpoint.config) is None
    assert f"but the weights lack its head ({lost})" in checkpoint.notes[0]
    assert not load_encoder(checkpoint, CLASSIFICATION.head)[1]
    with pytest.raises(UserError, match=r"has no task head; .*lack its head"):
        load_with_head(str(tmp_path / "copy"))


def test_the_head_of_another_kind_of_task_is_none(tmp_path):
    folder = make_tiny_checkpoint(tmp_path, "bert", layers=1)
    with quiet_transformers():
        BertForMultipleChoice(tiny_config("bert", layers=1)).save_pretrained(folder)
    checkpoint = find_checkpoint(str(folder))
    assert head_kind(checkpoint.config) is None
    assert not load_encoder(checkpoint, Task("t", load_kind("classification"), ("a", "b")).head)[1]


# Rows of the position table beside what a model can read: some count from behind the padding's position, some keep two rows.
ROOMS = {
    "bert": 66, "roberta": 64, "camembert": 64, "mpnet": 64, "ibert": 64, "data2vec-text": 64, "xmod": 64, "luke": 64,
    "mra": 66, "yoso": 66, "nystromformer": 66, "roformer": 66, "longformer": 64, "megatron-bert": 66, "fnet": 66,
    "modernbert": None, "deberta-v2": None, "nomic_bert": None,
}  # fmt: skip
SIZES = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 99}
MORE = {"longformer": {"attention_window": [4]}, "deberta-v2": {"relative_attention": True, "position_biased_input": False}}


@pytest.mark.parametrize("family", ROOMS)
def test_the_room_for_positions_of_every_family(family, classifier):
    pad = {"pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0, "cls_token_id": 0, "sep_token_id": 2}
    config = CONFIG_MAPPING[family](**SIZES | pad | {"max_position_embeddings": 66} | MORE.get(family, {}))
    state = torch.random.get_rng_state()
    assert positions(config) == ROOMS[family]
    assert torch.equal(torch.random.get_rng_state(), state)
    tokenizer = load_tokenizer(find_checkpoint(str(classifier)))
    assert position_limit(config, tokenizer) == (ROOMS[family] or 66)


def test_a_longer_input_than_there_is_room_for_is_refused_with_the_number(classifier):
    tokenizer = load_tokenizer(find_checkpoint(str(classifier)))
    models = [(RobertaConfig(**SIZES | {"pad_token_id": 7, "max_position_embeddings": 66}), tokenizer)]
    assert max_length(None, load_kind("classification"), models) == 58
    with pytest.raises(UserError, match="--max-length 58"):
        max_length(59, load_kind("classification"), models)
    tokenizer.model_max_length = 2
    with pytest.raises(UserError, match="leaves no room for text"):
        max_length(None, load_kind("classification"), models)
