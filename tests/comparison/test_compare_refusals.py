"""What a comparison refuses: as a whole, before anything runs, or single lines of it, which are left out."""

import pytest
from tests.comparison.toy_comparison import SETTINGS, rows_of, run
from tests.tiny_models import make_tiny_checkpoint

from stillhouse import UserError

pytestmark = pytest.mark.usefixtures("empty_reports")


def test_what_a_method_cannot_do_is_said_before_anything_runs(shelf, tmp_path, capsys):
    options = {"students": "2x24,2x16", "methods": "pkd,logit", "seeds": "0", "grid": False, "quiet": False}
    partly = run(shelf, tmp_path / "partly", **options)
    said = capsys.readouterr().out
    assert said.index("pkd on 2x16 is left out: pkd compares vectors") < said.index("[1/")
    (row,) = rows_of(partly, method="pkd", student="2x16")
    assert row["status"] == "refused"
    assert "a linear map" in row["reason"]
    assert "fresh weights" in rows_of(partly, method="finetune", student="2x16")[0]["start"]
    with pytest.raises(UserError, match="pkd compares vectors"):
        run(shelf, tmp_path / "none", students="2x16", methods="pkd")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("method", "setting", "said"),
    [
        ("pkd", "layer_map=[9]", "layer_map names teacher layer 9"),
        ("minilmv2", "relation_heads=7", r"methods\.minilmv2\.relation_heads is 7"),
        ("minilm", "teacher_layer=9", r"methods\.minilm\.teacher_layer is 9"),
        ("tinybert", "layer_map=middle", r"methods\.tinybert\.layer_map: input should be .*, or .*, given 'middle'"),
    ],
)
def test_a_setting_that_cannot_be_met_is_a_mistake(shelf, tmp_path, method, setting, said):
    """Even where other methods could run: it was given on purpose."""
    with pytest.raises(UserError, match=said):
        run(shelf, tmp_path / "out", methods=f"logit,{method}", changes=[f"methods.{method}.{setting}"])
    assert not (tmp_path / "out").exists()


def test_a_setting_that_suits_one_student_leaves_the_others_out(shelf, tmp_path):
    options = {"students": "2x24,3x24", "methods": "pkd", "seeds": "0", "grid": False}
    found = run(shelf, tmp_path / "out", changes=[*SETTINGS[:3], "methods.pkd.layer_map=[3]"], **options)
    assert [row["status"] for row in rows_of(found, method="pkd")] == ["done", "refused"]


def test_labels_of_the_teacher_are_not_for_methods_that_learn_from_gold(shelf, tmp_path):
    found = run(shelf, tmp_path / "out", methods="logit,theseus", labels="teacher", seeds="0", grid=False)
    assert {row["method"]: row["status"] for row in found.results["rows"]} == {
        "finetune": "done",
        "logit": "done",
        "theseus": "refused",
    }
    with pytest.raises(UserError, match="leaves text without a label out"):
        run(shelf, tmp_path / "none", methods="theseus", transfer=[str(shelf / "data.csv")])


@pytest.mark.parametrize("student", ["3y", "nowhere", "9x24", "2x25"])
def test_a_student_that_nobody_can_make(shelf, tmp_path, capsys, student):
    with pytest.raises(UserError):
        run(shelf, tmp_path / "out", students=f"2x24,{student}", quiet=False)
    assert "left out" not in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_one_student_in_two_ways(shelf, tmp_path):
    with pytest.raises(UserError, match="--students names half and 2x24, which are the same"):
        run(shelf, tmp_path / "out", students="half,2x24")


def test_a_tracker_that_nobody_knows(shelf, tmp_path):
    with pytest.raises(UserError, match="unknown tracker 'tensorbord'"):
        run(shelf, tmp_path / "out", track=["tensorbord"])
    assert not (tmp_path / "out").exists()


def test_a_weak_teacher_stops_the_comparison(shelf, tmp_path):
    changes = ["teacher.finetune.learning_rate=1e-9", "teacher.finetune.epochs=1"]
    with pytest.raises(UserError, match="no better than"):
        run(shelf, tmp_path / "weak", changes=changes, methods="logit", allow_weak_teacher=None, seeds="0", grid=False)


def test_a_weak_teacher_with_a_head_is_met_before_anything_is_trained(shelf, tmp_path, drawn):
    weak = make_tiny_checkpoint(tmp_path / "weak", "bert", head="classification", labels=("negative", "positive"))
    with pytest.raises(UserError, match="no better than"):
        run(shelf, tmp_path / "out", teacher=str(weak), methods="logit", allow_weak_teacher=None, grid=False)
    assert not (tmp_path / "out").exists()
    allowed = run(shelf, tmp_path / "allowed", teacher=str(weak), methods="logit", seeds="0", grid=False)
    assert any("no better than" in note for note in allowed.results["notes"])
    assert "no better than" in allowed.report.read_text(encoding="utf-8")


def test_the_folder_of_a_run_is_refused(shelf, tmp_path):
    (tmp_path / "run.yaml").write_text("seed: 1\n")
    with pytest.raises(UserError, match="is not a comparison folder and is not empty"):
        run(shelf, tmp_path)


def test_a_file_of_that_name_does_not_make_a_folder_ours(shelf, tmp_path):
    (tmp_path / "compare.yaml").write_text("data: data.csv\n")
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "precious").write_text("mine")
    with pytest.raises(UserError, match="was not written by a comparison"):
        run(shelf, tmp_path, overwrite=True)
    assert (tmp_path / "rows" / "precious").exists()
