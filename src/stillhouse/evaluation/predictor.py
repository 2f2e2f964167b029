"""One trained model that is ready to answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pydantic import TypeAdapter

from stillhouse.config import DataConfig, EngineConfig, PositiveInt
from stillhouse.data.examples import Examples
from stillhouse.data.tokenize import encode
from stillhouse.data.tokenized_split import TokenizedSplit, tokenized_split
from stillhouse.errors import StillhouseError, UserError, listed, shown
from stillhouse.evaluation.evaluate import Predictions, Split, decode
from stillhouse.evaluation.scoring import Logits, compute_logits
from stillhouse.machine.engine import build_accelerator
from stillhouse.models import limits
from stillhouse.models.architecture import head_kind, head_labels, reason_of
from stillhouse.models.checkpoint import find_checkpoint
from stillhouse.models.loading import load_encoder, load_tokenizer, notes_on
from stillhouse.models.model import Model
from stillhouse.task import Task

ALWAYS = 1e9  # stands for "never without an answer": JSON has no infinity


@dataclass(frozen=True)
class Remembered:
    """What a model's configuration, which is saved with it, says of its training; a model from elsewhere has the defaults.

    Attributes:
        columns: Names of the columns that it was trained on, by what they hold; empty for a model from elsewhere.
        max_length: At how many tokens its inputs were cut; None = nobody says.
        stride: Question answering: tokens that neighbouring windows of a long context share.
        no_answer_threshold: See `Predictions`; 0 gives what scores higher.
    """

    columns: Mapping[str, str | None] = field(default_factory=dict)
    max_length: PositiveInt | None = None
    stride: int = DataConfig().stride
    no_answer_threshold: float = 0.0


def remember(config: Any, data: DataConfig, threshold: float | None) -> None:
    """Stores in a model's configuration of transformers what its inputs were and when it gives no answer."""
    columns = {"text": data.text, "text_pair": data.text_pair, "label": data.label}
    config.stillhouse = {"max_length": data.max_length, "stride": data.stride, "columns": columns}
    if threshold is not None:
        config.stillhouse["no_answer_threshold"] = min(threshold, ALWAYS)


def remembered(config: Any) -> Remembered:
    """What `remember` stored.

    Raises:
        UserError: Somebody has changed it.
    """
    content = getattr(config, "stillhouse", None)
    try:
        names = {one.name for one in fields(Remembered)}
        known = {name: value for name, value in dict(content or {}).items() if name in names and value is not None}
        found = TypeAdapter(Remembered).validate_python(known)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"config.json of {config.name_or_path} says stillhouse {shown(content)}",
            expected="what a run wrote there",
            fix="copy the folder again, or leave it out: columns and lengths are then the defaults",
        ) from error
    return replace(found, no_answer_threshold=math.inf) if found.no_answer_threshold >= ALWAYS else found


class Predictor:
    """A trained model that is ready to answer: as often as it is asked, without being loaded again.

    Args:
        name: What reports call it.
        task: What it was trained for.
        tokenizer: Its own.
        config: Its configuration of transformers, which says how long its inputs may be and how they were in training.
        compute: Rows in its tokens -> their logits, as `compute_logits` gives them.
        notes: What people have to know of it.

    Attributes:
        remembers: What it remembers of its training.
    """

    def __init__(
        self,
        name: str,
        task: Task,
        tokenizer: Any,
        config: Any,
        compute: Callable[[TokenizedSplit], Logits],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.name, self.task, self.tokenizer, self.config = name, task, tokenizer, config
        self.logits, self.notes = compute, notes
        self.remembers = remembered(config)

    @classmethod
    def of_model(cls, model: Model, task: Task, accelerator: Any) -> Predictor:
        """A live model, on the engine's device and in its precision; it reads view 0, the only one that `tokenize` makes."""
        encoder = model.encoder.to(accelerator.device)

        def compute(rows: TokenizedSplit) -> Logits:
            try:  # of several processes one may ask alone
                return compute_logits(encoder, rows, 0, accelerator, is_shared=False)
            except StillhouseError:
                raise
            except Exception as error:  # whatever a family's own code makes of it
                raise UserError(
                    f"{model.name}, a {encoder.config.model_type}, cannot be run: {reason_of(error)}",
                    expected="a model, and a tokenizer that fits it, which read such texts",
                    fix="give shorter texts with --max-length, or another model",
                ) from error

        return cls(model.name, task, model.tokenizer, encoder.config, compute, model.notes)

    @classmethod
    def of_folder(cls, source: str, engine: EngineConfig | None = None) -> Predictor:
        """A model folder, or a model of the hub.

        Raises:
            UserError: It has no head that Stillhouse can use.
        """
        model, task = load_with_head(source)
        return cls.of_model(model, task, build_accelerator(engine or EngineConfig()))

    def predict(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_length: int | None = None
    ) -> list[dict[str, Any]]:
        """What it says of texts, in their order; see `answer`.

        Args:
            texts: The texts; for question answering the questions, for tagging sentences that are split at spaces.
            pairs: Second texts, one for each text; for question answering the contexts.
            max_length: Longest input in tokens; None = as in training.

        Raises:
            UserError: A question has no context, or the model was trained on pairs and texts are single, or the reverse.
        """
        return self.answer(self.task.kind.given_texts(texts, pairs), max_length=max_length)

    def answer(self, examples: Examples, *, max_length: int | None = None) -> list[dict[str, Any]]:
        """One dictionary an example: what was given, and the prediction."""
        self.check_pairs(examples)
        if len(examples) == 0:
            return []
        split = self.tokenize(examples, max_length=max_length)
        predictions = self.score(split)
        return [_given(examples, row) | self.task.kind.written(split, predictions, row) for row in range(len(examples))]

    def check_pairs(self, examples: Examples) -> None:
        """Refuses single texts for a model that was trained on pairs, and the reverse; a model from elsewhere takes both.

        Raises:
            UserError: They do not fit.
        """
        columns, pairs = self.remembers.columns, examples.text_pair is not None
        trained_on_pairs = columns.get("text_pair") is not None
        if columns and not self.task.kind.needs_pair and trained_on_pairs != pairs:
            given, wanted = ("pairs of texts", "single texts") if pairs else ("single texts", "pairs of texts")
            raise UserError(
                f"{self.name} was trained on {wanted}, and {given} are given",
                expected=wanted,
                fix="leave the second texts out" if pairs else "name the second texts with --text-pair",
            )

    def tokenize(self, examples: Examples, task: Task | None = None, *, max_length: int | None = None) -> Split:
        """Examples in its tokens, cut as in its training unless told otherwise.

        Args:
            examples: The examples.
            task: Theirs, where it is not the model's own: of the same kind, with data and labels of its own.
            max_length: Longest input in tokens; None = as in training.
        """
        task = task or self.task
        asked = max_length or self.remembers.max_length
        length = limits.max_length(asked, task.kind, [(self.config, self.tokenizer)])
        tokens = encode(examples, task, self.tokenizer, max_length=length, stride=self.remembers.stride)
        return Split(examples, tokenized_split(examples, task, tokens))

    def score(self, split: Split) -> Predictions:
        """Scores every row of a split that `tokenize` made, and decodes.

        Never with a threshold that was chosen on the very rows that are scored: with the one that it remembers.
        """
        return decode(split, self.logits(split.tokens)).with_threshold(self.remembers.no_answer_threshold)


def load_with_head(source: str) -> tuple[Model, Task]:
    """A model with a trained head, and the task that its configuration describes.

    Raises:
        UserError: It has no head that Stillhouse can use.
    """
    checkpoint = find_checkpoint(source)
    kind = head_kind(checkpoint.config)
    if kind is None:
        reason = "".join(f"; {note}" for note in checkpoint.notes)
        raise UserError(
            f"{source} has no task head{reason}",
            expected="a model that was fine-tuned for classification, regression, tagging or question answering",
            fix="give the student/ or teacher/ folder of a run on a task; with --student a model of plain text learns one",
        )
    labels = head_labels(checkpoint.config) if kind.has_classes else ()
    if len(set(labels)) < len(labels):
        raise UserError(
            f"{source} has several outputs of one name: {listed(labels)}",
            expected="a name of its own for each output",
            fix="correct id2label in its config.json",
        )
    task = Task(checkpoint.name, kind, labels, unanswerable=kind.can_abstain)
    encoder, _ = load_encoder(checkpoint, task.head)
    tokenizer = load_tokenizer(checkpoint)
    return Model(checkpoint.name, encoder, tokenizer, notes=notes_on(checkpoint, tokenizer)), task


def _given(examples: Examples, row: int) -> dict[str, Any]:
    given: dict[str, Any] = {"id": examples.ids[row], "text": examples.text[row]}
    if examples.text_pair is not None:
        given["text_pair"] = examples.text_pair[row]
    return given
