"""The parts of a run's configuration: frozen pydantic models whose limits are checked where a value is given.

A field that is an option of the commands says so itself, in its `Option`; the other fields are described by their class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stillhouse.task import kind_names

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
if TYPE_CHECKING:
    KindName = str
else:
    KindName = Literal[tuple(kind_names())]

BASELINE_METHOD = "finetune"  # what every other method is held against


class Frozen(BaseModel):
    """Base of every configuration value: immutable, complete, and closed to unknown keys.

    Attributes:
        group: Title of its options.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    group: ClassVar[str] = ""

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth(cls, value: Any, info: ValidationInfo) -> Any:
        """True and false are 1 and 0 to Python; nobody who writes them means a number."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        may_hold = annotation is Any or annotation is bool or bool in get_args(annotation)
        given = value if isinstance(value, list | tuple) else [value]
        if not may_hold and any(isinstance(one, bool) for one in given):
            raise PydanticCustomError("truth", "Input should be neither true nor false")
        return value

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


@dataclass(frozen=True)
class Option:
    """A field as an option: `--max-train` on the command line, `max_train` in Python.

    Attributes:
        help: One sentence, and the default in brackets.
        name: In Python, where it is not the field's.
        group: Title of the options among which help shows it, where it is not that of the field's class.
        given: What Python may give, where it is not what the field holds.
        also: Other names on the command line.
        takes_many: Whether several values may follow one name: `--transfer A B`.
    """

    help: str
    name: str = ""
    group: str = ""
    given: Any = None
    also: tuple[str, ...] = ()
    takes_many: bool = False


GROUPS = ("Data", "Teacher", "Student and method", "Training", "Output")  # of options, in the order in which help shows them
DATA, TEACHER, STUDENT, TRAINING, OUTPUT = GROUPS


class DataConfig(Frozen):
    """Where the examples come from and which of them are used.

    Attributes:
        source: None = there is no task: the run learns from a corpus alone.
        stride: Question answering: tokens shared by neighbouring windows of a long context.
        validation_share: Share of the training rows taken when the data have no validation split.
        selection_share: Share of the training rows on which checkpoints are chosen.
        seed: Seed of everything that splits or samples rows.
    """

    group: ClassVar[str] = DATA

    source: Annotated[
        str | None,
        Option(
            "File, folder, built-in or GLUE name, hub:owner/name. [pydocs; none with --corpus]", name="data", given=str | Path
        ),
    ] = "pydocs"
    text: Annotated[str | None, Option("Column of the text. [found]")] = None
    text_pair: Annotated[str | None, Option("Column of the second text. [found]")] = None
    label: Annotated[str | None, Option("Column of the label. [found]")] = None
    task: Annotated[KindName | None, Option("Kind of the task. [found]")] = None
    label_map: Annotated[
        dict[str, str],
        Option("data=teacher label names where they differ; may be repeated.", given=Mapping[str, str] | Sequence[str]),
    ] = {}
    max_train: Annotated[PositiveInt | None, Option("Use so many training rows. [all]")] = None
    max_labels: Annotated[PositiveInt | None, Option("Keep so many gold labels; the other rows become plain text. [all]")] = (
        None
    )
    transfer: Annotated[
        tuple[str, ...],
        Option("Files with more text without labels: --transfer A B.", given=Sequence[str | Path], takes_many=True),
    ] = ()
    labels: Annotated[Literal["gold", "teacher", "mixed"], Option("Which labels train the student. [mixed]")] = "mixed"
    max_length: Annotated[PositiveInt | None, Option("Longest input in tokens. [128; qa 384]")] = None
    stride: PositiveInt = 128
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    selection_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: Seed = 0

    @property
    def task_source(self) -> str:
        """The source, of which somebody knows that there is one."""
        assert self.source is not None
        return self.source


class CorpusConfig(Frozen):
    """Plain text to learn language from.

    Attributes:
        text: Column of the text, where the text has columns; None = found.
        block_length: Tokens of a block, special ones included.
        heldout_share: Share of the documents that is held out, for selection and validation; where documents are few, of
            the blocks.
        seed: Of what is held out, of the masks and of the students that start fresh: runs with several seeds of their own
            share what is learnt from the corpus.
    """

    group: ClassVar[str] = DATA

    source: Annotated[
        tuple[str, ...],
        Option(
            "Plain text to learn language from: files, folders, hub:owner/name. [none]",
            name="corpus",
            given=str | Path | Sequence[str | Path],
            takes_many=True,
        ),
    ] = ()
    text: str | None = None
    block_length: PositiveInt = 128
    heldout_share: Annotated[float, Field(gt=0, lt=1)] = 0.01
    seed: Seed = 0

    @field_validator("source", mode="before")
    @classmethod
    def _one_is_enough(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class StageConfig(Frozen):
    """How one training stage runs; its options are those of a method's last stage.

    Attributes:
        steps: Optimiser steps in the place of epochs; None = from the epochs.
        least_steps: Steps that are taken at least, however few the rows; 0 where only `epochs` is given.
        head_learning_rate: Peak rate for the task head, which starts fresh and has a longer way to go; None = `learning_rate`.
        accumulate: Micro-batches that a step's batch is cut into; they lower the peak of memory, not the result.
        warmup: Share of the steps in which the learning rate rises linearly.
        decay: Shape of the learning rate after the warm-up.
        weight_decay: Decoupled weight decay; biases and normalisation weights are exempt.
        max_grad_norm: Clip the norm of the gradient over trainable parameters; 0 = no clipping.
        select_on: Which state is kept: the best on the `selection` rows, or the `last`. A few dozen rows choose by chance.
            `none`: the last, without scoring any: for stages that train no head.
    """

    group: ClassVar[str] = TRAINING

    epochs: Annotated[PositiveFloat, Field(le=1_000_000), Option("Epochs of the last stage. [the method's]")] = 3
    steps: PositiveInt | None = None
    least_steps: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[PositiveFloat, Option("Peak rate, last stage. [the method's]")] = 5e-5
    head_learning_rate: PositiveFloat | None = None
    batch_size: Annotated[PositiveInt, Option("Examples a step, last stage. [the method's]")] = 32
    accumulate: PositiveInt = 1
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    decay: Literal["linear", "constant"] = "linear"
    weight_decay: NonNegativeFloat = 0.01
    max_grad_norm: NonNegativeFloat = 1.0
    select_on: Literal["selection", "last", "none"] = "selection"


class TeacherConfig(Frozen):
    """The teacher and, where it has no head for the task, how it is fine-tuned.

    Attributes:
        features: `online` runs the teacher beside the student; `store` computes once a row what a stage needs, and keeps it
            for later runs; `auto` does so where it is read more than once and there is room.
        store_limit_gib: What all kept features may take, for `auto`.
        finetune: The stage that fits a teacher without a head.
        masked_lm: The stage that fits a masked-LM head, where what is learnt from a corpus asks for one.
        seed: Seed of that stage and of fresh weights, apart from the run's so that runs with several seeds share one teacher.
    """

    group: ClassVar[str] = TEACHER

    source: Annotated[
        str,
        Option(
            "Local folder or hub id, or LxH for a new one, with --corpus. [the bundled encoder]",
            name="teacher",
            given=str | Path,
        ),
    ] = "offline"
    vocab: Annotated[
        str | None,
        Option(
            "Vocabulary of a new teacher: vocab.txt, tokenizer.json, or their folder. [the bundled encoder's]", given=str | Path
        ),
    ] = None
    features: Annotated[
        Literal["auto", "online", "store"],
        Option("Whether its features are computed beside the student or kept. [auto]", name="teacher_features"),
    ] = "auto"
    store: Annotated[str | None, Option("Where the teacher's features are kept. [the user's cache]", given=str | Path)] = None
    store_limit_gib: PositiveFloat = 20.0
    allow_weak: Annotated[
        bool, Option("Go on with a teacher no better than the majority class.", name="allow_weak_teacher")
    ] = False
    finetune: StageConfig = StageConfig(epochs=2, least_steps=300, learning_rate=5e-5)
    masked_lm: StageConfig = StageConfig(epochs=1, learning_rate=5e-5, head_learning_rate=1e-3, select_on="last")
    seed: Seed = 0


class StudentConfig(Frozen):
    """The student, and what it starts from; None = the method's own.

    Attributes:
        start: `pretrained`: layers of the teacher as it was before it was fine-tuned, where that is known; `fitted`: of the
            teacher as it solves the task, head included; `slice`: what matters most of a wider teacher's layers; `fresh`:
            random weights.
        slice_by: What matters: `activations`, by what the teacher makes of some of the run's text; or the `first` dimensions.
        layers: For each student layer the teacher layer (1-based) that it starts from.
    """

    group: ClassVar[str] = STUDENT

    shape: Annotated[
        str | None, Option("LxH such as 3x384, half, a folder or hub id. [half]", name="student", given=str | Path)
    ] = None
    start: Literal["pretrained", "fitted", "slice", "fresh"] | None = None
    slice_by: Literal["activations", "first"] = "activations"
    layers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] | None = None


class MethodSettings(Frozen):
    """What every method's settings have; the others are its own.

    Attributes:
        stages: Its stages, each a `StageConfig`.
    """

    group: ClassVar[str] = STUDENT

    name: Annotated[str, Option("See `stillhouse methods`. [logit]", name="method")]
    stages: Any = None


class OfficialSettings(Frozen):
    """What those methods have too that know what their authors did."""

    group: ClassVar[str] = STUDENT

    compat: Annotated[
        Literal["official"] | None, Option("The authors' own reductions, and their steps on a corpus, where a method has them.")
    ] = None


class EngineConfig(Frozen):
    """The machine's side of training.

    Attributes:
        log_every: Steps between two lines of log.jsonl.
        checkpoint_seconds: Least seconds between two checkpoints at logging steps; 0 = at each. One is always written where
            the selection rows are scored.
    """

    group: ClassVar[str] = TRAINING

    precision: Annotated[
        Literal["auto", "fp32", "bf16"], Option("Of the arithmetic; auto: bf16 where the hardware does it. [auto]")
    ] = "auto"
    log_every: PositiveInt = 20
    checkpoint_seconds: NonNegativeFloat = 60.0
    trackers: Annotated[
        tuple[str, ...],
        Option("Experiment tracker, such as tensorboard; may be repeated.", name="track", given=Sequence[str]),
    ] = ()


AssistantShape = Annotated[
    str | None, Option("LxH: a model between teacher and student, which teaches the student. [none]", group=STUDENT)
]


class RunSettings(Frozen):
    """Everything that decides a run, of its method what all methods have: `RunConfig` has the method as a whole."""

    data: DataConfig = DataConfig()
    corpus: CorpusConfig = CorpusConfig()
    teacher: TeacherConfig = TeacherConfig()
    student: StudentConfig = StudentConfig()
    method: MethodSettings
    assistant: AssistantShape = None
    baseline: Annotated[bool | None, Option("Also train the same student without the teacher. [for pydocs]", group=STUDENT)] = (
        None
    )
    engine: EngineConfig = EngineConfig()
    seed: Annotated[Seed, Option("Seed of the student's training. [0]", group=TRAINING)] = 0
    out: Annotated[str | None, Option("Run folder. [runs/<data>-<method>-<student>]", group=OUTPUT, given=str | Path)] = None
