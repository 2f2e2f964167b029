"""A comparison from its command to its folder, on toy data with tiny encoders."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import yaml
from tests.commands import leave
from tests.comparison.toy_comparison import GIVEN, SETTINGS, rows_of, run
from tests.features import needing
from tests.methods.stage_names import stage_names
from tests.tiny_models import make_tiny_checkpoint
from tests.toy_data import TASKS

from stillhouse import StillhouseError, UserError, compare, evaluate
from stillhouse.comparison.compare_config import comparison_from_options
from stillhouse.evaluation.recorded import recorded_agreement, recorded_statistics
from stillhouse.runs.session import Session
from stillhouse.sealed import write_sealed
from stillhouse.task import load_kind
from stillhouse.teachers import fill, store
from stillhouse.teachers.source import OnlineTeacher
from stillhouse.training.resume import damaged

pytestmark = pytest.mark.usefixtures("empty_reports")


@pytest.fixture(scope="module")
def finished(shelf, empty_reports, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STILLHOUSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return run(shelf, shelf / "finished")


@pytest.fixture
def before_each(monkeypatch):
    """Something that happens before every run."""
    run_one = Session.run

    def use(happens):
        def run_after(session, config, **more):
            happens(config)
            return run_one(session, config, **more)

        monkeypatch.setattr(Session, "run", run_after)

    return use


def test_every_row_has_the_agreed_keys(finished):
    rows = finished.results["rows"]
    assert len(rows) == 6 * 2
    for row in rows:
        assert row["status"] == "done"
        agreed = ("score", "retention", "agreement", "parameters", "latency_ms_p50", "train_seconds")
        assert all(math.isfinite(row[name]) for name in agreed)
        own = json.loads((finished.folder / row["run"] / "metrics.json").read_text())
        assert row["score"] == own["student"]["score"]
        assert row["start"] == own["student"]["start"]
        assert row["retention"] == pytest.approx(row["score"] / finished.results["teacher"]["score"])
    teacher = finished.results["teacher"]["score"]
    for pair in finished.results["pairs"]:
        for seed in (0, 3):
            (own,), (base,) = (rows_of(finished, line=pair[side], seed=seed) for side in ("line", "baseline"))
            closed = (own["score"] - base["score"]) / (teacher - base["score"]) if teacher > base["score"] else None
            assert own["gap_closed"] == pytest.approx(closed)
    for pair in finished.results["pairs"]:
        assert pair["low"] <= pair["minus_baseline"] <= pair["high"]
        assert pair["seeds"] == 2
        assert pair["examples"] == finished.results["splits"]["validation"]


def test_one_baseline_for_each_distinct_start(finished):
    starts = {row["method"]: row["start"] for row in rows_of(finished) if row["method"] != "finetune"}
    assert starts["logit"] == "layers 1, 4 of bert"
    assert starts["pkd"] == "layers 1, 2 of bert"
    assert starts["theseus"].startswith("layers 1, 2 of bert as it solves the task")
    assert {row["start"] for row in rows_of(finished, method="finetune")} == set(starts.values())
    for pair in finished.results["pairs"]:
        (baseline,) = {row["start"] for row in rows_of(finished, line=pair["baseline"])}
        assert baseline == starts[pair["method"]]
        mean = {
            line: sum(row["score"] for row in rows_of(finished, line=line)) / 2 for line in (pair["line"], pair["baseline"])
        }
        assert pair["minus_baseline"] == pytest.approx(mean[pair["line"]] - mean[pair["baseline"]])


def test_the_teacher_is_fitted_once_and_kept_once(finished):
    results = finished.results
    runs = [json.loads(path.read_text()) for path in finished.folder.glob("rows/*/*/metrics.json")]
    assert sum(stage["name"] == "teacher" for run in runs for stage in run["stages"]) == 1
    assert (finished.folder / "teacher" / "model.safetensors").exists()
    assert not list(finished.folder.glob("rows/*/*/teacher"))
    teachers = {run["teacher"]["score"] for run in runs if run["method"] != "finetune"}
    assert teachers == {results["teacher"]["score"]}


def test_a_damaged_teacher_is_named(finished, shelf, tmp_path):
    """Where it is scored, and where the comparison goes on, whose record would take it as it is."""
    folder = shutil.copytree(finished.folder, tmp_path / "copy")
    record, weights = folder / "comparison.json", folder / "teacher" / "model.safetensors"
    sums = json.loads(record.read_text())["checksums"]
    assert {name for name in sums if name.startswith("teacher/")} >= {f"teacher/{weights.name}", "teacher/config.json"}
    content = {name: value for name, value in finished.results.items() if name != "checksums"}
    write_sealed(record, {**content, "complete": False}, [weights])
    flipped = bytearray(weights.read_bytes())
    flipped[-1] ^= 1
    weights.write_bytes(flipped)
    whole = finished.folder / "teacher"
    for model, teacher in ((folder / "teacher", None), (whole, folder / "teacher")):
        with pytest.raises(UserError, match=r"teacher/model\.safetensors is damaged: its checksum does not agree"):
            evaluate(model, shelf / "data.csv", teacher=teacher)
    assert evaluate(whole, shelf / "data.csv", teacher=whole)["agreement"] == 1
    with pytest.raises(UserError, match=r"teacher/model\.safetensors is damaged"):
        run(shelf, folder)


def test_the_teacher_runs_once_for_all_methods_and_seeds(shelf, tmp_path, monkeypatch, empty_cache):
    passes = []
    compute = fill.compute_features

    def noted(encoder, inputs, needs):
        passes.append((needs, len(inputs["input_ids"])))
        return compute(encoder, inputs, needs)

    monkeypatch.setattr(fill, "compute_features", noted)
    monkeypatch.setattr(OnlineTeacher, "features", lambda *_: pytest.fail("the teacher runs beside the student"))
    found = run(shelf, tmp_path / "out", methods="logit,pkd", grid=False)
    assert {row["status"] for row in found.results["rows"]} == {"done"}
    rows = {needs: sum(count for own, count in passes if own == needs) for needs, _ in passes}
    # Logits serve both methods; the CLS vectors that pkd adds are a second pass.
    assert rows == dict.fromkeys([needing(logits=True), needing(cls=frozenset({2}))], found.results["splits"]["train"])


def test_a_full_disk_is_said_in_a_comparison_too(shelf, tmp_path, monkeypatch, capsys, empty_cache):
    def full(shard):
        raise UserError("no space left while writing")

    monkeypatch.setattr(store, "write_shard", full)
    found = run(shelf, tmp_path / "out", methods="pkd", grid=False, quiet=False)
    assert {row["status"] for row in found.results["rows"]} == {"done"}
    assert capsys.readouterr().out.count("cannot be kept (no space left while writing): the teacher runs beside") == 1


def test_the_rate_is_chosen_on_the_selection_rows_and_used_for_all_seeds(finished):
    results = finished.results
    for line in {row["line"] for row in results["rows"]}:
        tries = [one for one in results["tries"] if one["line"] == line]
        assert [one["learning_rate"] for one in tries] == [2e-3, 5e-3]
        (chosen,) = [one for one in tries if one["chosen"]]
        assert chosen["selection"] == max(one["selection"] for one in tries)
        for row in rows_of(finished, line=line):
            assert row["learning_rate"] == chosen["learning_rate"]
            settings = yaml.safe_load((finished.folder / row["run"] / "run.yaml").read_text())
            method = settings["method"]
            rates = {method["stages"][stage]["learning_rate"] for stage in stage_names(method["name"])}
            assert rates == {chosen["learning_rate"]}
            assert settings["seed"] == row["seed"]
            assert (finished.folder / row["run"] / "student" / "model.safetensors").exists()


def test_a_baseline_takes_as_many_steps_as_the_longest_that_share_its_start(finished):
    def steps(line):
        row = rows_of(finished, line=line)[0]
        stages = json.loads((finished.folder / row["run"] / "metrics.json").read_text())["stages"]
        return sum(stage["steps"] for stage in stages if stage["name"] != "teacher")

    for pair in finished.results["pairs"]:
        assert steps(pair["line"]) == steps(pair["baseline"])


def test_a_finished_comparison_is_shown_at_once(finished, shelf, capsys, drawn):
    before = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*.json")}
    finished.report.unlink()
    (finished.folder / "comparison.md").unlink()
    run(shelf, finished.folder, quiet=False)
    said = capsys.readouterr().out
    assert "this comparison is finished" in said
    assert "minus baseline" in said
    assert before == {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*.json")}
    assert "<html" in finished.report.read_text(encoding="utf-8")
    assert "| logit |" in (finished.folder / "comparison.md").read_text(encoding="utf-8")


def test_a_comparison_goes_on_with_the_rows_that_are_missing(finished, shelf, tmp_path, before_each):
    """Killed after some runs: those stay as they are, and the result is that of a comparison never interrupted."""
    copy = tmp_path / "copy"
    shutil.copytree(finished.folder, copy)
    for name in ("comparison.json", "comparison.md", "report.html"):
        (copy / name).unlink()
    missing = [copy / row["run"] for row in rows_of(finished, method="pkd")]
    for folder in missing:
        shutil.rmtree(folder)
    executed = []
    before_each(lambda config: executed.append(config.out))
    again = run(shelf, copy)
    assert sorted(executed) == sorted(map(str, missing))

    def scores(comparison):
        return [(row["line"], row["seed"], row["score"], row["status"]) for row in comparison.results["rows"]]

    assert scores(again) == scores(finished)
    assert again.results["pairs"] == finished.results["pairs"]


def test_a_run_that_fails_takes_no_other_along(shelf, tmp_path, drawn):
    changes = [*SETTINGS[:3], "methods.pkd.weight_patient=1e38"]
    options = {"methods": "pkd,logit", "seeds": "0", "grid": False, "learning_rate": 3e-3, "changes": changes}
    broken = run(shelf, tmp_path / "broken", **options)
    (row,) = rows_of(broken, method="pkd")
    assert row["status"] == "failed"
    assert "the gradient's norm is inf" in row["reason"]
    assert "with another --out" in row["reason"]
    assert "--overwrite" not in row["reason"]  # which would delete the other rows
    assert row["score"] is None
    assert {row["status"] for row in rows_of(broken, method="logit")} == {"done"}
    assert [pair["method"] for pair in broken.results["pairs"]] == ["logit"]
    assert "Failed: pkd" in broken.report.read_text(encoding="utf-8")
    assert "Traceback" in (broken.folder / "rows" / "pkd-2x24" / "seed0.failed.txt").read_text()
    again = run(shelf, tmp_path / "broken", **options)  # is tried again, and fails again
    assert rows_of(again, method="pkd")[0]["status"] == "failed"


def failing(config):
    """Of pkd the first seed, as a machine does that runs out of memory once."""
    if config.method.name == "pkd" and config.seed == 0:
        raise RuntimeError("no memory")


def interrupted(config):
    if config.method.name == "pkd" and config.seed == 3:
        raise KeyboardInterrupt


def test_a_seed_that_fails_takes_no_other_along(shelf, tmp_path, before_each):
    before_each(failing)
    found = run(shelf, tmp_path / "out", methods="logit,pkd", grid=False)
    assert [(row["status"], row["reason"]) for row in rows_of(found, method="pkd")] == [
        ("failed", "RuntimeError: no memory"),
        ("done", ""),
    ]
    assert {pair["method"]: pair["seeds"] for pair in found.results["pairs"]} == {"logit": 2, "pkd": 1}
    assert "1 of 2 seeds" in (found.folder / "comparison.md").read_text()
    steps = {row["steps"] for row in found.results["rows"] if row["status"] == "done"}
    assert len(steps) == 1

    # Given again, the failed run alone is tried again; where that is interrupted nothing is lost.
    again = []

    def interrupted(config):
        again.append((config.method.name, config.seed))
        raise KeyboardInterrupt

    before_each(interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(shelf, tmp_path / "out", methods="logit,pkd", grid=False)
    assert again == [("pkd", 0)]
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert not record["complete"]
    assert record["pairs"] == found.results["pairs"]
    scores = [row["score"] for row in found.results["rows"]]
    assert [row["score"] for row in record["rows"]] == scores


def test_seeds_without_a_learning_rate_say_why(shelf, tmp_path, before_each):
    before_each(failing)
    found = run(shelf, tmp_path / "out", methods="logit,pkd")
    assert [(row["status"], row["reason"]) for row in rows_of(found, method="pkd")] == [
        ("failed", "RuntimeError: no memory"),
        ("failed", "not tried: with seed 0 every learning rate failed"),
    ]
    reasons = [one["reason"] for one in found.results["tries"] if one["line"] == "pkd-2x24"]
    assert reasons == ["RuntimeError: no memory"] * 2


def test_an_interrupted_comparison_shows_what_it_has(shelf, tmp_path, before_each, drawn):
    before_each(interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(shelf, tmp_path / "out", methods="logit,pkd", grid=False)
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert not record["complete"]
    assert {pair["method"]: pair["seeds"] for pair in record["pairs"]} == {"logit": 1, "pkd": 1}
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert re.search("Not finished yet: .*, pkd", text)
    assert "with one seed" in text
    assert "Not finished yet" in (tmp_path / "out" / "report.html").read_text()


def test_nothing_but_failures_is_an_error(shelf, tmp_path):
    changes = [*SETTINGS[:3], "methods.pkd.weight_patient=1e38"]
    with pytest.raises(StillhouseError, match="not one method's run was finished") as caught:
        run(shelf, tmp_path / "broken", methods="pkd", seeds="0", grid="1e-3,3e-3", changes=changes)
    assert caught.value.exit_status == 1
    results = json.loads((tmp_path / "broken" / "comparison.json").read_text())
    assert {row["status"] for row in results["rows"]} == {"done", "failed"}


def test_the_folder_of_another_comparison_is_refused_by_the_command(finished, shelf, capsys):
    given = f"compare --data {shelf / 'data.csv'} --teacher {shelf / 'bert'} --methods logit --students 2x24 --seeds 0,1"
    before = sorted(finished.folder.rglob("*"))
    assert leave(*given.split(), "--out", str(finished.folder)) == 2
    said = capsys.readouterr().err
    assert said.count("is the folder of another comparison") == 1
    assert "Traceback" not in said
    assert sorted(finished.folder.rglob("*")) == before


def test_a_run_with_a_damaged_checkpoint_fails_alone(shelf, tmp_path, before_each):
    def meet(config):
        if config.method.name == "pkd":
            raise damaged(Path(config.out) / "checkpoint.pt", ValueError("it was cut"))

    before_each(meet)
    found = run(shelf, tmp_path / "c", methods="logit,pkd", seeds="0", grid=False)
    (failed,) = rows_of(found, method="pkd")
    assert failed["status"] == "failed"
    assert "checkpoint.pt is damaged: it was cut" in failed["reason"]
    assert {row["status"] for row in rows_of(found, method="logit")} == {"done"}


def test_the_folder_of_another_comparison_is_refused(finished, shelf):
    with pytest.raises(UserError, match=r"is the folder of another comparison: seeds is \[0, 3\] there, \[0, 1\] here"):
        run(shelf, finished.folder, seeds="0,1")


def test_overwriting_never_deletes_what_it_is_made_from(finished, shelf):
    for content, said in (("precious", "holds more than a comparison: mine"), (None, "--overwrite would delete")):
        mine = finished.folder / "mine"
        mine.unlink(missing_ok=True) if content is None else mine.write_text(content)
        with pytest.raises(UserError, match=said):
            overwriting(finished, shelf)
    (finished.folder / "mine").unlink(missing_ok=True)


def overwriting(finished, shelf):
    teacher = str(finished.folder / "teacher")
    return compare(
        data=str(shelf / "data.csv"), teacher=teacher, out=finished.folder, overwrite=True, changes=SETTINGS, **GIVEN
    )


def test_the_file_of_a_comparison_repeats_it(finished):
    path = finished.folder / "compare.yaml"
    again = comparison_from_options({}, config=path)
    assert again.model_dump(mode="json") == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("names", ["ints", "case", "map"])
def test_a_teacher_may_call_the_labels_otherwise(finished, shelf, tmp_path, names):
    """All runs then speak of them by the teacher's names, the baselines too."""
    known = {"ints": ("0", "1"), "case": ("Negative", "POSITIVE"), "map": ("schlecht", "gut")}[names]
    text = (shelf / "data.csv").read_text()
    rows = text.replace(",negative", f",{known[0]}").replace(",positive", f",{known[1]}")
    (tmp_path / "named.csv").write_text(rows)
    given = {"label_map": {"schlecht": "negative", "gut": "positive"}} if names == "map" else {}
    options = {"data": str(tmp_path / "named.csv"), "teacher": str(finished.folder / "teacher"), "methods": "logit"}
    found = run(shelf, tmp_path / "out", **options, **given, seeds="0", grid=False)
    labels = [json.loads((found.folder / row["run"] / "metrics.json").read_text())["labels"] for row in found.results["rows"]]
    assert labels == [["negative", "positive"]] * 2
    said = {
        row["method"]: [json.loads(line) for line in (found.folder / row["run"] / "predictions.jsonl").read_text().splitlines()]
        for row in found.results["rows"]
    }
    for row in found.results["rows"]:
        pairs = zip(said["logit"], said[row["method"]], strict=True)
        same = [theirs["teacher"]["label"] == ours["student"]["label"] for theirs, ours in pairs]
        assert row["agreement"] == pytest.approx(sum(same) / len(same))


def test_data_that_changed_meanwhile_are_noticed(shelf, tmp_path):
    data = tmp_path / "data.csv"
    shutil.copy(shelf / "data.csv", data)
    options = {"data": str(data), "methods": "logit", "seeds": "0,1", "grid": False}
    first = run(shelf, tmp_path / "out", **options)
    shutil.rmtree(first.folder / rows_of(first, method="logit", seed=1)[0]["run"])
    (first.folder / "comparison.json").unlink()
    lines = data.read_text().splitlines()
    data.write_text("\n".join([lines[0], lines[1].replace("ive", "ife"), *lines[2:]]))
    with pytest.raises(UserError, match=r"the .* rows.* changed since the comparison"):
        run(shelf, tmp_path / "out", **options)


def test_one_teacher_even_where_the_cache_cannot_be_written(shelf, tmp_path, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", "/proc/nowhere")
    found = run(shelf, tmp_path / "out", methods="logit,pkd", seeds="0", grid=False)
    fits = [
        stage
        for row in found.results["rows"]
        for stage in json.loads((found.folder / row["run"] / "metrics.json").read_text())["stages"]
        if stage["name"] == "teacher"
    ]
    assert len(fits) == 1


def test_students_of_one_name_in_different_places(shelf, tmp_path):
    students = [
        make_tiny_checkpoint(tmp_path / place, "bert", layers=1, seed=n) for n, place in enumerate(("a/m", "b/m", "c/m.2"))
    ]
    options = {"students": [str(student) for student in students], "methods": "logit", "seeds": "0", "grid": False}
    found = run(shelf, tmp_path / "out", **options)
    assert len({row["run"] for row in found.results["rows"]}) == 6
    for row in found.results["rows"]:
        settings = yaml.safe_load((found.folder / row["run"] / "run.yaml").read_text())
        assert settings["student"]["shape"] == row["student"]
    with pytest.raises(UserError, match=r"--students names .* twice"):
        run(shelf, tmp_path / "twice", students=[str(students[0]), f"{students[0]}/"])


def test_without_a_grid_a_baseline_has_its_methods_rate(shelf, tmp_path):
    changes = [*SETTINGS[:3], "methods.logit.stages.distil.learning_rate=0.003"]
    changes += ["methods.minilm.stages.distil.learning_rate=0.001", "methods.minilm.stages.relations.epochs=1"]
    found = run(shelf, tmp_path / "out", methods="logit,minilm", seeds="0", grid=False, changes=changes)
    rates = {row["line"]: row["learning_rate"] for row in found.results["rows"]}
    assert len(rates) == 4
    assert {pair["method"]: rates[pair["baseline"]] for pair in found.results["pairs"]} == {"logit": 0.003, "minilm": 0.001}


@pytest.mark.parametrize("task", ["multilabel", "regression", "tagging", "qa"])
def test_every_task(shelf, tmp_path, task):
    """And what the comparison makes of the predictions on disk is what the run made of them in memory."""
    values = GIVEN | {"methods": "logit", "seeds": "0", "grid": False, "max_length": 48}
    data = str(TASKS[task](tmp_path, rows=120))
    found = compare(data=data, teacher=str(shelf / "bert"), out=tmp_path / "out", changes=SETTINGS[:3], **values)
    rows = {row["method"]: row for row in found.results["rows"]}
    assert {row["status"] for row in rows.values()} == {"done"}
    folder = found.folder / rows["logit"]["run"]
    metrics = json.loads((folder / "metrics.json").read_text())
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert recorded_agreement(load_kind(task), metrics["labels"], lines, lines) == pytest.approx(metrics["agreement"])
    assert math.isfinite(rows["finetune"]["agreement"])
    for role in ("teacher", "student"):
        table = recorded_statistics(load_kind(task), metrics["labels"], lines, role)
        assert len(table) == len(lines)
    (pair,) = found.results["pairs"]
    assert pair["minus_baseline"] == pytest.approx(rows["logit"]["score"] - rows["finetune"]["score"])


def test_text_for_transfer_is_for_those_who_use_it(shelf, tmp_path):
    (tmp_path / "more.txt").write_text("a good day\na sad story\n")
    options = {"methods": "logit,theseus", "seeds": "0", "grid": False, "transfer": [str(tmp_path / "more.txt")]}
    found = run(shelf, tmp_path / "out", **options)
    assert any("theseus learns from gold labels alone" in note for note in found.results["notes"])
    used = {
        row["method"]: yaml.safe_load((found.folder / row["run"] / "run.yaml").read_text())["data"]["transfer"]
        for row in found.results["rows"]
    }
    assert used == {"logit": [str(tmp_path / "more.txt")], "theseus": [], "finetune": []}
