"""`stillhouse predict`: what a model says of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stillhouse.config import DataConfig, EngineConfig
from stillhouse.data.dataset import read_texts
from stillhouse.data.examples import Examples
from stillhouse.data.tokenized_split import tokenized_split
from stillhouse.errors import UserError
from stillhouse.evaluation.evaluate import Split, predict_split
from stillhouse.evaluation.trained import answer_threshold, check_pairs, load_with_head, remembered_columns, tokens_for
from stillhouse.machine.engine import build_accelerator


def predict_texts(
    model: str,
    texts: Sequence[str] | None,
    pairs: Sequence[str] | None,
    data: str | None,
    settings: DataConfig,
    engine: EngineConfig,
) -> list[dict[str, Any]]:
    """One dictionary a text: what was given, and the prediction.

    Raises:
        UserError: The model has no head, or a question has no context.
    """
    name, encoder, tokenizer, task = load_with_head(model)
    if data is not None:
        config = settings.model_copy(update={"source": data})
        try:
            examples = read_texts(config, task.kind, remembered_columns(encoder))
        except UserError as error:
            fix = "rename the column to text" if "--text" in error.fix else error.fix  # predict has no option for it
            raise UserError(error.given, expected=error.expected, fix=fix) from None
    else:
        assert texts is not None
        examples = task.kind.given_texts(texts, pairs)
    check_pairs(name, encoder, task.kind, pairs=examples.text_pair is not None)
    if len(examples) == 0:
        return []
    accelerator = build_accelerator(engine)
    split = Split(examples, tokenized_split(examples, task, tokens_for(examples, task, encoder, tokenizer, settings)))
    predicted = predict_split(encoder.to(accelerator.device), split, accelerator)
    predictions = predicted.with_threshold(answer_threshold(encoder))
    return [_row(examples, row) | task.kind.written(split, predictions, row) for row in range(len(examples))]


def _row(examples: Examples, row: int) -> dict[str, Any]:
    given: dict[str, Any] = {"id": examples.ids[row], "text": examples.text[row]}
    if examples.text_pair is not None:
        given["text_pair"] = examples.text_pair[row]
    return given
