"""What a student starts from where it is told so: chosen layers, or the teacher as it solves the task."""

import pytest
from tests import toy_data
from tests.tiny_models import make_tiny_checkpoint

from stillhouse import UserError, distill, evaluate

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
    for change in ("student.layers=[1,2]", "student.start=fitted"):
        with pytest.raises(UserError, match="has another width than its teacher, of which it is told to start"):
            run(shelf, tmp_path / "run", student="2x16", changes=[change])


def test_theseus_has_a_start_of_its_own(shelf, tmp_path):
    with pytest.raises(UserError, match="theseus makes its student out of the fitted teacher"):
        run(shelf, tmp_path / "run", method="theseus", changes=["student.start=pretrained"])
