"""What a run learns from a corpus, ready to train: text, models and stages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stillhouse.config import BASELINE_METHOD
from stillhouse.corpus.corpus import Corpus
from stillhouse.corpus.kept_corpus import KeptCorpus
from stillhouse.corpus.masking import Masking
from stillhouse.files import MASKED_LM_TEACHER
from stillhouse.method import Stage
from stillhouse.methods import load_method
from stillhouse.models.adapter import dimensions
from stillhouse.models.model import Model
from stillhouse.runs.prepared import Learner
from stillhouse.runs.run_config import RunConfig
from stillhouse.task import MASKED_LM, Head

# At most so many of what is held out are scored: more tell little more.
SELECTION_BLOCKS, SCORED_BLOCKS, COMPARED_BLOCKS = 256, 512, 128


@dataclass(frozen=True)
class General:
    """The general phase of a run.

    Attributes:
        config: The run's configuration.
        kept: The corpus.
        head: What the models have on their encoders.
        teacher: The teacher of the phase; None where nobody teaches.
        fits_teacher: Whether its head is to be fitted first.
        learners: Who learns, in order; the student is the last.
        notes: What was decided.
    """

    config: RunConfig
    kept: KeptCorpus
    head: Head
    teacher: Model | None
    fits_teacher: bool
    learners: tuple[Learner, ...]
    notes: tuple[str, ...]

    @property
    def student(self) -> Model:
        """The student at its start."""
        return self.learners[-1].model

    @property
    def has_head(self) -> bool:
        """Whether models are scored by what they say of masked tokens."""
        return self.head == MASKED_LM

    @cached_property
    def train(self) -> Corpus:
        """The blocks to train on."""
        return self.kept.train()

    @cached_property
    def selection(self) -> Corpus:
        """The first half of what is held out: on it states are chosen while a model is trained."""
        return self._held_out(0, SELECTION_BLOCKS)

    @cached_property
    def validation(self) -> Corpus:
        """The second half: it is scored once, at the end. A single block is both."""
        return self._held_out(1, SCORED_BLOCKS)

    @cached_property
    def compared(self) -> Corpus:
        """Some of these, on which layers are compared."""
        return self.validation.select(evenly(len(self.validation), COMPARED_BLOCKS))

    def _held_out(self, half: int, most: int) -> Corpus:
        held_out = self.kept.held_out().masked(Masking() if self.has_head or self.fits_teacher else None)
        rows = np.array_split(np.arange(len(held_out)), 2)[half]
        rows = rows if len(rows) else np.arange(len(held_out))
        return held_out.select(rows[evenly(len(rows), most)])

    def text_of(self, stage: Stage) -> Corpus:
        """The training blocks as a stage sees them."""
        text = self.train.masked(stage.masking)
        return replace(text, width=self.config.corpus.block_length) if stage.pads else text

    @property
    def teacher_stage(self) -> Stage | None:
        """Masked language modelling by the teacher itself, as `finetune` has it; None where its head is not to be fitted."""
        if self.teacher is None or not self.fits_teacher:
            return None
        sizes = dimensions(self.teacher.encoder.config)
        (stage,) = load_method(BASELINE_METHOD).model_validate({}).general(sizes, sizes)
        return replace(stage, name=MASKED_LM_TEACHER, config=self.config.teacher.masked_lm, student="teacher", teacher=None)


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """So many of the first `count` numbers at most, evenly spread."""
    return np.linspace(0, count - 1, min(most, count)).astype(np.int64)
