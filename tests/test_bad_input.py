"""What a user may get wrong: one clear message, exit status 2, nothing trained and nothing left behind."""

import contextlib
import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import textwrap
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models

from stillhouse import UserError, run
from stillhouse.cli.main import main
from stillhouse.files import write_atomically, write_text
from stillhouse.training.checkpoint import load_checkpoint
from tests import toy_data
from tests.tiny_models import make_tiny_checkpoint

SIDES = "".join(f"good movie {row},pos\nbad movie {row},neg\n" for row in range(20))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Tiny models: `bare` without a head, `headed` with one, `constant` whose head always says the same."""
    folder = tmp_path_factory.mktemp("models")
    make_tiny_checkpoint(folder / "bare", "bert", layers=2)
    for name in ("headed", "constant"):
        make_tiny_checkpoint(folder / name, "bert", layers=2, head="classification", labels=("negative", "positive"))
    weights = load_file(folder / "constant" / "model.safetensors")
    weights["classifier.weight"].zero_()
    save_file(weights, folder / "constant" / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch, shelf):
    """The working folder: data.csv, and links to the models. Runs that come to their end there write an empty report."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "write_report", lambda folder: write_text(folder / "report.html", ""))
    toy_data.classification(tmp_path / "data.csv", rows=60)
    for model in shelf.iterdir():
        (tmp_path / model.name).symlink_to(model)
    return tmp_path


def distil(*changes: str) -> list[str]:
    """A small run's command; of an option that is given twice the later value counts."""
    usual = "distill --data data.csv --teacher bare --student 1x24 --epochs 1 --max-length 32 --out run --precision fp32"
    return [*usual.split(), "--set", "teacher.finetune.epochs=1", *changes]


def leave(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    return left.value.code


def refused(here: Path, capsys, *arguments: str) -> str:
    """The message of a command that is refused and leaves nothing behind."""
    before = set(here.rglob("*"))
    assert leave(*arguments) == 2
    assert set(here.rglob("*")) == before
    message = capsys.readouterr().err
    assert message.count("stillhouse: ") == 1
    assert message.startswith("stillhouse: ")
    assert "Traceback" not in message
    return message


def put(name: str, content: str | bytes) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


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
    "folder without split files": (
        {"set/reviews.csv": f"text,label\n{SIDES}"},
        ["--data", "set"],
        r"set has no train split.*expected: names such as train\.tsv.*fix: rename the files",
    ),
    "no text": ({"a.csv": "text,label\n,pos\n,neg\n"}, ["--data", "a.csv"], "no row has a text in column 'text'"),
    "too few rows": ({"a.csv": "text,label\na,x\nb,y\n"}, ["--data", "a.csv"], "2 labelled rows.*expected: at least 3"),
    "missing transfer file": ({}, ["--transfer", "more.txt"], r"there is no file more\.txt"),
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
        (config_of(b"{garbage"), r"config\.json cannot be read.*expected: JSON"),
        (config_of(b"\xff\x00\x01"), r"config\.json cannot be read.*expected: JSON"),
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
        (["--method", "logits"], "unknown method 'logits'.*expected: one of finetune, logit.*did you mean 'logit'"),
        (["--set", "method.name=3"], "unknown method '3'"),
        (["--set", "method=[1]"], r"method is \[1\].*expected: a name"),
        (["--set", "method.temprature=3"], "unknown key 'method.temprature': did you mean 'temperature'"),
        (["--set", "teecher.source=x"], "unknown key 'teecher': did you mean 'teacher'"),
        (["--set", "method.stages.distil.lr=1"], "unknown key 'method.stages.distil.lr': .*learning_rate"),
        (["--set", "seed"], "--set 'seed'.*expected: key=value"),
        (["--set", "seed=[1"], "the value is not YAML"),
        (["--set", "seed.x=1"], r"--seed \(seed\): input should be a valid integer"),
        (["--config", "nope.yaml"], r"cannot read nope\.yaml.*fix: check --config"),
        (["--config", "data.csv"], r"data\.csv (holds a str|is not YAML)"),
        (["--label-map", "positive"], "--label-map 'positive'.*expected: data=teacher"),
        (["--label-map", "positive=good"], "the teacher has no labels of its own.*fix: leave --label-map out"),
        (["--precision", "fp16"], "'auto', 'fp32' or 'bf16', given 'fp16'"),
        (["--labels", "silver"], "'gold', 'teacher' or 'mixed', given 'silver'"),
        (["--task", "parsing"], "'tagging' or 'qa', given 'parsing'"),
        (["--teacher-features", "disk"], "'auto' or 'online', given 'disk'"),
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


def test_unknown_keys_of_a_run_file(here, capsys):
    put("run.yaml", "data: {source: data.csv}\nmethod: {name: logit, temperatur: 2}\nsed: 1\n")
    message = refused(here, capsys, "distill", "--config", "run.yaml", "--out", "run")
    assert "2 mistakes in the configuration" in message
    assert "unknown key 'method.temperatur': did you mean 'temperature'" in message
    assert "unknown key 'sed': did you mean 'seed'" in message


@pytest.mark.parametrize(
    "change",
    """
    --epochs 0; --epochs nan; --epochs inf; --batch-size 0; --batch-size -3; --learning-rate 0; --learning-rate -1e-5;
    --learning-rate nan; --learning-rate inf; --max-length 0; --max-length -5; --max-train 0; --max-train -1; --max-labels 0;
    --seed -1; --set data.seed=-1; --set teacher.seed=-1; --set method.temperature=.nan; --set method.weight_soft=-0.1;
    --set data.validation_share=.nan; --set method.stages.distil.warmup=.nan; --set teacher.finetune.epochs=.inf;
    --set engine.log_every=0; --set engine.checkpoint_seconds=-1
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


# The output folder.


def test_the_folder_of_another_run(here, capsys):
    assert leave(*distil("--allow-weak-teacher", "--max-train", "40")) == 0
    capsys.readouterr()
    message = refused(here, capsys, *distil("--max-train", "40", "--seed", "1"))
    assert re.search(
        "run is the folder of another run: seed is 0 there, 1 here.*fix: choose another --out, or", message, re.DOTALL
    )
    message = refused(here, capsys, "distill", "--config", "run/run.yaml", "--seed", "1")
    assert "seed is 0 there, 1 here" in message
    # An option that is left out is a change as well.
    assert "data.max_train is 40 there, None here" in refused(here, capsys, *distil())
    assert "method.name is 'logit' there, 'finetune' here" in refused(here, capsys, *distil("--method", "finetune"))
    assert leave("distill", "--config", "run/run.yaml") == 0
    assert "this run is finished" in capsys.readouterr().out
    put("run/run.yaml", "a: [")
    assert "is not YAML" in refused(here, capsys, *distil("--max-train", "40"))


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("bare", "bare is not a run folder and is not empty.*expected: a new folder"),
        ("data.csv", r"data\.csv is a file.*expected: a new folder"),
        ("data.csv/run", r"data\.csv/run is in the way: a file stands where a folder is needed"),
        ("x" * 300, "cannot be written: File name too long"),
    ],
)
def test_a_folder_that_is_something_else(here, capsys, out, said):
    for more in ([], ["--overwrite"]):
        assert re.search(said, refused(here, capsys, *distil("--out", out, "--allow-weak-teacher", *more)), re.DOTALL)


def test_a_start_that_was_killed_does_not_stand_in_the_way(here, capsys):
    # Killed while run.yaml was written: the folder holds nothing but a temporary file.
    put("run/.run.yaml.4711.tmp", "data: {sou")
    assert leave(*distil("--allow-weak-teacher")) == 0
    assert not list(here.rglob(".*.tmp"))


@contextlib.contextmanager
def largest_file(size: int):
    """No file may become larger: the system then refuses to write, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_space_for_the_first_file(here, capsys):
    with largest_file(100):
        message = refused(here, capsys, *distil("--out", "runs/new/run"))
    assert re.search(
        r"no space left while writing runs/new/run/run\.yaml.*fix: free some, or choose another", message, re.DOTALL
    )


def test_too_little_space_is_noticed_before_training(here, capsys, monkeypatch):
    disk = namedtuple("disk", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: disk(10**9, 10**9 - 300_000, 300_000))
        message = refused(here, capsys, *distil())
    assert re.search(r"no space left for run: 0 MiB are free.*expected: about 2 MiB.*fix: free some", message, re.DOTALL)


def test_a_disk_that_fills_up_loses_nothing(here, capsys):
    with largest_file(50_000):
        assert leave(*distil("--allow-weak-teacher")) == 2
    message = capsys.readouterr().err
    assert re.search(r"no space left while writing run/checkpoints/teacher/checkpoint\.pt", message)
    assert not list(here.rglob(".*.tmp"))
    assert leave(*distil("--allow-weak-teacher")) == 0


WRITERS = {
    "safetensors": lambda path: save_file({"a": torch.zeros(5000)}, path),
    "tokenizers": lambda path: Tokenizer(models.WordPiece({f"a{n}": n for n in range(5000)}, unk_token="a0")).save(str(path)),
    "python": lambda path: path.write_bytes(bytes(20_000)),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_says_that_there_is_no_space(tmp_path, writer):
    (tmp_path / "file").write_text("before")
    with largest_file(10_000), pytest.raises(UserError, match=r"no space left while writing .*file"):
        write_atomically(tmp_path / "file", WRITERS[writer])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "before"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space left while writing run"),
        (errno.EDQUOT, "no space left while writing run"),
        (errno.EACCES, "no permission to write run.*expected: a folder that can be written"),
        (errno.EROFS, "no permission to write run"),
        (errno.EIO, "run/run.yaml cannot be written: Input/output error"),
    ],
)
def test_what_the_system_refuses_at_the_output(here, capsys, monkeypatch, number, said):
    real = os.replace

    def refuse(source, target):
        if Path(target).name == "run.yaml":
            raise OSError(number, os.strerror(number))
        real(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    assert re.search(said, refused(here, capsys, *distil()), re.DOTALL)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="has no /proc, where nobody may make a folder")
def test_a_place_where_no_folder_can_be_made(here, capsys):
    assert "/proc/run cannot be written" in refused(here, capsys, *distil("--out", "/proc/run"))


# The hub.


@pytest.mark.parametrize("change", ["--data hub:owner/name", "--data sst2", "--teacher owner/name", "--student owner/name"])
def test_a_hub_that_is_switched_off(here, capsys, change):
    import datasets  # noqa: F401 - takes its time, which is not the hub's

    started = time.monotonic()
    message = refused(here, capsys, *distil(*change.split()))
    assert re.search("HF_HUB_OFFLINE.*fix: ", message, re.DOTALL)
    assert time.monotonic() - started < 10


def test_a_hub_that_cannot_be_reached_is_said_at_once(here):
    # Nothing listens on port 9: every connection is refused. The libraries read their settings when they are imported.
    script = """
        import time, datasets, stillhouse.run
        from stillhouse.cli.main import main
        for change in ("--data", "hub:owner/name"), ("--data", "sst2"), ("--teacher", "owner/name"):
            started = time.monotonic()
            try:
                main(["distill", "--data", "data.csv", "--teacher", "bare", "--out", "run", *change])
            except SystemExit as left:
                print(left.code, time.monotonic() - started < 10)
        """
    hidden = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    env |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(here / "hub"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["2", "True"] * 3
    assert done.stderr.count("stillhouse: ") == 3
    assert done.stderr.count("cannot be reached") == 3
    assert done.stderr.count("fix: ") == 3
    assert "Traceback" not in done.stderr
    assert not Path("run").exists()


# A loss that is not finite.


DIVERGING = ["--learning-rate", "1e30", "--set", "method.stages.distil.max_grad_norm=0", "--allow-weak-teacher"]


@pytest.mark.parametrize("batch_size", ["16", "64"])
def test_a_loss_that_is_nan_stops_the_run(here, capsys, batch_size):
    # With 64 rows a step there is one step: its loss is finite, and only what the student says afterwards is not.
    assert leave(*distil(*DIVERGING, "--batch-size", batch_size)) == 1
    message = capsys.readouterr().err
    what = "objective 'hard_labels' is (nan|inf)" if batch_size == "16" else "the model's outputs are NaN or infinite"
    assert re.search(rf"^stillhouse: stage 'distil', step \d: {what}", message)
    assert "kept in run/checkpoints/distil/checkpoint.pt\n" in message
    assert "\n  fix: with --overwrite, a lower learning rate (now 1e+30)\n" in message
    assert "Traceback" not in message
    content = torch.load("run/checkpoints/distil/checkpoint.pt", weights_only=True)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in content["module"].values())
    assert not Path("run/metrics.json").exists()
    assert not Path("run/student").exists()


# Files of an interrupted run that a disk has lost.


@pytest.fixture
def interrupted(here, capsys):
    """A run that stopped in the student's stage: its teacher is finished, its first checkpoint is there."""
    assert leave(*distil(*DIVERGING)) == 1
    capsys.readouterr()
    return here / "run" / "checkpoints"


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("distil/checkpoint.pt", half),
        ("distil/checkpoint.pt", lambda path: path.write_bytes(b"")),
        ("distil/checkpoint.pt", lambda path: path.write_bytes(b"garbage")),
        ("distil/checkpoint.pt", lambda path: torch.save({"identity": 1}, path)),
        ("teacher/finished.json", half),
        ("teacher/finished.json", lambda path: path.write_text("{}")),
        ("teacher/final.safetensors", half),
        ("teacher/final.safetensors", Path.unlink),
    ],
)
def test_a_damaged_checkpoint(here, interrupted, capsys, file, damage):
    damage(interrupted / file)
    assert leave(*distil(*DIVERGING)) == 2
    message = capsys.readouterr().err
    stage = file.partition("/")[0]
    assert re.search(
        rf"run/checkpoints/{file} is damaged: .*fix: delete run/checkpoints/{stage}, .*--overwrite", message, re.DOTALL
    )
    assert "Traceback" not in message
    assert "weights_only" not in message  # torch's own advice would run code of the file
    shutil.rmtree(interrupted / stage)
    assert leave(*distil(*DIVERGING)) == 1  # as at first: it diverges


def test_changed_data_are_no_continuation(here, interrupted, capsys):
    toy_data.classification(here / "data.csv", rows=60, seed=1)
    assert leave(*distil(*DIVERGING)) == 2
    assert re.search(
        "belongs to other data.*fix: restore them, start anew with --overwrite", capsys.readouterr().err, re.DOTALL
    )


def test_a_default_that_differs_from_what_was_given_is_no_continuation(here, interrupted, capsys):
    command = distil(*DIVERGING)
    at = command.index("--max-length")
    message = refused(here, capsys, *command[:at], *command[at + 2 :])
    assert "run is the folder of another run: data.max_length is 32 there, 128 here" in message


def test_a_checkpoint_of_another_identity(here, interrupted):
    with pytest.raises(UserError, match="belongs to other data, another teacher or another configuration"):
        load_checkpoint(interrupted / "distil" / "checkpoint.pt", "another")


# Odd but right.


@pytest.mark.parametrize(
    ("name", "content", "labels"),
    [
        ("bom.csv", f"\ufefftext,label\n{SIDES}", ["neg", "pos"]),
        ("windows.csv", f"text,label\n{SIDES}".replace("\n", "\r\n"), ["neg", "pos"]),
        ("windows.tsv", f"text,label\n{SIDES}".replace(",", "\t").replace("\n", "\r\n"), ["neg", "pos"]),
        ("gaps.csv", f"text,label\n,pos\n{SIDES}", ["neg", "pos"]),
        ("floats.csv", f"text,label\n{SIDES}".replace("pos", "1.0").replace("neg", "0.0"), ["0", "1"]),
    ],
)
def test_files_of_other_programs_are_read(here, name, content, labels):
    put(name, content)
    assert leave(*distil("--data", name, "--allow-weak-teacher")) == 0
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["labels"] == labels
    assert sum(metrics["splits"][split] for split in ("train", "selection", "validation")) == 40
