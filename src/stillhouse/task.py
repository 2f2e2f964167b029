"""What a task is: its kind, and its labels. The kinds are the files in `tasks/`; nothing else has to know that one is there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

_FOLDER = Path(__file__).parent / "tasks"


@dataclass(frozen=True)
class Answer:
    """One reference answer of a question: its text and the character at which it starts in the context."""

    text: str
    start: int


@dataclass(frozen=True)  # a value without fields: two of one class are equal
class Kind(ABC):
    """One kind of task: all that is its own, from the head of its models to what is written of their predictions.

    Below, types of higher floors are named in words: `Table`, `Columns`, `Examples`, `Encoded`, `TokenizedSplit`, `Inputs`
    and `Batch` of `data/`; `Split`, `Predictions` and `Metric` of `evaluation/`; `SoftLabels` of `objectives/`.

    Attributes:
        head: What transformers calls its head: a model is a `BertFor<head>`, loaded with `AutoModelFor<head>`.
        problem_type: What tells it from other kinds with the same head in a model's configuration.
        has_classes: Whether its outputs have names.
        class_word: What these are called.
        needs_pair: Whether every row has two texts.
        can_abstain: Whether a model may give no answer, by a threshold that is chosen on the selection rows.
        needs_one_tokenizer: For what, and why, student and teacher share a tokenizer; "" where each may have its own.
        id_column: Name of the column with the rows' own names; None where they have none.
        max_length: Longest input in tokens where nobody says another.
        has_token_logits: Whether its models give logits for every token, not for whole rows.
        has_distribution: Whether its logits make a distribution, which a temperature softens.
        metrics: Each a `Metric`; the first ranks models.
        value_key: Under which name a prediction has what the metrics look at, see `written`.
    """

    head: ClassVar[str]
    problem_type: ClassVar[str | None] = None
    has_classes: ClassVar[bool] = True
    class_word: ClassVar[str] = "labels"
    needs_pair: ClassVar[bool] = False
    can_abstain: ClassVar[bool] = False
    needs_one_tokenizer: ClassVar[str] = ""
    id_column: ClassVar[str | None] = None
    max_length: ClassVar[int] = 128
    has_token_logits: ClassVar[bool] = False
    has_distribution: ClassVar[bool] = True
    metrics: ClassVar[tuple[Any, ...]]
    value_key: ClassVar[str]

    @property
    def name(self) -> str:
        """The name of its file."""
        return type(self).__module__.rpartition(".")[2]

    def __str__(self) -> str:
        return self.name

    # The head.

    def width(self, task: Task) -> int:
        """Width of the last axis of the logits."""
        return len(task.labels)

    def is_head_of(self, config: Any) -> bool:
        """Whether a checkpoint with this configuration of transformers carries a head for such tasks."""
        return f"For{self.head}" in (config.architectures or [""])[0]

    # Texts and labels as data hold them.

    @abstractmethod
    def read_text(self, value: Any, table: Any, row: int) -> Any:
        """The (first) text of a row of a `Table`, checked."""

    def text_values(self, table: Any, column: str) -> list[Any]:
        """A column of a `Table` as `read_text` takes its values."""
        values: list[Any] = table.column(column)
        return values

    @abstractmethod
    def given_texts(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Any:
        """Texts that somebody typed as `Examples` without labels."""

    def label_cells(self, table: Any, columns: Any) -> Iterable[Sequence[Any]]:
        """For each row of a `Table` the values, as they stand there, that may each be a class or say that there is none."""
        return ([value] for value in table.column(columns.label))

    def doubtful_classes(self, table: Any, columns: Any, known: Collection[str], *, by_share: bool) -> frozenset[str]:
        """Labels of a `Table` that are classes, though they often say that there is none, as `Columns.classes` has them.

        Args:
            table: The training rows.
            columns: Where in them the labels are.
            known: Labels that somebody has named.
            by_share: Whether what many rows have is a class too.
        """
        return frozenset()

    @abstractmethod
    def read_labels(self, table: Any, columns: Any, rows: Sequence[int]) -> list[Any]:
        """Labels of some rows of a `Table` with such `Columns`, by name; None where a row has none.

        Raises:
            UserError: A label does not fit the task; the message says the row and the value.
        """

    def lost_labels(self, table: Any, columns: Any, rows: Sequence[int], labels: Sequence[Any]) -> tuple[set[int], str]:
        """Positions in `labels` of those that came to nothing when they were read, and why their rows are left out."""
        return set(), ""

    @abstractmethod
    def names_of(self, label: Any) -> Iterable[str]:
        """The classes that a label by name speaks of."""

    @abstractmethod
    def to_ids(self, label: Any, ids: Mapping[str, int]) -> Any:
        """A label by name -> by class id."""

    @abstractmethod
    def to_names(self, label: Any, task: Task) -> Any:
        """The way back: a label as it is written to files."""

    def check_labels(self, names: Sequence[str], labels: Sequence[Any], source: str, column: str) -> None:
        """Refuses training labels from which nothing can be learnt.

        Args:
            names: Of all classes.
            labels: Of the labelled rows, by name; at least one.
            source: Where they come from.
            column: Where they stand, and what its other rows hold, in words.
        """

    def check_own_names(self, names: Sequence[str], source: str) -> None:
        """Refuses names of classes that mean nothing where no teacher with a head for the task has them."""

    def sole_class(self, labels: Sequence[Any]) -> int | None:
        """The id that all of these labels by id are; None where there are several, or several may be right."""
        return None

    def label_notes(self, table: Any, column: str, names: Sequence[str], labels: Sequence[Any], *, check: bool) -> list[str]:
        """What people have to know of how the labels of a `Table` were read; with `check` what is ambiguous is refused."""
        return []

    def are_hidden(self, labels: Sequence[Any]) -> bool:
        """Whether these labels of a whole split stand for labels that nobody is shown."""
        return False

    def strata(self, labels: Sequence[Any]) -> list[Any]:
        """By what rows are stratified when some of them are chosen."""
        return [0] * len(labels)

    def groups(self, examples: Any) -> Sequence[Any] | None:
        """What each of the `Examples` must not be torn from when some are held out; None = they stand alone."""
        return None

    # Tokens and targets.

    @abstractmethod
    def tokenize(self, examples: Any, first: int, tokenizer: Any, *, max_length: int, stride: int) -> Any:
        """`Examples` -> `Encoded`; the first of them is number `first` of its split."""

    @abstractmethod
    def cut_note(self, encoded: Any, max_length: int) -> str:
        """What lies beyond `max_length` in `Encoded` rows, in words; "" for nothing."""

    @abstractmethod
    def label_array(self, examples: Any, task: Task, encoded: Any) -> Any:
        """The labels of `Examples` as an array or `Ragged`, one entry an `Encoded` row."""

    @abstractmethod
    def targets(self, split: Any, rows: Any, inputs: Any) -> dict[str, Any]:
        """What a `Batch` of these rows of a `TokenizedSplit` is to hit: its `labels` and `positions`, by field.

        Args:
            split: The split, with labels as `label_array` gives them.
            rows: Their numbers.
            inputs: Their `Inputs` in the tokens of the model that learns.
        """

    def count_targets(self, split: Any, rows: Any) -> int:
        """How many things these rows of a `TokenizedSplit` have a label for."""
        return len(rows)

    def scored(self, encoded: Any) -> Any:
        """What each of the `Encoded` rows has logits for, as `Ragged` entries; None = for itself as a whole."""
        return None

    def identity(self, examples: Any) -> str:
        """What scores of `Examples` depend on beside tokens and label arrays."""
        return ""

    # Losses.

    @abstractmethod
    def hard_loss(self, logits: Any, batch: Any) -> Any:
        """The loss against the gold labels of a `Batch`, a scalar."""

    @abstractmethod
    def soft_loss(self, student: Any, teacher: Any, batch: Any, objective: Any) -> Any:
        """The loss of the student's logits against the teacher's, as `SoftLabels` are told; a scalar."""

    # Scores.

    @property
    def main_metric(self) -> Any:
        """The `Metric` by which models are ranked."""
        return self.metrics[0]

    @abstractmethod
    def measured(self, split: Any, decoded: Sequence[Any]) -> tuple[Any, Any]:
        """Gold labels of a `Split` and predictions for it, as the metrics take them."""

    def more_scores(self, split: Any, decoded: Sequence[Any]) -> dict[str, float]:
        """Scores beside the metrics, by name."""
        return {}

    def floor(self, labels: Sequence[Any], task: Task) -> float:
        """The main metric of the best constant answer to these gold labels."""
        return 0.0

    def floor_variance(self, floor: float, rows: int) -> float | None:
        """Variance of one row's part in a score at the floor; None where only resampling tells."""
        return None

    @abstractmethod
    def compared(self, split: Any, predictions: Any) -> Any:
        """`Predictions` as `agreement` takes them."""

    @abstractmethod
    def agreement(self, teacher: Any, student: Any) -> float:
        """How far two models say the same, in whatever form the metrics take it."""

    @abstractmethod
    def divergence(self, split: Any, teacher: Any, student: Any) -> tuple[float | None, Any]:
        """KL(teacher || student) of two models' `Predictions` in nats: the mean, and that of each example; None = none."""

    @abstractmethod
    def decisions(self, split: Any, predictions: Any) -> tuple[Any, Any] | None:
        """Probability of each decision that `Predictions` make, and which of them are right; None without probabilities."""

    # Decoding.

    @abstractmethod
    def decode(self, split: Any, logits: Any, view: int) -> Any:
        """Logits of a `Split`, read in the tokens of one view -> `Predictions`."""

    @abstractmethod
    def written(self, split: Any, predictions: Any, row: int) -> dict[str, Any]:
        """One row's prediction as it is written to files and shown: names instead of numbers."""

    @abstractmethod
    def read(self, values: Sequence[Any], labels: Sequence[str]) -> Any:
        """The way back: gold labels, or what predictions have under `value_key`, as the metrics take them."""

    def read_compared(self, entries: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> Any:
        """Predictions as they were written, as `agreement` takes them."""
        return self.read([entry[self.value_key] for entry in entries], labels)


@dataclass(frozen=True)
class Task:
    """What is to be learnt.

    Attributes:
        name: Short name of the data, for folders and reports.
        kind: Which head, objective and metric apply.
        labels: Class names in the order of the logits; tag names for tagging; empty for a kind without classes.
        unanswerable: Whether some rows have no answer (SQuAD 2.0).
    """

    name: str
    kind: Kind
    labels: tuple[str, ...] = ()
    unanswerable: bool = False

    @property
    def logits(self) -> int:
        """Width of the last axis of the logits."""
        return self.kind.width(self)

    @property
    def head(self) -> Head:
        """What a model of it has on its encoder."""
        return Head(self.kind.head, self)


@dataclass(frozen=True)
class Head:
    """What stands on an encoder.

    Attributes:
        name: As transformers calls it: `SequenceClassification`, `MaskedLM`; "" = nothing stands there.
        task: What it solves; None where it solves none.
    """

    name: str
    task: Task | None = None

    def __str__(self) -> str:
        if self.task is not None:
            return f"{self.task.kind} head"
        return "masked-LM head" if self.name else "encoder without a head"

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its outputs; as many as transformers takes for granted where it solves no task."""
        count = 2 if self.task is None else self.task.logits
        return (self.task.labels if self.task is not None else ()) or tuple(f"LABEL_{index}" for index in range(count))

    @property
    def problem_type(self) -> str | None:
        """As transformers calls it."""
        return None if self.task is None else self.task.kind.problem_type


MASKED_LM = Head("MaskedLM")  # scores every token of the vocabulary at every position
NO_HEAD = Head("")


def kind_names() -> list[str]:
    """Names of all kinds of task, without importing any: long ones first, as messages name them."""
    names = (file.stem for file in _FOLDER.glob("*.py") if file.stem != "__init__")
    return sorted(names, key=lambda name: (-len(name), name))


@cache
def load_kind(name: str) -> Kind:
    """The kind of task of that name, one of `kind_names`."""
    module = import_module(f"stillhouse.tasks.{name}")
    classes = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Kind)]
    kind: Kind = next(value for value in classes if value.__module__ == module.__name__)()
    return kind
