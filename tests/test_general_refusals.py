"""What cannot be learnt from plain text is refused in words, before anything is trained or written."""

import pytest
from transformers import AutoModel

from tests import toy_data
from tests.commands import put, refused
from tests.general_runs import make_silent, write_text
from tests.tiny_models import make_tiny_checkpoint

BASE = "distill --teacher bare --student 2x24 --precision fp32 --out run --set corpus.block_length=16"
WORDS = "the a of to and in is was " * 3


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_silent(tmp_path / "bare", layers=4)
    make_tiny_checkpoint(tmp_path / "roberta", "roberta", layers=2)
    padded = AutoModel.from_pretrained(make_silent(tmp_path / "padded", layers=2))
    padded.resize_token_embeddings(352)
    padded.save_pretrained(tmp_path / "padded")
    write_text(tmp_path / "text.txt", 60)
    toy_data.classification(tmp_path / "data.csv", rows=60)
    put("few.txt", "\n".join([WORDS] * 5))
    put("empty.txt", "")
    put("one.txt", "the a of to")
    put("zeros.txt", bytes(5000))
    put("latin.txt", "Straße, the a of\n".encode("latin1") * 200)
    put("table.csv", "a,b\n1,2\n")
    return tmp_path


REFUSALS = {
    "--corpus empty.txt --method minilm": "holds no text",
    "--corpus one.txt --method minilm": "4 tokens: not two blocks of 16",
    "--corpus zeros.txt --method minilm": "zeros.txt is not UTF-8 text",
    "--corpus latin.txt --method minilm": "holds the byte 0xDF",
    "--corpus table.csv --method minilm": "no known format of plain text",
    "--corpus nothere.txt --method minilm": "no file or folder 'nothere.txt'",
    "--corpus '' --method minilm": "--corpus names nothing",
    "--corpus hub:foo/bar --method minilm": "hub cannot be reached",
    "--corpus few.txt --method minilm": "8 blocks to train on, fewer than a batch of 32",
    "--corpus text.txt --method minilm --set corpus.block_length=9999": "--set corpus.block_length=512",
    "--corpus text.txt --method minilm --set corpus.block_length=5": "too short",
    "--corpus text.txt": "learns from plain text: distilbert, finetune, minilm, minilmv2, tinybert",
    "--corpus text.txt --data data.csv --method pkd": "method pkd learns from the rows of a task alone",
    "--corpus text.txt --method finetune --set general=distilbert": "general is distilbert, the method on a corpus before",
    "--data data.csv --method finetune --set general=distilbert": "but there is no corpus",
    "--corpus text.txt --data data.csv --set general=pkd": "method pkd learns from the rows of a task alone",
    "--corpus text.txt --data data.csv --set general=minlm": "unknown method 'minlm'",
    "--corpus text.txt --data data.csv --set general.x=1": "unknown key 'general.x': general has",
    "--corpus text.txt --method theseus": "method theseus learns from the rows of a task alone",
    "--corpus text.txt --method minilm --baseline": "no task on which a baseline could be scored",
    "--corpus text.txt --method minilm --text body": "--set corpus.text=...",
    "--corpus text.txt --method minilm --teacher-features store": "features of plain text are not kept",
    "--corpus text.txt --method minilm --store kept": "--store is given, but there is no task",
    "--corpus text.txt --method minilm --max-length 64": "--set corpus.block_length=...",
    "--corpus text.txt --method minilm --set student.start=fitted": "student.start is fitted",
    "--corpus text.txt --method minilm --set method.stages.general.select_on=last": "select_on: none",
    "--corpus text.txt --method distilbert --student padded": "scores 346 tokens and student padded 352",
    "--data data.csv --method logit --student roberta --assistant 3x24": "an assistant stands between them",
    "--set data.source=null --method minilm": "neither data nor a corpus",
    "--corpus text.txt --method distilbert --student 2x12": "--set method.projection=true",
    "--corpus text.txt --method minilm --student offline": "12 heads",
    "--corpus text.txt --method minilmv2 --student roberta": "cut text differently",
    "--corpus text.txt --method minilm --assistant 2x24": "has the shape of the student",
    "--corpus text.txt --method minilm --assistant 4x24": "--assistant 3x24, or leave",
    "--corpus text.txt --method minilm --assistant 5x24": "is larger than the teacher",
    "--corpus text.txt --method minilm --assistant 3x12": "is smaller than the student",
    "--corpus text.txt --method minilm --assistant 3x48": "is larger than the teacher",
    "--corpus text.txt --method minilm --assistant three": "assistant 'three' is no shape",
    "--corpus text.txt --method finetune --assistant 3x24": "an assistant learns from the teacher and teaches",
    "--corpus text.txt --method minilm --set method.stages.general.batch_size=100000": "fewer than a batch of 100,000",
}


@pytest.mark.parametrize("options", REFUSALS)
def test_refusals(here, capsys, options):
    given = [word.strip("'") for word in options.split()]
    assert REFUSALS[options] in refused(here, capsys, *BASE.split(), *given)
