"""What a user may give that is wrong: one clear message, exit status 2, nothing trained and nothing left behind."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.commands import distil, leave, put, refused
from tests.tiny_models import make_tiny_checkpoint

SIDES = "".join(f"good movie {row},pos\nbad movie {row},neg\n" for row in range(20))

# Each line: what is there, the changes to the command, and what the message says.
DATA = {
    "missing file": ({}, ["--data", "nope.csv"], r"no file or folder 'nope\.csv'.*expected: a file \(\.csv.*fix: check"),
    "no name at all": ({}, ["--data", ""], "no file or folder ''"),
    "misspelt name": ({}, ["--data", "pydoc"], "did you mean 'pydocs'"),
    "empty file": ({"a.csv": ""}, ["--data", "a.csv"], r"a\.csv is empty.*expected: a file with at least one row"),
    "only blank lines": ({"a.tsv": "\n \n\n"}, ["--data", "a.tsv"], r"a\.tsv is empty"),
    "header alone": ({"a.csv": "text,label\n"}, ["--data", "a.csv"], "has a header but no rows"),
    "missing column": ({}, ["--label", "sentiment"], r"data\.csv has no column 'sentiment'.*expected: one of text, label"),
    "misspelt column": ({}, ["--text", "txt"], r"no column 'txt'.*did you mean 'text'"),
    "no label column": ({"a.csv": "a,b\nx y,z w\n"}, ["--data", "a.csv"], "its columns are a, b.*fix: name the column with"),
    "labels that training lacks": (
        {"set/train.csv": f"text,label\n{SIDES}", "set/dev.csv": "text,label\ngood,pos\nmeh,neutral\n"},
        ["--data", "set"],
        r"dev\.csv has labels that the training rows lack: 'neutral'.*expected: only 'neg', 'pos'",
    ),
    "one class": (
        {"a.csv": "text,label\n" + "".join(f"movie {row},pos\n" for row in range(7))},
        ["--data", "a.csv"],
        r"all 7 labels are 'pos'.*expected: at least two different labels",
    ),
    "non-numeric regression label": (
        {"a.tsv": "text\tscore\n" + "".join(f"movie {row}\t{row}.5\n" for row in range(11)) + "day\thigh\n"},
        ["--data", "a.tsv"],
        r"a\.tsv, line 13: the label 'high' is not a number.*expected: numbers",
    ),
    "non-finite regression label": (
        {"a.tsv": "text\tscore\n" + "".join(f"movie {row}\t{row}.5\n" for row in range(11)) + "day\tinf\n"},
        ["--data", "a.tsv"],
        r"line 13: the label 'inf' is not finite",
    ),
    "Latin 1": (
        {"a.csv": b"text,label\ngood,pos\ncaf\xe9,neg\n"},
        ["--data", "a.csv"],
        r"not UTF-8 text: the row on line 3 holds the byte 0xE9.*iconv -f LATIN1",
    ),
    "UTF-16": (
        {"a.csv": f"text,label\n{SIDES}".encode("utf-16")},
        ["--data", "a.csv"],
        "not UTF-8 text: the row on line 1.*iconv -f UTF-16",
    ),
    "tags that don't match words": (
        {"a.jsonl": '{"tokens": ["a"], "ner_tags": ["B-X"]}\n{"tokens": ["a", "b"], "ner_tags": ["O"]}\n'},
        ["--data", "a.jsonl"],
        r"a\.jsonl, line 2: 1 tags do not match 2 words.*expected: one tag for each word",
    ),
    "tags that are none": (
        {"a.jsonl": '{"tokens": ["a"], "ner_tags": ["B-X"]}\n{"tokens": ["a", "b"], "ner_tags": ["O", "PER"]}\n'},
        ["--data", "a.jsonl"],
        "line 2: 'PER' is not a BIO tag",
    ),
    "tags that are numbers, and a teacher without a head": (
        {"a.jsonl": "".join(f'{{"tokens": ["w{row}", "b"], "ner_tags": [{row % 3}, 0]}}\n' for row in range(20))},
        ["--data", "a.jsonl"],
        r"the tags are numbers, '0', '1', '2'.*expected: names such as B-PER, or a teacher with a head for tagging",
    ),
    "control characters": (
        {"a.csv": "text\x1b[31m,la\x9bbel\na,b\n"},
        ["--data", "a.csv"],
        r"its columns are text\\u001b\[31m, la\\u009bbel",
    ),
    "folder without split files": (
        {"set/reviews.csv": f"text,label\n{SIDES}"},
        ["--data", "set"],
        r"set has no train split.*expected: names such as train\.tsv.*fix: rename the files",
    ),
    "no text": ({"a.csv": "text,label\n,pos\n,neg\n"}, ["--data", "a.csv"], "no row has a text in column 'text'"),
    "too few rows": ({"a.csv": "text,label\na,x\nb,y\n"}, ["--data", "a.csv"], "2 labelled rows.*expected: at least 3"),
    "missing transfer file": ({}, ["--transfer", "more.txt"], r"there is no file more\.txt"),
    "a store without a name": ({}, ["--store", ""], r"--store '' names no folder"),
    "a store of nobody": ({}, ["--store", "~no-such-user/store"], r"--store '~no-such-user/store' begins with an unknown user"),
    "one label kept": ({}, ["--max-labels", "1"], "1 labelled training rows are left"),
}  # fmt: skip


@pytest.mark.parametrize("case", DATA)
def test_data(here, capsys, case):
    files, changes, said = DATA[case]
    for name, content in files.items():
        put(name, content)
    assert re.search(said, refused(here, capsys, *distil(*changes)), re.DOTALL)


def test_labels_of_teacher_and_data_that_differ(here, capsys):
    make_tiny_checkpoint("other", "bert", layers=1, head="classification", labels=("bad", "fair", "good"))
    message = refused(here, capsys, *distil("--teacher", "other"))
    assert re.search(r"data: +negative, positive\n +teacher: bad, fair, good\n.*--label-map negative=bad", message, re.DOTALL)


def without_weights(folder):
    (folder / "model.safetensors").unlink()


def without_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_short(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def not_a_number(folder):
    weights = load_file(folder / "model.safetensors")
    weights["bert.pooler.dense.bias"][3] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def config_of(content):
    return lambda folder: (folder / "config.json").write_bytes(content)


def another_width(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 48}))


def garbled_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{garbage")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (shutil.rmtree, "there is no folder 'copy'.*fix: check the path"),
        (lambda folder: [file.unlink() for file in folder.iterdir()], r"copy has no config\.json.*expected: a model folder"),
        (without_weights, r"copy has no weights.*expected: model\.safetensors"),
        (without_tokenizer, r"copy has no tokenizer.*expected: tokenizer\.json"),
        (pickled, r"only in pytorch_model\.bin, a format that can run code.*fix: if you trust it, convert it"),
        (cut_short, "is damaged or cut short.*expected: a whole safetensors file.*fix: copy or download it again"),
        (config_of(b"{garbage"), r"config\.json, line 1 is not JSON.*expected: JSON"),
        (config_of(b"\xff\x00\x01"), r"config\.json is not JSON: it is not UTF-8.*expected: JSON"),
        (config_of(b"{}"), "has no model_type.*expected: an encoder"),
        (another_width, r"is \(24,\), not \(48,\).*expected: config\.json and weights of the same model"),
        (not_a_number, r"hold NaN or infinite numbers: bert\.pooler\.dense\.bias.*expected: finite weights"),
        (garbled_tokenizer, r"the tokenizer of copy cannot be loaded.*expected: a tokenizer\.json"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_teacher_folders(here, capsys, damage, said):
    shutil.copytree("headed", "copy")
    damage(here / "copy")
    assert re.search(said, refused(here, capsys, *distil("--teacher", "copy")), re.DOTALL)


def test_a_teacher_no_better_than_the_majority_class(here, capsys):
    # Its head's weights are zero: it always gives the same class, which is at best the most frequent one.
    message = refused(here, capsys, *distil("--teacher", "constant"))
    assert re.search("no better than always giving the most frequent answer.*fix: .*--allow-weak-teacher", message, re.DOTALL)
    assert leave(*distil("--teacher", "constant", "--allow-weak-teacher")) == 0
    assert json.loads(Path("run/metrics.json").read_text())["teacher"]["name"] == "constant"


def test_a_fine_tuned_teacher_that_learnt_nothing_stops_the_run_and_can_be_allowed(here, capsys):
    # No text is in its vocabulary: they all look the same to it, and it gives all of them one class.
    put("strange.csv", "text,label\n" + "".join(f"{chr(0x4E00 + row)},{'pos' if row % 2 else 'neg'}\n" for row in range(40)))
    weak = distil("--data", "strange.csv")
    assert leave(*weak) == 2
    assert "no better than always" in capsys.readouterr().err
    assert not Path("run/student").exists()
    assert leave(*weak, "--allow-weak-teacher") == 0
    stages = json.loads(Path("run/metrics.json").read_text())["stages"]
    assert [stage["name"] for stage in stages] == ["teacher", "distil"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--method", "logits"], "unknown method 'logits'.*expected: one of distilbert, finetune, logit.*did you mean 'logit'"),
        (["--set", "method.name=3"], "unknown method '3'"),
        (["--set", "method=[1]"], r"method is \[1\].*expected: a name"),
        (["--set", "method.epochs=3"], "unknown key 'method.epochs': did you mean 'stages.distil.epochs'"),
        (["--set", "method.temprature=3"], "unknown key 'method.temprature': did you mean 'temperature'"),
        (["--set", "teecher.source=x"], "unknown key 'teecher': did you mean 'teacher'"),
        (["--set", "method.stages.distil.lr=1"], "unknown key 'method.stages.distil.lr': .*learning_rate"),
        (["--set", "seed"], "--set 'seed'.*expected: key=value"),
        (["--set", "seed=[1"], r"--set 'seed=\[1': the value, line 1 is not YAML"),
        (["--set", "=4"], "--set '=4'.*expected: key=value"),
        (["--set", "method.=4"], "--set 'method.=4'.*expected: key=value"),
        (["--set", "method.stages.distil.steps=5"], "--epochs and method.stages.distil.steps are given"),
        (["--set", "seed.x=1"], r"--seed \(seed\): input should be a valid integer"),
        (["--out", ""], "--out is empty.*fix: name one, or leave --out out"),
        (["--config", "nope.yaml"], r"cannot read nope\.yaml.*fix: check --config"),
        (["--config", "data.csv"], r"data\.csv (holds a str|is not YAML)"),
        (["--label-map", "positive"], "--label-map 'positive'.*expected: data=teacher"),
        (["--label-map", "positive=good"], "the teacher has no labels of its own.*fix: leave --label-map out"),
        (["--precision", "fp16"], "'auto', 'fp32' or 'bf16', given 'fp16'"),
        (["--labels", "silver"], "'gold', 'teacher' or 'mixed', given 'silver'"),
        (["--task", "parsing"], "'tagging' or 'qa', given 'parsing'"),
        (["--teacher-features", "disk"], "'auto', 'online' or 'store', given 'disk'"),
        (["--track", "tensorbord"], "unknown tracker 'tensorbord'.*did you mean 'tensorboard'"),
        (
            ["--method", "finetune", "--labels", "teacher"],
            "method finetune has no teacher to give them.*fix: leave --labels out",
        ),
        (["--method", "finetune", "--baseline"], "it is the baseline itself.*fix: leave --baseline out"),
        (["--student", "data.csv"], r"data\.csv is a file.*expected: a model folder"),
        (["--student", "3-24"], "student '3-24' is no shape.*expected: LxH such as 3x384"),
        (["--student", "3x24"], "student 3x24 is deeper than its teacher, which has 2 layers.*expected: at most 2 layers"),
        (["--student", "1x25"], "cannot be divided among the teacher's 2 heads.*head counts that would divide 25: 1, 5, 25"),
        (["--student", "0x24"], "has 0 layers of width 24.*expected: at least one layer"),
        (["--max-length", "513"], "--max-length 513 is more than the model has positions for.*expected: at most 512"),
        (["--max-length", "2"], "--max-length 2 leaves no room for text beside the model's 2 special tokens.*at least 3"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_and_keys(here, capsys, changes, said):
    assert re.search(said, refused(here, capsys, *distil(*changes)), re.DOTALL)


def test_an_empty_run_file_is_no_demo(here, capsys):
    put("run.yaml", "# data: {source: data.csv}\n")
    assert "run.yaml is empty" in refused(here, capsys, "distill", "--config", "run.yaml", "--out", "run")


def test_unknown_keys_of_a_run_file(here, capsys):
    put("run.yaml", "data: {source: data.csv}\nmethod: {name: logit, temperatur: 2}\nsed: 1\n")
    message = refused(here, capsys, "distill", "--config", "run.yaml", "--out", "run")
    assert "2 mistakes in the configuration" in message
    assert "unknown key 'method.temperatur': did you mean 'temperature'" in message
    assert "unknown key 'sed': did you mean 'seed'" in message


@pytest.mark.parametrize(
    "change",
    """
    --epochs 0; --epochs 1e300; --epochs nan; --epochs inf; --batch-size 0; --batch-size -3; --learning-rate 0;
    --learning-rate -1e-5; --learning-rate nan; --learning-rate inf; --max-length 0; --max-length -5; --max-train 0;
    --max-train -1; --max-labels 0; --seed -1; --set data.seed=-1; --set teacher.seed=-1; --set method.temperature=.nan;
    --set method.weight_soft=-0.1; --set data.validation_share=.nan; --set method.stages.distil.warmup=.nan; --set
    teacher.finetune.epochs=.inf; --set engine.log_every=0; --set engine.checkpoint_seconds=-1
    """.strip().split(";"),
    ids=str.strip,
)
def test_non_positive_and_non_finite_numbers(here, capsys, change):
    option, value = change.split()
    message = refused(here, capsys, *distil(option, value))
    assert re.search(r"input should be (greater|less|a finite number).*, given ", message)
    assert "mistakes" not in message  # one mistake, one line
    name = value.partition("=")[0] if option == "--set" else option.removeprefix("--").replace("-", "_")
    assert name in message
