"""A saved student in a process that knows no Stillhouse: plain transformers says what the run said."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
from tests.methods.runs import distilled
from tests.tiny_models import make_tiny_checkpoint
from tests.toy_data import TASKS

pytestmark = pytest.mark.extra

PROGRAM = """
import importlib.util, json, sys
site, folder, lines = sys.argv[1:]
sys.path.append(site)
assert importlib.util.find_spec("stillhouse") is None
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer
lines = [json.loads(line) for line in open(lines, encoding="utf-8")]
tokenizer = AutoTokenizer.from_pretrained(folder)
if isinstance(lines[0]["text"], str):
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    given = tokenizer([line["text"] for line in lines], padding=True, return_tensors="pt")
    with torch.no_grad():
        print(json.dumps(model(**given).logits.softmax(dim=-1).tolist()))
else:
    model = AutoModelForTokenClassification.from_pretrained(folder)
    said = []
    for line in lines:
        given = tokenizer(line["text"], is_split_into_words=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            tags = model(**given).logits[0].argmax(dim=-1).tolist()
        words = given.word_ids()
        said.append([model.config.id2label[tags[words.index(word)]] for word in range(len(line["text"])) if word in words])
    print(json.dumps(said))
"""


@pytest.fixture
def others(tmp_path):
    """A folder of all that is installed but Stillhouse."""
    site = tmp_path / "site"
    site.mkdir()
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            if "stillhouse" not in entry.name and entry.suffix != ".pth":
                (site / entry.name).symlink_to(entry)
    return site


@pytest.mark.usefixtures("empty_report")
@pytest.mark.parametrize(("task", "method"), [("classification", "tinybert"), ("tagging", "logit")])
def test_a_student_is_a_plain_model(tmp_path, others, task, method):
    teacher = make_tiny_checkpoint(tmp_path / "teacher", "bert")
    done = distilled(method, TASKS[task](tmp_path, rows=40), teacher, tmp_path / "run")
    record = done.folder / "predictions.jsonl"
    # Without site-packages, and so without what is installed there by reference: only what is named is found.
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(others), str(done.folder / "student"), str(record)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout)
    lines = [json.loads(line)["student"] for line in record.read_text(encoding="utf-8").splitlines()]
    if task == "tagging":
        assert found == [line["tags"] for line in lines]
    else:
        said = torch.tensor([line["probabilities"] for line in lines])
        assert torch.allclose(torch.tensor(found), said, atol=1e-4)
