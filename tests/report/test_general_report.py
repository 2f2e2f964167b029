"""The report of a run that learns from plain text, from metrics.json alone."""

import json

import pytest
import torch
from tests.report.conftest import log_of, write_lines, write_run
from tests.report.general import SENTENCE, general_of, pretraining_of
from tests.report.page import read
from tests.tiny_models import make_tiny_checkpoint
from transformers import AutoModel, AutoModelForMaskedLM
from typer.testing import CliRunner

from stillhouse.api import Run
from stillhouse.cli.main import app
from stillhouse.report import summary_lines, time_lines, write_report
from stillhouse.report.general_section import masked_sentences

EVIL = "<script>alert(1)</script>"
KINDS = {
    "head": {},
    "assistant": {"assistant": True},
    "without a teacher": {"teacher": False},
    "without a head": {"head": False},
    "without a head, with an assistant": {"head": False, "assistant": True},
}
SCORES = ("asked accuracy", "erplexity", "greement", "Masked sentences", "AutoModelForMaskedLM")
SIZES = (
    "Size and speed: 17.4 M parameters instead of 22.7 M; 66.3 MiB instead of 86.6 MiB;"
    " 3.10 ms a text instead of 5.90 ms (batch 1, 128 tokens, 2 threads, fp32)."
)
REACH = "Measured once, on held-out text of wiki_en (57 blocks of 128 tokens), with one seed."


def write_general(folder, metrics):
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (folder / "run.yaml").write_text("corpus: {source: [wiki_en]}\n", encoding="utf-8")
    write_lines(folder / "log.jsonl", log_of({"general": {"soft_tokens": 2.1, "hidden_cosine": 0.4}}))
    return folder


def page_of(folder):
    return read(write_report(folder))


def test_a_student_with_a_head_in_words():
    metrics = pretraining_of()
    # Distances: hidden (0.01 + 0.05 + 0.15) / 3 = 0.07, before (0.02 + 0.4 + 0.6) / 3 = 0.34;
    # relations (0.1 + 0.3) / 2 and (0.3 + 0.5) / 2; scores (0.4 + 0.8) / 2 and (2 + 4) / 2. 0.52 / 0.61 = 0.8525.
    assert summary_lines(metrics) == [
        "The student keeps 85.2 % of the teacher's masked accuracy (0.520 of 0.610) with 23 % fewer parameters"
        " and answers 1.9 times as fast.",
        "Before training the masked accuracy was 0.104. Perplexity of masked tokens: 12.4 (310 before, the teacher's 7.1).",
        "Student and teacher give the same token at 71.0 % of the masked positions."
        " The student's divergence from the teacher is 0.431 nats (2.310 before).",
        "Mean distance of the student's layers from the teacher's: hidden states 0.070 (0.340 before),"
        " relations 0.200 (0.400 before), attention scores 0.600 (3.000 before).",
        SIZES,
        REACH,
    ]
    assert time_lines(metrics)[1:] == ["        9.5 s  data and models", "  13 min 32 s  training on plain text"]


def test_without_a_head_only_distances_are_told():
    assert summary_lines(pretraining_of(head=False)) == [
        "The student's layers came closer to the teacher's: hidden states from 0.340 to 0.070, relations from 0.400 to 0.200,"
        " attention scores from 3.000 to 0.600 (mean distance on held-out text); the student comes with 23 % fewer parameters"
        " and answers 1.9 times as fast.",
        SIZES,
        REACH,
    ]


def test_layers_that_came_no_closer():
    metrics = pretraining_of(head=False)
    for layer in metrics["general"]["layers"]:
        layer["after"]["hidden"] = layer["before"]["hidden"] + 0.1
    assert (
        "came closer to the teacher's by some measures, not by all: hidden states from 0.340 to 0.440, relations"
        in summary_lines(metrics)[0]
    )
    for layer in metrics["general"]["layers"]:
        layer["after"] = dict.fromkeys(layer["after"]) | {"hidden": 1.0}
    said = "came no closer to the teacher's: hidden states from 0.340 to 1.000 (mean"
    assert said in summary_lines(metrics)[0]


def test_without_a_teacher_the_model_is_compared_with_its_start():
    lines = summary_lines(pretraining_of(teacher=False))
    assert lines[0] == "The model reaches a masked accuracy of 0.520; it was trained without a teacher."
    assert lines[1] == "Before training the masked accuracy was 0.104. Perplexity of masked tokens: 12.4 (310 before)."
    assert not any("teacher's" in line for line in lines)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (True, "which learnt from the teacher; the assistant's masked accuracy is 0.580."),
        (False, "which learnt from the teacher."),
    ],
)
def test_an_assistant_is_named(head, said):
    line = f"The student learnt from an assistant, 6x312, {said}"
    assert line in summary_lines(pretraining_of(assistant=True, head=head))


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (
            {},
            "After the general phase on wiki_en the student's masked accuracy on held-out text is 0.520 (0.104 before),"
            " the teacher's 0.610.",
        ),
        (
            {"teacher": False},
            "After the general phase on wiki_en the student's masked accuracy on held-out text is 0.520 (0.104 before).",
        ),
        (
            {"head": False},
            "In the general phase on wiki_en the student's layers came closer to the teacher's: hidden states from 0.340 to"
            " 0.070, relations from 0.400 to 0.200, attention scores from 3.000 to 0.600 (mean distance on held-out text).",
        ),
    ],
)
def test_before_a_task_one_line_is_about_plain_text(make_metrics, kind, line):
    task = make_metrics("classification")
    assert summary_lines(task | {"general": general_of(**kind)}) == [*summary_lines(task), line]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_page_shows_what_was_measured(tmp_path, kind):
    text, page = page_of(write_general(tmp_path / "run", pretraining_of(**kind)))
    has_head, has_teacher = kind.get("head", True), kind.get("teacher", True)
    assert page.headings == [
        "Summary",
        *(["On held-out text"] if has_head else []),
        *(["Distance from the teacher, layer by layer"] if has_teacher else []),
        *(["Masked sentences"] if has_head else []),
        "Training",
        "Size and speed",
        "How to use the student",
        "How it was made",
    ]
    assert all((shown in text) == has_head for shown in SCORES if has_teacher or shown != "greement")
    assert text.count('aria-label="Distance of') == (3 if has_teacher else 0)
    assert ("0.580" in text) == (has_head and "assistant" in kind)
    assert ("AutoModel.from_pretrained(" in text) == (not has_head)
    assert "stillhouse distill --data FILE --student run/student" in text
    assert "hidden cosine" in page.drawn
    assert "None" not in text
    assert "Blocks of text" in text


def test_the_page_has_the_numbers(tmp_path):
    text, page = page_of(write_general(tmp_path / "run", pretraining_of()))
    for shown in ("0.610", "0.520", "0.104", "12.4", "7.1", "71.0", "0.431", "2.310", "1.9 ×", "11,300"):
        assert shown in text
    assert {"embeddings", "layer 1 (teacher 2)", "layer 2 (teacher 4)", "masked accura…"} <= set(page.drawn)
    # By layer: the distance after training, and below it that before.
    assert "<td>0.150<small>0.600 before</small></td><td>0.300<small>0.500 before</small></td>" in text
    assert "#0101" not in text


def test_a_run_with_a_task_has_both(tmp_path):
    log = log_of({"general": {"soft_tokens": 2.1}, "distil": {"soft_labels": 1.0}})
    folder = write_run(tmp_path / "run", "classification", general=general_of(assistant=True), log=log)
    text, page = page_of(folder)
    assert page.headings[:4] == ["Summary", "Scores", "General phase", "Training"]
    # The curves of a phase stand in its section, with its own score.
    phase, rest = text.split("<h2>General phase</h2>")[1].split("<h2>Training</h2>")
    assert "soft tokens" in phase
    assert "masked accura" in phase
    assert "soft labels" not in phase
    assert "soft labels" in rest
    assert "soft tokens" not in rest
    for shown in ("0.580", "17.0 M", "Masked sentences", "the teacher&#39;s masked-LM head was fitted first"):
        assert shown in phase
    assert "How to use the student" not in text


def test_a_run_with_a_task_and_no_trained_head(tmp_path):
    text, page = page_of(write_run(tmp_path / "run", "classification", general=general_of(head=False)))
    assert "General phase" in page.headings
    assert not any(shown in text for shown in SCORES if shown != "greement")
    assert text.count('aria-label="Distance of') == 3


def test_masked_sentences_are_laid_out_for_reading():
    (one,) = masked_sentences([SENTENCE])
    assert "".join(piece.text for piece in one.pieces) == " the [MASK]ist played a piano of the family"
    assert [piece.number for piece in one.pieces] == [0, 1, 0, 0, 0, 2, 0, 0, 0]
    (first, said), (second, _) = one.masked
    assert (first, second, one.more) == (1, 2, 0)
    gold, teacher, student = said
    assert gold.what == "pian"
    assert (teacher.what, teacher.confidence, teacher.right, teacher.next) == ("pian", 0.71, True, "violin 20.0 %")
    assert (student.what, student.right, student.next) == ("violin", False, "pian 31.0 %")


@pytest.mark.parametrize(
    ("tokens", "read"),
    [
        (["Ġa", "Ġpian", "ist", "[MASK]", "s"], " a pianist [MASK]s"),
        (["<s>", "a", " pian", "ist", "<mask>"], " <s>a pianist <mask>"),
        (["▁a", "▁pian", "ist"], " a pianist"),
        (["##ing", "it", "##s"], "ing its"),
        (["a\x00\n", "b"], " a b"),
    ],
)
def test_pieces_are_put_together(tokens, read):
    (one,) = masked_sentences([{"tokens": tokens, "masked": []}])
    assert "".join(piece.text for piece in one.pieces) == read


def test_long_blocks_are_cut():
    positions = [{"position": place, "gold": "a", "answers": {"student": [["a", 0.5]]}} for place in range(0, 500, 5)]
    (one,) = masked_sentences([{"tokens": ["a"] * 500, "masked": positions}])
    assert len(one.pieces) == 161
    assert one.pieces[-1].text == " …"
    assert (len(one.masked), one.more) == (6, 94)


def test_everything_from_text_is_escaped(tmp_path):
    metrics = pretraining_of(assistant=True)
    sentence = {
        "tokens": [EVIL, "b"],
        "masked": [{"position": 0, "gold": EVIL, "answers": {"student": [[EVIL, 0.5], [EVIL, 0.1]]}}],
    }
    metrics["general"] |= {"examples": [sentence], "corpus": EVIL, "notes": [EVIL], "data": EVIL}
    metrics["general"]["assistant"]["name"] = EVIL
    text, page = page_of(write_general(tmp_path / "a '<b>", metrics))
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert EVIL not in text


def test_a_record_that_says_little_is_shown(tmp_path):
    metrics = pretraining_of(head=False)
    metrics |= {"latency": {}, "cost": {}, "notes": [], "environment": {}, "stages": []}
    metrics["general"] |= {"layers": [], "stages": [], "examples": [], "notes": []}
    lines = summary_lines(metrics)
    assert lines[0].startswith("The student learnt from plain text, and no distance from its teacher was measured; the student")
    assert "Size and speed" in page_of(write_general(tmp_path / "run", metrics))[1].headings


@pytest.mark.parametrize("head", [True, False])
def test_the_command_and_the_python_interface_read_it(tmp_path, head):
    folder = write_general(tmp_path / "run", pretraining_of(head=head))
    assert CliRunner().invoke(app, ["report", str(folder)]).exit_code == 0
    run = Run(folder)
    assert run.report.exists()
    assert run.metrics["task"] == "pretraining"
    assert run.metrics["student"]["score"] == (0.52 if head else None)


@pytest.mark.parametrize(("head", "auto"), [(True, AutoModelForMaskedLM), (False, AutoModel)])
def test_the_student_of_a_run_has_the_head_that_was_trained(tmp_path, head, auto):
    folder = write_general(tmp_path / "run", pretraining_of(head=head))
    bare = make_tiny_checkpoint(folder / "student", "bert", layers=1, hidden=12)
    if head:
        AutoModelForMaskedLM.from_pretrained(bare).save_pretrained(bare)
    student, expected = Run(folder).student, auto.from_pretrained(bare)
    assert not student.training
    tokens = torch.tensor([[1, 5, 7, 2]])
    with torch.inference_mode():
        torch.testing.assert_close(student(tokens)[0], expected.eval()(tokens)[0])
    assert student(tokens)[0].shape[-1] == (student.config.vocab_size if head else 12)
