"""The workload of the speed comparisons: what each contender is given, as files, so that it can run in its own environment."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from stillhouse.config import DataConfig
from stillhouse.data.dataset import load_dataset
from stillhouse.data.tokenize import encode
from stillhouse.methods.logit import Logit
from stillhouse.models.checkpoint import find_checkpoint
from stillhouse.models.loading import build_encoder, load_encoder, load_tokenizer
from stillhouse.students.build import build_student
from stillhouse.task import Task

MAX_LENGTH = 128
STUDENT = "3x384"
# Student layer, teacher layer: the embedding output, and each layer the student was copied from.
PAIRS = {"minilm": [(0, 0), (1, 1), (2, 4), (3, 6)], "base": [(0, 0), (1, 4), (2, 8), (3, 12)]}
TEMPERATURE = 8.0
CORPUS_BYTES = 12_000_000
LINES = 20  # of a document


def prepare(folder: Path, data: str, rows: int, corpus: Path | None = None) -> dict[str, object]:
    """Writes rows, plain text and models.

    `rows.npz` has token ids one row after the other, where each row begins, and labels; `teacher` is all-MiniLM-L6-v2 with a
    fresh head (speed does not depend on its values), `student` three of its layers; `teacher-base` has the shape of BERT-base
    and random weights, `student-base` three of its layers.

    Returns:
        What is told about the workload.
    """
    torch.manual_seed(0)
    dataset = load_dataset(DataConfig(source=data, max_train=rows + 1000))
    task = dataset.task
    checkpoint = find_checkpoint("offline")
    tokenizer = load_tokenizer(checkpoint)
    examples = dataset.train.select(range(min(rows, len(dataset.train))))
    encoded = encode(examples, task, tokenizer, max_length=MAX_LENGTH)
    folder.mkdir(parents=True, exist_ok=True)
    ids = encoded.input_ids
    labels = np.array([row % len(task.labels) if label is None else label for row, label in enumerate(examples.labels or ())])
    np.savez(folder / "rows.npz", ids=ids.values, offsets=ids.offsets, labels=labels)
    write_corpus(folder / "corpus.txt", corpus, examples.text)
    teacher, _ = load_encoder(checkpoint, task.head)
    _save_pair(folder, "", teacher, task)
    _save_pair(folder, "-base", base_shaped(task, teacher.config.vocab_size), task)
    tokenizer.save_pretrained(folder / "tokenizer")
    lengths = encoded.lengths
    about = {"data": task.name, "rows": len(lengths), "mean_tokens": float(lengths.mean()), "pairs": PAIRS}
    about |= {"temperature": TEMPERATURE, "max_length": MAX_LENGTH}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    return about


def write_corpus(path: Path, source: Path | None, texts: Sequence[str]) -> None:
    """The beginning of a text; without one, these again and again, as documents of some lines."""
    if source is not None:
        content = source.read_bytes()
        content = gzip.decompress(content) if source.suffix == ".gz" else content
        path.write_text(content[:CORPUS_BYTES].decode("utf-8", errors="ignore"), encoding="utf-8")
        return
    size = sum(len(text.encode()) + 1 for text in texts)
    lines = list(islice(cycle(" ".join(text.split()) for text in texts), len(texts) * CORPUS_BYTES // size))
    documents = ("\n".join(lines[start : start + LINES]) for start in range(0, len(lines), LINES))
    path.write_text("\n\n".join(documents), encoding="utf-8")


def base_shaped(task: Task, vocabulary: int) -> BertForSequenceClassification:
    """A BERT of 12 layers and width 768 with random weights."""
    return build_encoder(BertConfig(vocab_size=vocabulary, num_labels=len(task.labels)), task.head)


def _save_pair(folder: Path, name: str, teacher: BertForSequenceClassification, task: Task) -> None:
    shape = STUDENT if not name else "3x768"
    student, _ = build_student(
        shape, teacher=teacher, teacher_checkpoint_name="teacher", head=task.head, layers_rule=Logit().copied_layers
    )
    teacher.save_pretrained(folder / f"teacher{name}")
    student.save_pretrained(folder / f"student{name}")
