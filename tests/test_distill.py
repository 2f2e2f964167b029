"""Whole runs on toy data with tiny encoders: every task, the run folder, what comes out."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
import transformers
import yaml

from stillhouse import UserError, distill, evaluate, predict
from stillhouse.files import cache_folder
from stillhouse.report import write_report
from tests import toy_data
from tests.commands import leave
from tests.tiny_models import make_tiny_checkpoint
from tests.toy_data import TASKS

pytestmark = pytest.mark.usefixtures("empty_reports")

GOOD = ["teacher.finetune.learning_rate=0.003", "teacher.finetune.epochs=8", "teacher.finetune.batch_size=16"]
SLOW = ["teacher.finetune.learning_rate=0.002", "teacher.finetune.epochs=12", "teacher.finetune.batch_size=16"]  # for numbers
QUICK = ["teacher.finetune.epochs=1"]


@pytest.fixture
def teacher(tmp_path):
    return str(make_tiny_checkpoint(tmp_path / "tiny-bert", "bert", layers=4, hidden=24, heads=2))


def run_toy(tmp_path, data, teacher, **options):
    values = {"method": "logit", "student": "2x24", "epochs": 1, "batch_size": 16, "learning_rate": 3e-3, "max_length": 48}
    values |= {"changes": QUICK, "out": tmp_path / "run", "allow_weak_teacher": True} | options
    return distill(data=str(data), teacher=teacher, **values)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, empty_reports):
    """The data and a run of a kind of task, with a teacher that knows it and a baseline; made when first asked for."""
    made = {}

    def of(task):
        if task not in made:
            folder = tmp_path_factory.mktemp(task)
            tiny = str(make_tiny_checkpoint(folder / "tiny-bert", "bert", layers=4, hidden=24, heads=2))
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("STILLHOUSE_CACHE", str(folder / "cache"))
                data, changes = TASKS[task](folder), SLOW if task == "regression" else GOOD
                made[task] = data, run_toy(folder, data, tiny, epochs=4, changes=changes, baseline=True)
        return made[task]

    return of


@pytest.mark.parametrize("task", TASKS)
def test_every_task_with_logit_and_its_baseline(finished, task):
    _, run = finished(task)
    metrics = run.metrics
    kind = "classification" if task == "pair" else task
    assert metrics["task"] == kind
    assert metrics["schema"] == 1
    for role in ("teacher", "student", "baseline"):
        entry = metrics[role]
        assert math.isfinite(entry["score"])
        assert entry["interval"][0] <= entry["score"] <= entry["interval"][1]
        assert entry["parameters"] == sum(p.numel() for p in run.student.parameters()) or role == "teacher"
        assert (entry["ece"] is None) == (kind == "regression")
    assert metrics["baseline"]["start"] == metrics["student"]["start"] == "layers 1, 4 of tiny-bert"
    assert metrics["teacher"]["parameters"] > metrics["student"]["parameters"]
    assert metrics["agreement"] > (0.0 if kind == "qa" else 0.3)  # spans of tiny encoders seldom agree to the letter
    assert (metrics["kl"] is None) == (kind == "regression")
    names = [stage["name"] for stage in metrics["stages"]]
    assert names == ["teacher", "distil", "baseline"]
    assert metrics["stages"][1]["steps"] == metrics["stages"][2]["steps"]
    lines = (run.folder / "predictions.jsonl").read_text().splitlines()
    assert len(lines) == metrics["splits"]["validation"]
    assert {"id", "text", "gold", "teacher", "student", "baseline"} <= json.loads(lines[0]).keys()
    if task in ("classification", "qa"):  # drawing takes long; tests/report has the pages of all kinds
        assert "<html" in write_report(run.folder).read_text(encoding="utf-8")
    assert not (run.folder / "checkpoints").exists()
    logged = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    objectives = [line["objectives"] for line in logged if line["stage"] == "distil" and "objectives" in line]
    assert all(objective.keys() == {"hard_labels", "soft_labels"} for objective in objectives)
    assert sum(objectives[-1].values()) < sum(objectives[0].values())


@pytest.mark.parametrize("task", TASKS)
def test_every_task_with_finetune(tmp_path, teacher, task):
    run = run_toy(tmp_path, TASKS[task](tmp_path, rows=60), teacher, method="finetune")
    metrics = run.metrics
    assert metrics["teacher"] is None
    assert [metrics[name] for name in ("retention", "agreement", "kl")] == [None] * 3
    assert "baseline" not in metrics
    assert not (run.folder / "teacher").exists()


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression", "tagging", "qa"])
def test_evaluate_and_predict_agree_with_the_run(finished, task):
    data, run = finished(task)
    held_out = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]
    rows = held_out[:7]
    assert transformers.AutoConfig.from_pretrained(run.folder / "student").stillhouse["max_length"] == 48
    given = predict(
        run.folder,
        text=[" ".join(row["text"]) if task == "tagging" else row["text"] for row in rows],
        text_pair=[row["text_pair"] for row in rows] if task == "qa" else None,
    )
    for row, said in zip(rows, given, strict=True):
        for name, value in row["student"].items():
            if value is None or isinstance(value, str) or task == "tagging" or name == "labels":
                assert said[name] == value
            else:
                assert np.allclose(said[name], value, atol=1e-4)
    scores = evaluate(run.folder, str(data), teacher=run.folder / "teacher")
    assert scores["task"] == run.metrics["task"]
    assert (0.0 if task == "qa" else 0.3) < scores["agreement"] <= 1.0
    assert scores["student"]["scores"].keys() == run.metrics["student"]["scores"].keys()
    assert predict(run.folder, data=str(data))[0].keys() >= {"text"}


def test_a_kept_teacher_of_other_data_never_stays_in_the_folder(tmp_path, teacher):
    """A run takes a kept teacher and is killed; the data change; the teacher that is saved and kept is the new one."""
    first = toy_data.classification(tmp_path / "data.csv", rows=60)
    run_toy(tmp_path, first, teacher, out=tmp_path / "one")
    stale = (tmp_path / "one" / "teacher" / "model.safetensors").read_bytes()
    toy_data.classification(tmp_path / "data.csv", rows=60, seed=5)
    (tmp_path / "two").mkdir()
    shutil.copy(tmp_path / "one" / "run.yaml", tmp_path / "two")
    shutil.copytree(tmp_path / "one" / "teacher", tmp_path / "two" / "teacher")
    run_toy(tmp_path, first, teacher, out=tmp_path / "two")
    fresh = (tmp_path / "two" / "teacher" / "model.safetensors").read_bytes()
    assert fresh != stale
    kept = run_toy(tmp_path, first, teacher, out=tmp_path / "three")
    assert (kept.folder / "teacher" / "model.safetensors").read_bytes() == fresh


@pytest.mark.parametrize("features", ["store", "online"])
def test_features_are_kept_where_the_run_is_told_to(tmp_path, teacher, features):
    data = toy_data.classification(tmp_path / "data.csv", rows=60)
    run_toy(tmp_path, data, teacher, teacher_features=features, store=str(tmp_path / "kept"))
    assert bool(list((tmp_path / "kept").glob("*/*.safetensors"))) == (features == "store")
    assert not cache_folder("features").exists()


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_kept_teacher_is_named_and_fitted_again(tmp_path, teacher, damage, capsys):
    data = toy_data.classification(tmp_path / "data.csv", rows=60)
    run_toy(tmp_path, data, teacher, out=tmp_path / "one", quiet=False)
    (kept,) = cache_folder("teachers").glob("*/model.safetensors")
    whole = kept.read_bytes()
    wrong = bytearray(whole)
    wrong[len(wrong) // 2] ^= 1
    kept.unlink() if damage == "gone" else kept.write_bytes(wrong if damage == "flipped" else whole[:-9])
    capsys.readouterr()
    run_toy(tmp_path, data, teacher, out=tmp_path / "two", quiet=False)
    said = capsys.readouterr().out
    assert (f"the model that is kept in {kept.parent} is damaged" in said) == (damage != "gone")
    assert "teacher: " in said  # was fitted again
    assert kept.read_bytes() == whole
    run_toy(tmp_path, data, teacher, out=tmp_path / "three", quiet=False)
    assert "teacher: " not in capsys.readouterr().out


def test_the_command_shows_checks_and_frees_fitted_teachers(tmp_path, teacher, capsys):
    data = toy_data.classification(tmp_path / "data.csv", rows=60)
    run_toy(tmp_path, data, teacher)
    (weights,) = cache_folder("teachers").glob("*/model.safetensors")
    name = weights.parent.name[:8]
    assert leave("store", "ls") == 0
    assert re.search(f"{name} .* MiB .* BertForSequenceClassification: negative, positive\n", capsys.readouterr().out)
    assert leave("store", "verify") == 0
    weights.write_bytes(weights.read_bytes()[:-1])
    capsys.readouterr()
    assert leave("store", "verify") == 1
    assert capsys.readouterr().out.startswith(f"{weights.parent}: the checksum")
    (weights.parent / "config.json").write_text("[]", encoding="utf-8")
    assert leave("store", "ls") == 0
    assert re.search(f"{name} .* \\?\n", capsys.readouterr().out)
    assert leave("store", "rm", "no-such-name") == 2
    assert leave("store", "rm", name) == 0
    assert list(cache_folder("teachers").iterdir()) == []
    assert leave("store", "rm", "--all") == 0
    assert leave("store", "ls") == 0


def test_weights_are_as_readable_as_the_files_beside_them(tmp_path, teacher):
    data = toy_data.classification(tmp_path / "data.csv", rows=60)
    run = run_toy(tmp_path, data, teacher)
    modes = {path.stat().st_mode for folder in ("student", "teacher") for path in (run.folder / folder).iterdir()}
    assert len(modes) == 1


def test_a_whole_run_in_bf16(tmp_path, teacher):
    data = toy_data.classification(tmp_path / "data.csv", rows=60)
    run = run_toy(tmp_path, data, teacher, precision="bf16")
    assert run.metrics["environment"]["precision"] == "bf16"
    assert math.isfinite(run.metrics["kl"])
    assert all(tensor.dtype != torch.bfloat16 for tensor in run.student.state_dict().values())


def test_the_student_is_a_plain_model(tmp_path, teacher):
    run = run_toy(tmp_path, TASKS["classification"](tmp_path, rows=60), teacher)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run.folder / "student")
    tokenizer = transformers.AutoTokenizer.from_pretrained(run.folder / "student")
    assert model.config.id2label == {0: "negative", 1: "positive"}
    assert model.config.num_hidden_layers == 2
    inputs = tokenizer("a good movie", return_tensors="pt")
    with torch.inference_mode():
        loaded, ours = model.eval()(**inputs).logits, run.student(**inputs).logits
    assert torch.equal(loaded, ours)
    assert "distilled from tiny-bert" in (run.folder / "student" / "README.md").read_text()
    assert run.tokenizer.get_vocab() == tokenizer.get_vocab()


def test_a_teacher_with_a_head_is_used_as_it_is_and_labels_follow_its_names(tmp_path):
    folder = make_tiny_checkpoint(tmp_path / "sure", "bert", head="classification", labels=("POSITIVE", "NEGATIVE"))
    data = toy_data.classification(tmp_path / "data.csv", rows=60)
    run = run_toy(tmp_path, data, str(folder))
    assert run.metrics["labels"] == ["POSITIVE", "NEGATIVE"]
    assert not (run.folder / "teacher").exists()
    assert [stage["name"] for stage in run.metrics["stages"]] == ["distil"]
    assert run.student.config.id2label == {0: "POSITIVE", 1: "NEGATIVE"}


def test_another_tokenizer_can_be_distilled_into(tmp_path, teacher):
    student = make_tiny_checkpoint(tmp_path / "tiny-roberta", "roberta", layers=2)
    run = run_toy(tmp_path, TASKS["tagging"](tmp_path, rows=60), teacher, student=str(student))
    assert run.metrics["student"]["name"] == "tiny-roberta"
    assert run.metrics["kl"] >= 0
    data = TASKS["qa"](tmp_path, rows=60)
    with pytest.raises(UserError, match="different tokens"):
        run_toy(tmp_path, data, teacher, student=str(student), out=tmp_path / "other")


def test_a_fitted_teacher_is_kept_and_used_again(tmp_path, teacher):
    data = TASKS["classification"](tmp_path, rows=60)
    first = run_toy(tmp_path, data, teacher)
    second = run_toy(tmp_path, data, teacher, seed=1, out=tmp_path / "second")
    assert first.metrics["teacher"]["score"] == second.metrics["teacher"]["score"]
    assert [stage["name"] for stage in second.metrics["stages"]] == ["distil"]
    assert second.metrics["seed"] == 1


def test_a_run_file_repeats_the_run(tmp_path, teacher):
    data = TASKS["classification"](tmp_path, rows=60)
    first = run_toy(tmp_path, data, teacher)
    content = yaml.safe_load((first.folder / "run.yaml").read_text())
    assert content["data"]["max_length"] == 48
    assert content["baseline"] is False
    again = distill(config=first.folder / "run.yaml", out=tmp_path / "again")
    for name in ("score", "ece", "interval"):
        assert first.metrics["student"][name] == again.metrics["student"][name]
    one, other = first.student.state_dict(), again.student.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_finished_run_is_shown_and_left_alone(tmp_path, teacher, capsys):
    data = TASKS["classification"](tmp_path, rows=60)
    first = run_toy(tmp_path, data, teacher)
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*") if path.is_file()}
    run_toy(tmp_path, data, teacher, quiet=False)
    assert "this run is finished" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in first.folder.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"is the folder of another run.*epochs"):
        run_toy(tmp_path, data, teacher, epochs=2)
    steps = first.metrics["stages"][-1]["steps"]
    again = run_toy(tmp_path, data, teacher, epochs=2, overwrite=True)
    assert again.metrics["stages"][-1]["steps"] == 2 * steps


@pytest.mark.parametrize("labels", ["gold", "teacher", "mixed"])
def test_which_labels_train_the_student(tmp_path, teacher, labels):
    data = TASKS["classification"](tmp_path, rows=60)
    run = run_toy(tmp_path, data, teacher, labels=labels, changes=[*QUICK, "engine.log_every=1"])
    lines = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    hard = [line["objectives"]["hard_labels"] for line in lines if line["stage"] == "distil" and "objectives" in line]
    rows = run.metrics["splits"]
    used = rows["labelled"] if labels == "gold" else rows["train"]
    assert run.metrics["stages"][-1]["steps"] == math.ceil(used / 16)
    assert rows["train"] == rows["labelled"] + 15
    assert (max(hard) == 0.0) == (labels == "teacher")


def test_max_labels_and_transfer(tmp_path, teacher):
    data = toy_data.classification(tmp_path / "data.csv", rows=200)
    options = {"max_labels": 50}
    without = run_toy(tmp_path, data, teacher, **options)
    held_out = json.loads((without.folder / "predictions.jsonl").read_text().splitlines()[0])["text"]
    more = tmp_path / "more.txt"
    more.write_text(f"a fine day in the city\nthe dull plot\n{held_out}\n")
    run = run_toy(tmp_path, data, teacher, transfer=[str(more)], out=tmp_path / "more-text", **options)
    splits = run.metrics["splits"]
    assert splits["labelled"] + splits["selection"] == 50
    assert splits["train"] == without.metrics["splits"]["train"] + 2
    assert any("1 without a label were dropped" in note for note in run.metrics["notes"])


def test_trackers_get_the_numbers(tmp_path, teacher):
    data = toy_data.classification(tmp_path / "data.csv", rows=60)
    run = run_toy(tmp_path, data, teacher, track=["tensorboard"])
    assert list(run.folder.rglob("events.out.tfevents.*"))
    with pytest.raises(UserError, match=r"unknown tracker 'tensorbord'.*(?s:.*)did you mean 'tensorboard'"):
        run_toy(tmp_path, data, teacher, track=["tensorbord"], out=tmp_path / "other")


def test_run_yaml_names_what_was_found_and_the_student_remembers_its_columns(tmp_path, teacher):
    rows = [f"the {('bad', 'good')[n % 2]} film {n},{n % 2},a much longer remark {n} and more\n" for n in range(40)]
    (tmp_path / "data.csv").write_text("opinion,stars_given,note\n" + "".join(rows))
    run = run_toy(tmp_path, tmp_path / "data.csv", teacher, text="opinion", label="stars_given")
    resolved = yaml.safe_load((run.folder / "run.yaml").read_text())
    found = {"text": "opinion", "text_pair": None, "label": "stars_given", "task": "classification", "max_length": 48}
    assert resolved["data"].items() >= found.items()
    assert resolved["engine"]["precision"] in ("fp32", "bf16")
    said = predict(run.folder, data=str(tmp_path / "data.csv"))
    assert [row["text"] for row in said[:2]] == ["the bad film 0", "the good film 1"]
    (tmp_path / "other.csv").write_text("text\nthe bad film\n")
    assert predict(run.folder, data=str(tmp_path / "other.csv"))[0]["text"] == "the bad film"


def test_a_pair_model_reads_pairs_from_files(tmp_path, teacher):
    data = TASKS["pair"](tmp_path, rows=60)
    run = run_toy(tmp_path, data, teacher)
    rows = data.read_text().splitlines()[1:6]
    given = [row.split(",")[:2] for row in rows]
    exact = {"precision": "fp32"}  # the batches differ
    typed = predict(run.folder, text=[first for first, _ in given], text_pair=[second for _, second in given], **exact)
    read = predict(run.folder, data=str(data), **exact)[:5]
    assert [row["text_pair"] for row in read] == [second for _, second in given]
    for one, other in zip(typed, read, strict=True):
        assert np.allclose(one["probabilities"], other["probabilities"], atol=1e-5)


def test_evaluate_reads_the_columns_of_the_training_data(tmp_path, teacher):
    data = toy_data.classification(tmp_path / "plain.csv", rows=60).read_text().splitlines()[1:]
    rows = "".join(f"{row.split(',')[0]},nothing to see here,{row.split(',')[1]}\n" for row in data)
    (tmp_path / "data.csv").write_text(f"opinion,text,label\n{rows}")
    run = run_toy(tmp_path, tmp_path / "data.csv", teacher, text="opinion")
    assert "text: column `opinion`" in evaluate(run.folder, str(tmp_path / "data.csv"))["notes"]


def test_models_with_different_windows_are_compared(tmp_path, teacher):
    data = toy_data.questions(tmp_path / "data.json", paragraphs=20)
    short = run_toy(tmp_path, data, teacher, max_length=24)
    long = run_toy(tmp_path, data, teacher, max_length=48, out=tmp_path / "long")
    for model, other in ((short, long), (long, short)):
        scores = evaluate(model.folder, str(data), teacher=other.folder)
        assert 0 <= scores["agreement"] <= 1
        assert scores["kl"] is None


def test_an_answer_comes_with_its_place(tmp_path, teacher):
    run = run_toy(tmp_path, toy_data.questions(tmp_path / "data.json", unanswerable=False), teacher)
    question, context = "where did john, who lives in the city with the blue house, go to in the end", "john went to paris"
    (said,) = predict(run.folder, text=question, text_pair=context)
    assert said["answer"]
    assert context[said["start"] : said["end"]] == said["answer"]


def test_text_without_a_label_that_nobody_would_use_is_refused_or_said(tmp_path, teacher):
    data = toy_data.classification(tmp_path / "data.csv", rows=60, unlabelled=7)
    more = tmp_path / "more.txt"
    more.write_text("a fine day\n")
    with pytest.raises(UserError, match=r"--transfer is given, but method finetune"):
        run_toy(tmp_path, data, teacher, method="finetune", transfer=[str(more)])
    with pytest.raises(UserError, match=r"--transfer is given, but --labels gold leaves text without a label out"):
        run_toy(tmp_path, data, teacher, labels="gold", transfer=[str(more)])
    run = run_toy(tmp_path, data, teacher, method="finetune")
    assert "train: the 7 rows without a label are left out" in run.metrics["notes"]


def test_pairs_and_single_texts_are_not_taken_for_each_other(tmp_path, teacher):
    pairs = toy_data.classification(tmp_path / "pairs.csv", rows=60, pair=True)
    single = toy_data.classification(tmp_path / "single.csv", rows=60)
    paired = run_toy(tmp_path, pairs, teacher)
    alone = run_toy(tmp_path, single, teacher, out=tmp_path / "alone")
    for model, data, given in ((paired, single, "single texts"), (alone, pairs, "pairs of texts")):
        with pytest.raises(UserError, match=f"and {given} are given"):
            evaluate(model.folder, str(data))
    with pytest.raises(UserError, match="trained on pairs of texts, and single texts are given"):
        predict(paired.folder, text="good movie")
    with pytest.raises(UserError, match="trained on single texts, and pairs of texts are given"):
        predict(alone.folder, text="good movie", text_pair="bad movie")
