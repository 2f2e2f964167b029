"""A run's whole configuration: a value, complete and closed."""

from __future__ import annotations

from pydantic import Field, SerializeAsAny

from stillhouse.config import RunSettings
from stillhouse.method import Method
from stillhouse.methods import load_method
from stillhouse.models.spec import is_layers_by_width
from stillhouse.students.build import ShapeStart


class RunConfig(RunSettings):
    """Everything that decides a run; `stillhouse distill --config run.yaml` repeats it.

    Attributes:
        general: The method on the corpus, where it is another than on the task; None = `method` on both.
    """

    method: SerializeAsAny[Method] = Field(default_factory=lambda: load_method("logit").model_validate({}))
    general: SerializeAsAny[Method] | None = None

    @property
    def general_method(self) -> Method:
        """The method on the corpus."""
        return self.method if self.general is None else self.general

    @property
    def on_corpus(self) -> RunConfig:
        """The same configuration as the general phase reads it: with the method on the corpus."""
        return self.model_copy(update={"method": self.general_method, "general": None})

    @property
    def starts_from_fitted_teacher(self) -> bool:
        """Whether the student starts from the teacher as it solves the task."""
        if self.student.start is None:
            return self.method.starts_from_fitted_teacher
        return self.student.start == "fitted"

    @property
    def shape_start(self) -> ShapeStart:
        """What a student that is given by its shape is made from, before any teacher is fitted."""
        start = self.student.start
        return "pretrained" if start is None or start == "fitted" else start

    @property
    def without_start(self) -> RunConfig:
        """The same configuration with a student that starts from random weights."""
        return self.model_copy(update={"student": self.student.model_copy(update={"start": "fresh", "layers": None})})

    @property
    def names_teacher_layers(self) -> bool:
        """Whether the user asks for whole layers of the teacher."""
        return self.student.layers is not None or self.student.start in ("pretrained", "fitted")

    @property
    def needs_fitted_teacher(self) -> bool:
        """Whether there has to be a teacher that solves the task: to learn from it, or to start from it."""
        return self.method.uses_teacher or self.starts_from_fitted_teacher

    def copied_layers(self, student_layers: int, teacher_layers: int) -> tuple[int, ...]:
        """Which teacher layer (1-based) each student layer starts from."""
        return self.student.layers or self.method.copied_layers(student_layers, teacher_layers)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Files, folders and names that the run is made from."""
        teacher = self.teacher.source, self.teacher.vocab
        given = (self.data.source, *self.corpus.source, *self.data.transfer, *teacher, self.student.shape)
        return tuple(one for one in given if one is not None)

    @property
    def has_task(self) -> bool:
        """Whether it learns a task; otherwise it learns from a corpus alone."""
        return self.data.source is not None

    @property
    def has_new_teacher(self) -> bool:
        """Whether the teacher is made from nothing: then it learns language first, and teaches the task as it is after that."""
        return is_layers_by_width(self.teacher.source)

    @property
    def general_seed(self) -> int:
        """Seed of what is learnt from a corpus: with a task the corpus's, so that runs of several seeds share it."""
        return self.corpus.seed if self.has_task else self.seed
