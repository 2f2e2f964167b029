"""The kinds of task, each a file named after it; nothing else has to know that it is there. Here what some of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from stillhouse.data.batch import Inputs
from stillhouse.data.examples import Examples
from stillhouse.data.read_examples import check_given, read_string
from stillhouse.data.readers.table import Table
from stillhouse.data.text import Rows
from stillhouse.data.tokenize import Encoded, encode_texts
from stillhouse.data.tokenized_split import TokenizedSplit
from stillhouse.evaluation.evaluate import Predictions, Split
from stillhouse.evaluation.fidelity import share_equal
from stillhouse.task import Kind


class RowKind(Kind):
    """A kind whose models read a text, or a pair of texts, and give one vector of logits for it."""

    head: ClassVar[str] = "SequenceClassification"

    def read_text(self, value: Any, table: Table, row: int) -> str:
        return read_string(value, table, row)

    def given_texts(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Examples:
        check_given(texts, pairs)
        return Examples(list(texts), [None] * len(texts), None if pairs is None else list(pairs))

    def tokenize(self, examples: Examples, first: int, tokenizer: Any, *, max_length: int, stride: int) -> Encoded:
        return encode_texts(examples, first, tokenizer, max_length)

    def cut_note(self, encoded: Encoded, max_length: int) -> str:
        # A row that just fills the length counts as cut: the tokenizer does not tell the two apart.
        cut = int((encoded.lengths >= max_length).sum())
        return f"{cut:,} of {len(encoded):,} rows fill {max_length} tokens; longer ones are cut (--max-length)" if cut else ""

    def targets(self, split: TokenizedSplit, rows: Rows, inputs: Inputs) -> dict[str, Tensor]:
        assert isinstance(split.labels, np.ndarray)
        return {"labels": torch.from_numpy(split.labels[rows]), "positions": torch.ones(len(rows), dtype=torch.bool)}

    def compared(self, split: Split, predictions: Predictions) -> Any:
        return predictions.decoded

    def agreement(self, teacher: Any, student: Any) -> float:
        return share_equal(teacher, student)
