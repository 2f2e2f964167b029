import json
import re
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.tiny_models import FAMILIES, make_tiny_checkpoint, make_tokenizer, tiny_config
from transformers import BertConfig, BertForMaskedLM
from transformers.utils import logging

from stillhouse.errors import UserError
from stillhouse.models.architecture import head_kind, head_labels
from stillhouse.models.checkpoint import find_checkpoint
from stillhouse.models.loading import build_encoder, case_note, load_encoder, load_tokenizer
from stillhouse.models.quiet import quiet_transformers
from stillhouse.models.saving import save_model
from stillhouse.task import Task, load_kind

TASKS = {
    "classification": Task("t", load_kind("classification"), labels=("low", "mid", "high")),
    "multilabel": Task("t", load_kind("multilabel"), labels=("x", "y", "z", "w", "v")),
    "regression": Task("t", load_kind("regression")),
    "tagging": Task("t", load_kind("tagging"), labels=("O", "B-A", "I-A")),
    "qa": Task("t", load_kind("qa")),
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_tiny_checkpoint(
        tmp_path_factory.mktemp("b") / "bert", "bert", layers=2, head="classification", labels=("low", "mid", "high")
    )


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return make_tiny_checkpoint(tmp_path_factory.mktemp("b") / "bare", "bert", layers=2)


def changed(folder, tmp_path, change):
    copied = shutil.copytree(folder, tmp_path / folder.name)
    weights = load_file(copied / "model.safetensors")
    save_file(change(weights), copied / "model.safetensors", metadata={"format": "pt"})
    return find_checkpoint(str(copied))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_with_its_own_head_and_with_a_fresh_one(family, tmp_path):
    folder = make_tiny_checkpoint(tmp_path, family, layers=2, head="tagging", labels=("O", "B-A", "I-A"))
    checkpoint = find_checkpoint(str(folder))
    saved = load_file(folder / "model.safetensors")
    tagger, own = load_encoder(checkpoint, TASKS["tagging"].head)
    assert own
    assert all(torch.equal(tensor, saved[name]) for name, tensor in tagger.state_dict().items())
    # The same number of outputs, but a head for another task: the encoder is kept, the head is not.
    classifier, own = load_encoder(checkpoint, TASKS["classification"].head)
    assert not own
    prefix = f"{classifier.base_model_prefix}."
    state = classifier.state_dict()
    kept = [name for name in saved if name.startswith(prefix)]
    assert len(kept) > 10
    assert all(torch.equal(state[name], saved[name]) for name in kept)
    heads = [name for name in saved if not name.startswith(prefix) and name in state and name.endswith("r.weight")]
    assert not any(torch.equal(state[name], saved[name]) for name in heads if state[name].shape == saved[name].shape)


@pytest.mark.parametrize("kind", TASKS)
def test_heads_say_what_they_are(kind, bare):
    model, own = load_encoder(find_checkpoint(str(bare)), TASKS[kind].head)
    assert not own
    assert head_kind(model.config) == load_kind(kind)
    assert model.config.num_labels == TASKS[kind].logits
    if TASKS[kind].labels:
        assert head_labels(model.config) == TASKS[kind].labels
        assert model.config.label2id == {label: index for index, label in enumerate(TASKS[kind].labels)}
    assert not model.training
    assert model.config._attn_implementation == "sdpa"
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_another_number_of_outputs_leaves_the_head_out(bert):
    two = Task("t", load_kind("classification"), labels=("no", "yes"))
    model, own = load_encoder(find_checkpoint(str(bert)), two.head)
    assert not own
    assert model.classifier.out_features == 2


def test_half_precision_weights_become_fp32(bert, tmp_path):
    checkpoint = changed(bert, tmp_path, lambda weights: {name: tensor.half() for name, tensor in weights.items()})
    model, own = load_encoder(checkpoint, TASKS["classification"].head)
    assert own
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_fresh_heads_follow_the_seed_and_models_share_no_config(bare):
    checkpoint = find_checkpoint(str(bare))
    heads, models = [], []
    for seed in (3, 3, 5):
        torch.manual_seed(seed)
        model, _ = load_encoder(checkpoint, TASKS["classification"].head)
        models.append(model)
        heads.append(model.classifier.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    configs = [checkpoint.config, *(model.config for model in models)]
    assert len({id(config) for config in configs}) == 4
    assert checkpoint.config.architectures == ["BertModel"]


def test_a_masked_language_model_without_pooler_is_a_start(tmp_path):
    with quiet_transformers():
        make_tiny_checkpoint(tmp_path, "bert", layers=1)
        BertForMaskedLM(tiny_config("bert", layers=1)).save_pretrained(tmp_path)
    model, own = load_encoder(find_checkpoint(str(tmp_path)), TASKS["classification"].head)
    assert not own
    assert torch.isfinite(model.bert.pooler.dense.weight).all()


def test_missing_encoder_weights_are_refused(bert, tmp_path):
    lost = "bert.encoder.layer.1.output.dense.weight"
    with pytest.raises(UserError, match=f"lack {lost}"):
        changed(bert, tmp_path, lambda weights: {name: w for name, w in weights.items() if name != lost})


def test_weights_of_another_architecture_are_refused(bert, tmp_path):
    folder = make_tiny_checkpoint(tmp_path / "other", "modernbert", layers=1)
    shutil.copy(bert / "config.json", folder)
    with pytest.raises(UserError, match=r"lack bert\.embeddings.* and \d+ more"):
        find_checkpoint(str(folder))


@pytest.mark.parametrize("name", ["bert.embeddings.word_embeddings.weight", "classifier.weight"])
def test_other_shapes_than_the_config_says_are_refused(name, bert, tmp_path):
    with pytest.raises(UserError, match=rf"{name} is \(2, 24\)"):
        changed(bert, tmp_path, lambda weights: weights | {name: weights[name][:2].clone()})


def test_a_family_without_such_a_head(tmp_path):
    config = transformers.PerceiverConfig()
    with pytest.raises(UserError, match="no qa head for perceiver"):
        build_encoder(config, TASKS["qa"].head)


def test_the_tokenizer_must_fit_the_model(bert, tmp_path):
    assert load_tokenizer(find_checkpoint(str(bert))).is_fast
    folder = shutil.copytree(bert, tmp_path / "b")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["movie"] = 7777
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"has 7778 entries, its model knows \d+"):
        load_tokenizer(find_checkpoint(str(folder)))


def test_a_damaged_tokenizer(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "b")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"tokenizer of .* cannot be loaded"):
        load_tokenizer(find_checkpoint(str(folder)))


def test_weights_that_cannot_be_loaded(bert, tmp_path):
    checkpoint = find_checkpoint(str(shutil.copytree(bert, tmp_path / "b")))
    (checkpoint.folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"weights of .* cannot be loaded"):
        load_encoder(checkpoint, TASKS["classification"].head)


def test_a_tokenizer_without_padding(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "b")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": None}))
    with pytest.raises(UserError, match="no padding token"):
        load_tokenizer(find_checkpoint(str(folder)))


@pytest.mark.parametrize("length", ["x", 0, -1, float("nan"), [512]])
def test_an_odd_model_max_length(bert, tmp_path, length):
    folder = shutil.copytree(bert, tmp_path / "b")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": length}))
    with pytest.raises(UserError, match=r"model_max_length|cannot be loaded"):
        load_tokenizer(find_checkpoint(str(folder)))


def test_a_student_does_not_point_to_its_teachers_code(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "b")
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        auto_map = {"AutoConfig": "code.C", "AutoTokenizer": ["code.T", None]}
        (folder / name).write_text(json.dumps(content | {"auto_map": auto_map}))
    checkpoint = find_checkpoint(str(folder))
    save_model(load_encoder(checkpoint, TASKS["classification"].head)[0], load_tokenizer(checkpoint), tmp_path / "saved")
    for file in (tmp_path / "saved").glob("*.json"):
        assert "auto_map" not in file.read_text()
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "saved").is_fast


PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", *"abcdef", "##a", "house"]
CASED = [*PIECES, *"ABC", "House", "##B"]


@pytest.mark.parametrize(
    ("pieces", "settings", "said"),
    [
        (CASED, None, r"lower-cases all text, and 38% of its vocabulary has capital letters.*do_lower_case.: false"),
        (CASED, {"do_lower_case": False}, ""),
        (PIECES, None, ""),
        (PIECES, {"do_lower_case": False}, r"such words are unknown.*do_lower_case.: true"),
    ],
)
def test_a_vocabulary_whose_capitals_are_lost(tmp_path, pieces, settings, said):
    """transformers lower-cases where vocab.txt is alone."""
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    if settings is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    note = case_note(transformers.BertTokenizerFast.from_pretrained(tmp_path))
    assert re.search(said, note) if said else note == ""


@pytest.mark.parametrize("family", FAMILIES)
def test_ordinary_tokenizers_lose_nothing(family):
    assert case_note(make_tokenizer(family)) == ""


def test_loading_is_quiet_and_leaves_verbosity_alone(bare, capfd):
    logging.set_verbosity_info()
    try:
        load_encoder(find_checkpoint(str(bare)), TASKS["classification"].head)
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity_warning()
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "Loading weights" not in captured.err
    assert "MISSING" not in captured.err


def test_fresh_encoders_follow_the_seed():
    config = BertConfig(vocab_size=31, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    built = []
    for seed in (2, 2, 3):
        torch.manual_seed(seed)
        built.append(build_encoder(config, TASKS["regression"].head).bert.embeddings.word_embeddings.weight)
    assert torch.equal(built[0], built[1])
    assert not torch.equal(built[0], built[2])
    assert config.num_labels == 2
