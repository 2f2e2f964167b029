"""What the methods cannot do is said before anything runs: one message, exit 2, no folder."""

import pytest
from tests import toy_data
from tests.commands import refused
from tests.tiny_models import make_tiny_checkpoint


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refusals")
    toy_data.classification(folder / "data.csv", rows=40)
    toy_data.regression(folder / "scores.csv", rows=40)
    make_tiny_checkpoint(folder / "bert", "bert")
    make_tiny_checkpoint(folder / "roberta", "roberta", layers=2)
    make_tiny_checkpoint(folder / "deep", "bert", layers=6)
    make_tiny_checkpoint(folder / "heads", "bert", layers=2, heads=3)
    make_tiny_checkpoint(folder / "modern", "modernbert")
    make_tiny_checkpoint(folder / "mpnet", "mpnet")  # computes attention by code of its own, and its layers return tuples
    return folder


CASES = {
    "pkd --student 1x24": "pkd compares the layers below the top, and the student has only one layer",
    "pkd --student 2x16": "pkd compares vectors, but the student's width is 16 and the teacher's 24",
    "pkd --set method.layer_map=[9]": "layer_map names teacher layer 9, but the teacher has 4 layers",
    "pkd --set method.layer_map=[1,2,3]": "layer_map [1, 2, 3] names 3 teacher layers for a student of 2 layers",
    "pkd --student roberta": "compares tokens, but teacher bert and student roberta cut text differently",
    "pkd --set method.layer_map=skipp": "method.layer_map: input should be 'skip' or 'last', or input should be a valid tuple",
    "tinybert --student heads": "student has 3 heads and the teacher 2",
    "tinybert --student deep": "a student of 6 layers cannot be matched with the layers of a teacher that has 4",
    "tinybert --set method.layer_map=[1,2,3,4,4,4] --student deep": "the student has 6 layers and its teacher 4",
    "tinybert --teacher modern": "layer 1 of the student has global attention, layer 2 of the teacher local attention",
    "tinybert --labels teacher --set method.prediction=false": "leaves stage 'prediction' of method tinybert nothing",
    "tinybert --compat offical": "--compat (method.compat)",
    "minilm --student heads": "student has 3 heads and the teacher 2",
    "minilm --student deep": "the student has 6 layers and its teacher 4",
    "minilm --set method.teacher_layer=5": "method.teacher_layer is 5, but the teacher has 4 layers",
    "minilmv2 --set method.relation_heads=7": "method.relation_heads is 7, which does not divide the widths",
    "minilmv2 --student roberta": "compares tokens, but teacher bert and student roberta cut text differently",
    "theseus --student 3x24": "the teacher's 4 layers cannot be cut into 3",
    "theseus --student 2x16": "the student is a bert of width 16",
    "theseus --student deep": "makes its student out of its teacher, but --student names a model, deep",
    "pkd --set method.layer_map=[0]": "layer_map names teacher layer 0, but the teacher has 4 layers",
    "tinybert --set method.layer_map=[1,9]": "layer_map names teacher layer 9, but the teacher has 4 layers",
    "tinybert --set method.layer_map=[-1,2]": "layer_map names teacher layer -1, but the teacher has 4 layers",
    "pkd --student deep": "a student of 6 layers cannot be matched with the layers of a teacher that has 4",
    "minilmv2 --student deep": "the student has 6 layers and its teacher 4",
    "pkd --student 6x24": "student 6x24 is deeper than its teacher, which has 4 layers of that width",
    "tinybert --student roberta": "compares tokens, but teacher bert and student roberta cut text differently",
    "minilm --student roberta": "compares tokens, but teacher bert and student roberta cut text differently",
    "pkd --set method.weight_soft=0 --set method.weight_hard=0 --set method.weight_patient=0": "all weights of stage 'distil'",
    "logit --set method.weight_soft=0 --set method.weight_hard=0": "all weights of stage 'distil' of method logit are 0",
    "theseus --set method.base=-0.1": "method.base: input should be greater than or equal to 0",
    "theseus --set method.base=.nan": "method.base",
    "theseus --set method.base=1.5": "method.base: input should be less than or equal to 1",
    "theseus --set method.schedule=constant --set method.slope=0.1": "method.slope is 0.1, which a constant schedule",
    "theseus --set method.constant_steps=5": "method.constant_steps is 5, which a curriculum schedule does not know",
    "theseus --set method.schedule=constant --set method.base=0": "stays at method.base 0 replaces no layer",
    "theseus --set method.slope=0 --set method.base=0": "stays at method.base 0 replaces no layer",
    "theseus --labels teacher": "--labels teacher is given, but method theseus learns from gold labels alone",
    "theseus --transfer data.csv": "method theseus, which learns from gold labels alone, leaves text without a label out",
    "tinybert --teacher mpnet": "stage 'intermediate' reads what is inside its models, which the teacher (mpnet) does",
    "minilmv2 --teacher mpnet": "stage 'relations' reads what is inside its models, which the teacher (mpnet) does",
    "theseus --teacher mpnet": "stage 'replacing' replaces their layers, which the student (mpnet) does not let it",
    "logit --compat official": "--compat official is given, but there is none for logit",
}


@pytest.mark.parametrize("given", CASES)
def test_one_message_and_nothing_written(given, shelf, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for entry in shelf.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    usual = "distill --data data.csv --teacher bert --student 2x24 --out run --max-length 32 --method"
    assert CASES[given] in refused(tmp_path, capsys, *usual.split(), *given.split())
