"""The command line: exit statuses, what is printed where, and that asking for help loads nothing heavy."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from tests import toy_data
from tests.commands import leave
from tests.tiny_models import make_tiny_checkpoint

import stillhouse
from stillhouse import api
from stillhouse.cli import main as cli
from stillhouse.cli.commands import one_value_an_option
from stillhouse.comparison.compare_options import COMPARE
from stillhouse.config import GROUPS
from stillhouse.methods import method_names
from stillhouse.runs.option_table import DISTILL, EVALUATE, PREDICT

TABLES = {"distill": DISTILL, "compare": COMPARE, "evaluate": EVALUATE, "predict": PREDICT}
HEAVY = {"torch", "transformers", "datasets", "sklearn", "scipy", "matplotlib", "accelerate", "pandas"}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Data, a teacher without a head, and a finished run with its output."""
    folder = tmp_path_factory.mktemp("shelf")
    toy_data.classification(folder / "data.csv", rows=60)
    make_tiny_checkpoint(folder / "bare", "bert", layers=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("STILLHOUSE_CACHE", str(folder / "cache"))
        assert leave(*COMMAND) == 0
    return folder


COMMAND = ["distill", "--data", "data.csv", "--teacher", "bare", "--student", "1x24", "--out", "run", "--allow-weak-teacher"]
COMMAND += ["--epochs", "1", "--batch-size", "8", "--max-length", "32", "--set", "teacher.finetune.epochs=1"]


@pytest.fixture
def here(shelf, monkeypatch, tmp_path):
    """The folder in which the commands run."""
    monkeypatch.chdir(tmp_path)
    for entry in shelf.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


# Help.


def test_the_version_is_that_of_the_package(capsys):
    assert leave("--version") == 0
    assert capsys.readouterr().out == f"stillhouse {stillhouse.__version__}\n"


def test_help_of_the_process_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "stillhouse", "--help"],
        env=os.environ | {"COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & (HEAVY | {"numpy", "pydantic", "yaml"})
    assert done.stdout.startswith("Usage: stillhouse ")
    for command in ("distill", "compare", "evaluate", "predict", "methods", "report"):
        assert re.search(rf"^  {command} +[A-Z]", done.stdout, re.MULTILINE)


def test_cheap_commands_import_nothing_heavy():
    script = """
import sys
from stillhouse.cli.main import main
for arguments in ["distill", "--help"], ["methods"], ["methods", "logit"], ["methods", "nothing"]:
    try:
        main(arguments)
    except SystemExit as left:
        print(left.code, file=sys.stderr)
print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    *said, modules = done.stderr.splitlines()
    assert [line for line in said if line.isdigit()] == ["0", "0", "0", "2"]
    assert not HEAVY & set(modules.split())


def lines_of(text):
    """What help shows, by option."""
    without_titles = re.sub(r"^\w.*:$", "", text, flags=re.MULTILINE)
    shown = re.split(r"^  (?=--|[A-Z])", without_titles, flags=re.MULTILINE)[1:]
    return {re.match(r"[\w-]+", one)[0].removeprefix("--"): " ".join(one.split()) for one in shown}


@pytest.mark.parametrize("command", TABLES)
def test_help_shows_every_option_of_the_table(capsys, command):
    assert leave(command, "--help") == 0
    shown = lines_of(capsys.readouterr().out)
    for name, option in TABLES[command].items():
        line = shown[name.replace("_", "-")]
        assert line.endswith(option.option.help)
        if get_origin(option.type) is Literal:
            assert f" [{'|'.join(get_args(option.type))}] " in line
    assert {"evaluate": "data", "predict": "text", "compare": "no-grid"}.get(command, "set") in shown


@pytest.mark.parametrize("command", ["distill", "compare"])
def test_help_shows_options_in_groups(capsys, command):
    assert leave(command, "--help") == 0
    titles = re.findall(r"^(\w.*):$", capsys.readouterr().out, re.MULTILINE)
    assert titles == [*GROUPS, "Options"]


@pytest.mark.parametrize("arguments", [[], ["store"]])
def test_no_summary_is_cut_short(capsys, monkeypatch, arguments):
    monkeypatch.setenv("COLUMNS", "60")
    assert leave(*arguments, "--help") == 0
    assert "..." not in capsys.readouterr().out.replace("[ARGS]...", "")


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("stillhouse comp", ["compare"]),
        ("stillhouse distill --max-", ["--max-labels", "--max-length", "--max-train"]),
        ("stillhouse compare --transfer a.txt b.txt --labels g", ["gold"]),
    ],
)
def test_the_shell_completes_commands_options_and_choices(monkeypatch, capsys, typed, completed):
    for name, value in (("_STILLHOUSE_COMPLETE", "complete_bash"), ("COMP_WORDS", typed), ("COMP_CWORD", typed.count(" "))):
        monkeypatch.setenv(name, str(value))
    assert leave() == 0
    assert sorted(capsys.readouterr().out.split()) == completed


def test_no_command_shows_help(capsys):
    leave()
    assert "Usage: stillhouse" in "".join(capsys.readouterr())


# Exit statuses.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["distil"], "No such command 'distil'. Did you mean 'distill'?"),
        (["distill", "--metod", "logit"], "No such option: --metod.*--method"),
        (["distill", "--batch-size", "1.5"], "'--batch-size'.*valid integer"),
        (["distill", "--seed"], "'--seed' requires an argument"),
        (["evaluate", "run"], "Missing option '--data'"),
        (["predict"], "Missing argument 'MODEL'"),
    ],
)
def test_a_command_that_cannot_be_parsed(capsys, arguments, said):
    assert leave(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(said, err)


def test_the_users_mistake_is_two_and_one_message_on_stderr(here, capsys):
    assert leave("distill", "--data", "nope.csv", "--teacher", "bare") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"stillhouse: there is no .*'nope\.csv'.*\n  expected: .*\n  fix: .*\n", err)


def test_anything_unforeseen_is_shown_in_full(monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(api, "distill", broken)
    with pytest.raises(ZeroDivisionError):  # for the interpreter, which prints the traceback and leaves with 1
        cli.main(["distill"])


# distill.


def test_a_run_without_a_terminal_prints_plain_lines(here, capfd):
    assert leave(*COMMAND, "--out", "plain") == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "\x1b" not in out
    assert "\r" not in out
    assert re.search(r"^  task: classification with 2 labels \(column `label`\)$", out, re.MULTILINE)
    assert re.search(r"^teacher bare has no head for classification: fine-tuning it first$", out, re.MULTILINE)
    # 60 rows - 6 (validation) - 5 (selection) = 49: 7 steps of 8.
    assert re.search(r"^  distil: 7 of 7 steps$", out, re.MULTILINE)
    assert out.endswith("\nstudent: plain/student\nreport:  plain/report.html\n")


def test_a_finished_run_is_shown_again(here, capsys):
    assert leave(*COMMAND) == 0
    out, err = capsys.readouterr()
    assert out.startswith("this run is finished; --overwrite runs it again, another --out keeps both\n")
    assert out.endswith("student: run/student\nreport:  run/report.html\n")
    assert "steps" not in out
    assert err == ""


# evaluate.


def test_evaluate_prints_scores_and_writes_them(here, capsys):
    assert leave("evaluate", "run", "--data", "data.csv", "--teacher", "run/teacher", "--out", "new/scores.json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    scores = json.loads(Path("new/scores.json").read_text())
    assert scores["rows"] == 60
    low, high = scores["student"]["interval"]
    value = f"{scores['student']['score']:.4f}"
    assert out.startswith("data: classification, 60 rows\n")
    assert "  evaluated on: 60 rows of train\n\nstudent\n" in out
    assert re.search(rf"^  accuracy +{value}   95 % interval {low:.4f} to {high:.4f}$", out, re.MULTILINE)
    assert re.search(r"^teacher \(teacher\)$", out, re.MULTILINE)
    assert re.search(rf"^agreement with the teacher {scores['agreement']:.4f}$", out, re.MULTILINE)
    assert re.search(rf"^mean KL to the teacher +{scores['kl']:.4f} nats$", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["bare", "--data", "data.csv"],
            "bare has no task head.*expected: a model that was fine-tuned.*fix: give the student/",
        ),
        (["nope", "--data", "data.csv"], "there is no folder 'nope'"),
        (["run", "--data", "nope.csv"], r"no file or folder 'nope\.csv'"),
        (["run", "--data", "data.csv", "--label", "mood"], "no column 'mood'.*expected: one of text, label"),
        (["run", "--data", "data.csv", "--teacher", "bare"], "bare has no task head"),
        (["run", "--data", "data.csv", "--max-length", "513"], "more than the model has positions for.*at most 512"),
        (["run", "--data", "data.csv", "--max-length", "0"], "max_length: input should be greater than 0"),
        (["run", "--data", "data.csv", "--precision", "half"], "'auto', 'fp32' or 'bf16', given 'half'"),
        (["run", "--data", "data.csv", "--label-map", "positive=great"], "to 'great', which is no label of the model"),
        (["run", "--data", "data.csv", "--out", "bare"], "bare is a folder.*fix: name a file"),
        (["run", "--data", "data.csv", "--out", "data.csv/x"], "data.csv/x is in the way"),
    ],
)
def test_evaluate_refuses(here, capsys, arguments, said):
    before = set(here.iterdir())
    assert leave("evaluate", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.match(rf"stillhouse: .*{said}", err, re.DOTALL)
    assert set(here.iterdir()) == before


@pytest.mark.parametrize(
    ("command", "data", "out"),
    [
        ("predict", "data.csv", "data.csv"),
        ("predict", "data.csv", "link.csv"),
        ("predict", "data.csv", "hard.csv"),
        ("predict", "data.csv", "run/metrics.json"),
        ("evaluate", "data.csv", "./data.csv"),
        ("evaluate", "data.csv", "run/student/config.json"),
    ],
)
def test_no_input_is_written_over(here, capsys, command, data, out):
    for name, link in (("link.csv", os.symlink), ("hard.csv", os.link)):
        if not Path(name).exists():
            link("data.csv", name)
    before = Path(out).read_bytes()
    assert leave(command, "run", "--data", data, "--out", out) == 2
    assert "would be written over what is read" in capsys.readouterr().err
    assert Path(out).read_bytes() == before


# predict.


@pytest.mark.parametrize("command", [["predict", "--text", "a"], ["evaluate", "--data", "data.csv"]])
def test_an_unfinished_run_is_no_model(here, capsys, command):
    for name in ("run.yaml", "teacher/config.json"):
        Path("begun", name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path("run", name), Path("begun", name))
    assert leave(command[0], "begun", *command[1:]) == 2
    assert re.search("begun is a run without a student/.*goes on where it was", capsys.readouterr().err, re.DOTALL)


def test_predict_prints_json_lines(here, capsys):
    assert leave("predict", "run", "--text", "a good movie", "--text", "") == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["text"] for row in rows] == ["a good movie", ""]
    for row in rows:
        assert row["label"] == ("negative", "positive")[row["probabilities"][1] > row["probabilities"][0]]
        assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_predict_says_what_was_left_out_and_what_a_model_does(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_tiny_checkpoint(tmp_path / "tagger", "bert", layers=1, head="tagging", labels=("O", "B-X"))
    tokenizer = json.loads(Path("tagger/tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    words = [word for word in vocabulary if word.isalpha() and len(word) > 2]
    tokenizer["model"]["vocab"] = {word.title() if word in words else word: index for word, index in vocabulary.items()}
    Path("tagger/tokenizer.json").write_text(json.dumps(tokenizer))
    Path("rows.conll").write_text("# id 1\nAnn O\nran O\n\n# id 2\nBob O\nsat O\n")
    assert leave("predict", "tagger", "--data", "rows.conll") == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["text"] for line in out.splitlines()] == [["Ann", "ran"], ["Bob", "sat"]]
    lowered, comments = err.splitlines()
    assert re.match("tagger: warning: the tokenizer lower-cases all text", lowered)
    assert comments == "rows.conll: 2 comment lines, which begin with #, were left out"
    assert api.predict("tagger", text="Ann ran")
    assert capsys.readouterr() == ("", "")


def test_predict_reads_and_writes_files(here, capsys):
    Path("texts.txt").write_text("a good movie\n\nça va très mal\n", encoding="utf-8")
    assert leave("predict", "run/teacher", "--data", "texts.txt", "--out", "new/out.jsonl") == 0
    assert capsys.readouterr() == ("2 predictions in new/out.jsonl\n", "")
    lines = Path("new/out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["a good movie", "ça va très mal"]
    assert "ça" in lines[1]  # as it is, not escaped


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "neither or both of text and data.*fix: give --text or --data"),
        (["run", "--text", "a", "--data", "data.csv"], "neither or both of text and data"),
        (["run", "--text", "a", "--text-pair", "b", "--text-pair", "c"], "1 texts and 2 second texts"),
        (["run", "--data", "nope.csv"], r"no file or folder 'nope\.csv'"),
        (["bare", "--text", "a"], "bare has no task head"),
        (["nope", "--text", "a"], "there is no folder 'nope'"),
        (["run", "--text", "a", "--max-length", "0"], "max_length: input should be greater than 0"),
        (["run", "--text", "a", "--precision", "half"], "'auto', 'fp32' or 'bf16', given 'half'"),
        (["run", "--text", "a", "--out", "bare"], "bare is a folder"),
    ],
)
def test_predict_refuses(here, capsys, arguments, said):
    assert leave("predict", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.match(rf"stillhouse: .*{said}", err, re.DOTALL)


# methods and report.


def test_methods(capsys):
    assert leave("methods") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == method_names()
    assert leave("methods", "logit") == 0
    assert "1503.02531" in capsys.readouterr().out
    assert leave("methods", "logits") == 2
    assert re.search("unknown method 'logits'.*did you mean 'logit'", capsys.readouterr().err, re.DOTALL)


def test_report_is_written_again(here, capsys):
    report = Path("run/report.html")
    before = report.read_text(encoding="utf-8")
    report.write_text("")
    assert leave("report", "run") == 0
    assert capsys.readouterr() == ("run/report.html\n", "")
    assert report.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("folder", ["nope", "bare", "data.csv"])
def test_report_needs_a_finished_run(here, capsys, folder):
    assert leave("report", folder) == 2
    assert f"stillhouse: {folder} is not a finished run" in capsys.readouterr().err


def test_a_damaged_record_is_said(here, capsys):
    for name in ("run.yaml", "metrics.json", "report.html"):
        Path("broken", name).parent.mkdir(exist_ok=True)
        Path("broken", name).write_bytes((here / "run" / name).read_bytes())
    Path("broken/metrics.json").write_text('{"schema": 1,')
    assert leave(*COMMAND, "--out", "broken") == 2
    assert re.search(r"broken/metrics\.json is damaged: .*--overwrite", capsys.readouterr().err, re.DOTALL)
    assert leave("report", "broken") == 2
    assert re.search(r"broken/metrics\.json is damaged", capsys.readouterr().err)


def test_an_option_of_many_values_may_be_given_once():
    given = "distill --transfer a.txt b.txt --labels mixed --transfer c.txt --out run"
    expected = "distill --transfer a.txt --transfer b.txt --labels mixed --transfer c.txt --out run"
    assert one_value_an_option(["--transfer"], given.split()) == expected.split()
    assert one_value_an_option(["--transfer"], ["distill", "--transfer"]) == ["distill", "--transfer"]
    assert one_value_an_option(["--transfer"], ["--transfer=a.txt", "b.txt"]) == ["--transfer=a.txt", "b.txt"]
    both = one_value_an_option(["--transfer", "--more"], ["--more", "a", "b", "--transfer", "c", "d"])
    assert both == ["--more", "a", "--more", "b", "--transfer", "c", "--transfer", "d"]


@pytest.mark.parametrize("command", ["distill", "compare"])
def test_the_command_gives_what_was_typed(monkeypatch, command):
    taken = {}
    monkeypatch.setattr(api, command, lambda **given: taken.update(given))
    typed = "--transfer a.txt b.txt --corpus c.txt d --assistant 6x384 --label-map x=y --allow-weak-teacher --epochs 2"
    typed += " --store here --set seed=3 --set out=o"
    assert leave(command, *typed.split()) == 0
    options = {name: value for name, value in taken.items() if name in TABLES[command] and value is not None}
    assert options == {
        "transfer": ["a.txt", "b.txt"],
        "corpus": ["c.txt", "d"],
        "assistant": "6x384",
        "label_map": ["x=y"],
        "allow_weak_teacher": True,
        "epochs": 2.0,
        "store": "here",
    }
    assert taken["changes"] == ["seed=3", "out=o"]
    assert (taken["config"], taken["overwrite"], taken["quiet"]) == (None, False, False)


def test_a_flag_may_be_left_open(monkeypatch):
    taken = []
    monkeypatch.setattr(api, "distill", lambda **given: taken.append(given["baseline"]))
    for typed in ([], ["--baseline"], ["--no-baseline"]):
        leave("distill", *typed)
    assert taken == [None, True, False]


def test_a_grid_is_given_or_left_out(monkeypatch):
    taken = []
    monkeypatch.setattr(api, "compare", lambda **given: taken.append(given["grid"]))
    for typed in ([], ["--grid", "1e-4,3e-4"], ["--no-grid"]):
        leave("compare", *typed)
    assert taken == [None, "1e-4,3e-4", False]


def test_a_model_that_is_not_as_its_run_left_it(here, capsys):
    for name in ("run.yaml", "metrics.json"):
        Path("changed", name).parent.mkdir(exist_ok=True)
        Path("changed", name).write_bytes((here / "run" / name).read_bytes())
    shutil.copytree("run/student", "changed/student")
    with Path("changed/student/README.md").open("a") as card:
        card.write("My own words.\n")
    assert leave("predict", "changed", "--text", "a good movie") == 0
    weights = bytearray(Path("changed/student/model.safetensors").read_bytes())
    weights[-1] ^= 1
    Path("changed/student/model.safetensors").write_bytes(weights)
    capsys.readouterr()
    for model in ("changed", "changed/student"):
        assert leave("predict", model, "--text", "a good movie") == 2
        assert "changed/student/model.safetensors is damaged: its checksum does not agree" in capsys.readouterr().err
    shutil.copytree("changed/student", "copy")
    assert leave("predict", "copy", "--text", "a good movie") == 0


def test_half_of_a_surrogate_pair_in_a_text(here, capsys):
    assert leave("predict", "run", "--text", "a", "--text", "b\udcff") == 2
    assert "--text 2: the text holds half of a surrogate pair" in capsys.readouterr().err
