"""Where the weights of a student came from."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from stillhouse.models.adapter import hidden_size, layer_count


@dataclass(frozen=True)
class Start:
    """How a student starts.

    Attributes:
        description: In words, for tables: `layers 2, 4, 6 of all-MiniLM-L6-v2`, `slice of layers 2, 4, 6 of all-MiniLM-L6-v2
            (312 of 384 dimensions)`.
        copied: Names of the student's tensors that were copied.
        skipped: Names of the teacher's tensors that were to be copied but have no place in the student.
        fresh: Names of the student's tensors with random weights.
        note: What else people have to know.
    """

    description: str
    copied: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    note: str = ""

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was copied."""
        return not self.copied

    def sentence(self) -> str:
        """The counts, for people, with the names of the few that are not copied."""
        noun = "tensor" if len(self.copied) == 1 else "tensors"
        counts = f"{len(self.copied)} {noun} copied, {_counted(self.skipped, 'skipped')}, {_counted(self.fresh, 'fresh')}"
        return f"{counts}; {self.note}" if self.note else counts


def _counted(tensors: tuple[str, ...], what: str, most: int = 6) -> str:
    return f"{len(tensors)} {what}" + (f" ({', '.join(tensors)})" if 0 < len(tensors) <= most else "")


def fresh_start(student: PreTrainedModel) -> Start:
    """Everything is random."""
    layers, width = layer_count(student.config), hidden_size(student.config)
    noun = "layer" if layers == 1 else "layers"
    return Start(f"fresh weights, {layers} {noun} x {width}", fresh=tuple(student.state_dict()))
