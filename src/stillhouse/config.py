"""The parts of a run's configuration: frozen pydantic models whose limits are checked where a value is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from stillhouse.task import kind_names

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
if TYPE_CHECKING:
    KindName = str
else:
    KindName = Literal[tuple(kind_names())]

BASELINE_METHOD = "finetune"  # what every other method is held against


class Frozen(BaseModel):
    """Base of every configuration value: immutable, complete, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class DataConfig(Frozen):
    """Where the examples come from and which of them are used.

    Attributes:
        source: A file or folder, a built-in name, a GLUE name, or `hub:owner/name[:config]`.
        text: Name of the column with the (first) text; None = found.
        text_pair: Name of the column with the second text; None = found.
        label: Name of the label column; None = found.
        task: Kind of the task; None = found from the data.
        label_map: Names in the data -> names of the teacher.
        max_train: Use at most so many training rows.
        max_labels: Keep the gold labels of so many training rows; the others become text without a label.
        transfer: Files with more text without labels.
        labels: Which labels train the student: `gold`, `teacher` or `mixed`.
        max_length: Longest input in tokens; None = 128, for question answering 384.
        stride: Question answering: tokens shared by neighbouring windows of a long context.
        validation_share: Share of the training rows taken when the data have no validation split.
        selection_share: Share of the training rows on which checkpoints are chosen.
        seed: Seed of everything that splits or samples rows.
    """

    source: str = "pydocs"
    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    task: KindName | None = None
    label_map: dict[str, str] = {}
    max_train: PositiveInt | None = None
    max_labels: PositiveInt | None = None
    transfer: tuple[str, ...] = ()
    labels: Literal["gold", "teacher", "mixed"] = "mixed"
    max_length: PositiveInt | None = None
    stride: PositiveInt = 128
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    selection_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: Annotated[int, Field(ge=0)] = 0


class StageConfig(Frozen):
    """How one training stage runs.

    Attributes:
        epochs: Passes over the training rows.
        least_steps: Steps that are taken at least, however few the rows; 0 where only `epochs` is given.
        learning_rate: Peak learning rate of AdamW.
        head_learning_rate: The same for the task head, which starts fresh and has a longer way to go; None = `learning_rate`.
        batch_size: Examples per optimiser step.
        accumulate: Micro-batches that a step's batch is cut into; they lower the peak of memory, not the result.
        warmup: Share of the steps in which the learning rate rises linearly.
        decay: Shape of the learning rate after the warm-up.
        weight_decay: Decoupled weight decay; biases and normalisation weights are exempt.
        max_grad_norm: Clip the norm of the gradient over trainable parameters; 0 = no clipping.
        select_on: Which state is kept: the best on the `selection` rows, or the `last`. A few dozen rows choose by chance.
            `none`: the last, without scoring any: for stages that train no head.
    """

    epochs: PositiveFloat = 3
    least_steps: Annotated[int, Field(ge=0)] = 0
    learning_rate: PositiveFloat = 5e-5
    head_learning_rate: PositiveFloat | None = None
    batch_size: PositiveInt = 32
    accumulate: PositiveInt = 1
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    decay: Literal["linear", "constant"] = "linear"
    weight_decay: NonNegativeFloat = 0.01
    max_grad_norm: NonNegativeFloat = 1.0
    select_on: Literal["selection", "last", "none"] = "selection"


class TeacherConfig(Frozen):
    """The teacher and, where it has no head for the task, how it is fine-tuned.

    Attributes:
        source: `offline` (the bundled encoder), a local folder or a hub id.
        features: `online` runs the teacher beside the student; `store` computes once a row what a stage needs, and keeps it
            for later runs; `auto` does so where it is read more than once and there is room.
        store: Where features are kept; None = in the user's cache.
        store_limit_gib: What all kept features may take, for `auto`.
        allow_weak: Go on with a teacher that is no better than the majority class.
        finetune: The stage that fits a teacher without a head.
        seed: Seed of that stage, apart from the run's so that runs with several seeds share one teacher.
    """

    source: str = "offline"
    features: Literal["auto", "online", "store"] = "auto"
    store: str | None = None
    store_limit_gib: PositiveFloat = 20.0
    allow_weak: bool = False
    finetune: StageConfig = StageConfig(epochs=2, least_steps=300, learning_rate=5e-5)
    seed: Annotated[int, Field(ge=0)] = 0


class StudentConfig(Frozen):
    """The student, and what it starts from; None = the method's own.

    Attributes:
        shape: `LxH`, `half`, a folder or a hub id.
        start: `pretrained`: layers of the teacher as it was before it was fine-tuned, where that is known; `fitted`: of the
            teacher as it solves the task, head included.
        layers: For each student layer the teacher layer (1-based) that it starts from, where the widths agree.
    """

    shape: str | None = None
    start: Literal["pretrained", "fitted"] | None = None
    layers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] | None = None


class EngineConfig(Frozen):
    """The machine's side of training.

    Attributes:
        precision: `auto` = bf16 where the hardware does it, else fp32.
        log_every: Steps between two lines of log.jsonl.
        checkpoint_seconds: Least seconds between two checkpoints at logging steps; 0 = at each. One is always written where
            the selection rows are scored.
        trackers: Experiment trackers that Accelerate knows (tensorboard, wandb, ...).
    """

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    log_every: PositiveInt = 20
    checkpoint_seconds: NonNegativeFloat = 60.0
    trackers: tuple[str, ...] = ()
