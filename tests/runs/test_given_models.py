"""Models as people have them, prepared for a run: what is used of them, what is said, and what is refused before training."""

import json
import shutil
import string

import pytest
import torch
from tests.tiny_models import WORDS, make_tiny_checkpoint
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification, BertTokenizerFast

from stillhouse.errors import UserError
from stillhouse.models.quiet import quiet_transformers
from stillhouse.runs.defaults import with_defaults
from stillhouse.runs.options import config_from_options
from stillhouse.runs.prepare import prepare

LABELS = ("positive", "negative")  # not in the order of their names
ROWS = "text,label\n" + "".join(f"good movie {row},positive\nbad movie {row},negative\n" for row in range(15))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return make_tiny_checkpoint(
        tmp_path_factory.mktemp("t") / "teacher", "bert", layers=2, head="classification", labels=LABELS
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").write_text(ROWS)
    return tmp_path


def prepared(teacher, student="1x24", **options):
    return prepare(
        with_defaults(config_from_options({"data": "data.csv", "teacher": str(teacher), "student": student} | options))
    )


def changed(folder, target, **changes):
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text()) | changes
    (target / "config.json").write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    return target


@pytest.mark.parametrize("said", [["BertForSequenceClassification"], None, ["BertForMaskedLM"], ["XLMModel"]])
def test_labels_are_in_the_order_of_the_head_that_is_used(here, teacher, said):
    run = prepared(changed(teacher, here / "copy", architectures=said))
    assert run.task.labels == LABELS
    assert run.teacher_has_head
    assert not run.fits_teacher
    notes = [note for note in run.notes if "copy: config.json" in note]
    assert len(notes) == (said != ["BertForSequenceClassification"])


@pytest.mark.parametrize(
    "changes", [{"problem_type": "regression"}, {"architectures": None, "id2label": None, "label2id": None}]
)
def test_a_head_that_is_not_understood_is_not_used(here, teacher, changes):
    """Three outputs where the configuration, without names, says two; a regression of two values."""
    if "problem_type" not in changes:
        teacher = make_tiny_checkpoint(here / "three", "bert", layers=2, head="classification", labels=("x", "y", "z"))
    run = prepared(changed(teacher, here / "copy", **changes))
    assert run.task.labels == tuple(sorted(LABELS))
    assert run.fits_teacher
    assert any("left out" in note for note in run.notes)


@pytest.mark.parametrize("said", [None, ["BertModel"]])
def test_a_student_that_is_there_already_is_asked_like_a_teacher(here, teacher, said):
    student = changed(teacher, here / "student", architectures=said)
    run = prepared(teacher, str(student))
    assert run.student.start == "weights of student, with its own head"
    own = make_tiny_checkpoint(here / "other", "bert", layers=1, head="classification", labels=tuple(sorted(LABELS)))
    shutil.rmtree(student)
    run = prepared(teacher, str(changed(own, here / "student", architectures=said)))
    assert run.student.start == "weights of student, with a fresh head"


# Families whose room for positions, depth or width stands where BERT has none.
SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "pad_token_id": 1}
OWN = {
    "mpnet": {"max_position_embeddings": 26},
    "longformer": {"max_position_embeddings": 26, "attention_window": [4, 8]},
    "deberta-v2": {"relative_attention": True, "position_biased_input": False, "pooler_hidden_size": 24},
    "ibert": {"max_position_embeddings": 26},
}


def of_family(family, folder, cased=False, **settings):
    letters = string.ascii_lowercase + string.digits + string.ascii_uppercase * cased
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.punctuation, *letters, *(f"##{one}" for one in letters)]
    pieces += [*WORDS, *(word.title() for word in WORDS if cased)]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(pieces)) + "\n")
    if settings:
        BertTokenizerFast.from_pretrained(folder, **settings).save_pretrained(folder)
    config = CONFIG_MAPPING[family](vocab_size=len(dict.fromkeys(pieces)), **SIZES | OWN.get(family, {}))
    with quiet_transformers():
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", OWN)
def test_a_long_text_is_cut_where_positions_end(here, family):
    (here / "data.csv").write_text(ROWS + "good movie " * 700 + ",positive\n")
    named = {"label_map": {"positive": "LABEL_1", "negative": "LABEL_0"}}
    run = prepared(of_family(family, here / family, do_lower_case=True), **named)
    assert run.config.data.max_length == (24 if "max_position_embeddings" in OWN[family] else 128)
    narrow = prepared(here / family, student="3x12", **named)
    assert narrow.student.encoder.config.hidden_size == 12
    with pytest.raises(UserError, match="--max-length 24" if "max_position_embeddings" in OWN[family] else "--max-length 512"):
        prepared(here / family, max_length=700, **named)


def test_capitals_that_are_lost_are_said(here):
    names = {"label_map": {"positive": "LABEL_1", "negative": "LABEL_0"}}
    alone = prepared(of_family("bert", here / "alone", cased=True), **names)
    assert any("warning: the tokenizer lower-cases all text" in note for note in alone.notes)
    kept = prepared(of_family("bert", here / "kept", cased=True, do_lower_case=False), **names)
    assert not any("warning" in note for note in kept.notes)
