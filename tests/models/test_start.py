"""What a student starts from where it is told so: chosen layers, or the teacher as it solves the task."""

import pytest
import torch
from tests import toy_data
from tests.corpus.toy_corpus import documents
from tests.tiny_models import make_tiny_checkpoint

from stillhouse import UserError, distill, evaluate
from stillhouse.runs.defaults import with_defaults
from stillhouse.runs.options import config_from_options
from stillhouse.runs.prepare_general import prepare_general

FITTED = ["teacher.finetune.learning_rate=0.003", "teacher.finetune.epochs=8", "teacher.finetune.batch_size=16"]

pytestmark = pytest.mark.usefixtures("empty_reports")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    toy_data.classification(folder / "data.csv", rows=100)
    make_tiny_checkpoint(folder / "bert", "bert")
    make_tiny_checkpoint(folder / "headed", "bert", head="classification", labels=("negative", "positive"))
    return folder


def run(shelf, out, **options):
    values = {"data": str(shelf / "data.csv"), "teacher": str(shelf / "bert"), "student": "2x24", "max_length": 32, "epochs": 1}
    return distill(**(values | options), out=out)


def test_chosen_layers(shelf, tmp_path):
    chosen = run(shelf, tmp_path / "run", method="finetune", changes=["student.layers=[4,2]"])
    assert chosen.metrics["student"]["start"] == "layers 4, 2 of bert"


def test_the_teacher_as_it_solves_the_task(shelf, tmp_path):
    changes = ["student.start=fitted", *FITTED]
    fitted = run(shelf, tmp_path / "run", method="finetune", changes=changes, allow_weak_teacher=True)
    assert fitted.metrics["student"]["start"] == "layers 1, 4 of bert as it solves the task, with its head"
    assert fitted.metrics["teacher"] is None
    assert [stage["name"] for stage in fitted.metrics["stages"]] == ["teacher", "finetune"]
    assert 0 <= evaluate(fitted.folder, str(shelf / "data.csv"))["student"]["score"] <= 1


def test_finetune_may_have_labels_that_its_teacher_knows_not(shelf, tmp_path):
    (tmp_path / "other.csv").write_text((shelf / "data.csv").read_text().replace(",negative", ",dull"))
    options = {"data": str(tmp_path / "other.csv"), "teacher": str(shelf / "headed")}
    assert run(shelf, tmp_path / "run", method="finetune", **options).metrics["labels"] == ["dull", "positive"]


@pytest.mark.parametrize(
    ("given", "said"),
    {
        "student.layers=[9,1]": "teacher layer 9 is to be copied, but the teacher has 4 layers",
        "student.layers=[1]": "1 teacher layers are named for a student of 2 layers",
        "student.layers=[0,1]": "student.layers.0",
        "student.start=fited": "student.start",
    }.items(),
)
def test_a_start_that_is_not_there(shelf, tmp_path, given, said):
    with pytest.raises(UserError, match=said.replace("[", r"\[")):
        run(shelf, tmp_path / "run", changes=[given])
    assert not (tmp_path / "run").exists()


def test_a_start_needs_the_teachers_width(shelf, tmp_path):
    for change in ("student.layers=[1,2]", "student.start=fitted", "student.start=pretrained"):
        with pytest.raises(UserError, match="has another width than its teacher, of which it is told to start"):
            run(shelf, tmp_path / "run", student="2x16", changes=[change])


@pytest.mark.parametrize(("by", "which"), [("activations", ""), ("first", "the first ")])
def test_a_slice_of_a_wider_teacher(shelf, tmp_path, by, which):
    changes = ["student.start=slice", "student.layers=[4,2]", f"student.slice_by={by}"]
    sliced = run(shelf, tmp_path / "run", method="finetune", student="2x16", changes=changes)
    assert sliced.metrics["student"]["start"] == f"slice of layers 4, 2 of bert ({which}16 of 24 dimensions)"
    assert any("39 tensors copied, 0 skipped, 2 fresh" in note for note in sliced.metrics["notes"])


def test_a_slice_of_all_dimensions_is_a_copy(shelf, tmp_path):
    copied = run(shelf, tmp_path / "run", method="finetune", changes=["student.start=slice"])
    assert copied.metrics["student"]["start"] == "layers 1, 4 of bert"
    assert any("a slice leaves nothing out" in note for note in copied.metrics["notes"])


def test_a_fresh_start_copies_nothing(shelf, tmp_path):
    fresh = run(shelf, tmp_path / "run", method="finetune", changes=["student.start=fresh"])
    assert fresh.metrics["student"]["start"] == "fresh weights, 2 layers x 24"
    with pytest.raises(UserError, match=r"student\.layers names layers to start from, but student\.start is fresh"):
        run(shelf, tmp_path / "other", changes=["student.start=fresh", "student.layers=[1,2]"])


@pytest.mark.parametrize("start", ["slice", "fresh"])
def test_a_model_has_weights_of_its_own(shelf, tmp_path, start):
    with pytest.raises(UserError, match=f"student.start is {start}, but --student names a model"):
        run(shelf, tmp_path / "run", student=str(shelf / "headed"), changes=[f"student.start={start}"])


def test_a_slice_is_no_larger_than_its_teacher(shelf, tmp_path):
    with pytest.raises(UserError, match="2x32, is larger than its teacher, 4x24"):
        run(shelf, tmp_path / "run", student="2x32", changes=["student.start=slice"])
    assert not (tmp_path / "run").exists()


def test_theseus_has_a_start_of_its_own(shelf, tmp_path):
    with pytest.raises(UserError, match="theseus makes its student out of the fitted teacher"):
        run(shelf, tmp_path / "run", method="theseus", changes=["student.start=pretrained"])


def test_a_slice_for_plain_text(shelf, tmp_path):
    """What matters is read off the corpus: other text, other dimensions."""
    students = []
    for seed in (0, 1):
        (tmp_path / f"{seed}.txt").write_text("\n\n".join(documents(60, seed)))
        given = {
            "corpus": str(tmp_path / f"{seed}.txt"),
            "teacher": str(shelf / "bert"),
            "student": "2x16",
            "method": "minilmv2",
        }
        changes = ["student.start=slice", "corpus.block_length=16", "method.stages.general.batch_size=4"]
        config = with_defaults(config_from_options(given, changes=changes))
        general = prepare_general(config, say=str, report=lambda *_: None)
        assert "student starts from slice of layers 1, 4 of bert (16 of 24 dimensions)" in "\n".join(general.notes)
        students.append(general.student.encoder.state_dict())
    assert any(not torch.equal(tensor, students[1][name]) for name, tensor in students[0].items())
