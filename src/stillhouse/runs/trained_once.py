"""Models that are trained once and kept by content: no run trains the same one twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list

from stillhouse.console import Console
from stillhouse.files import write_folder
from stillhouse.models.model import Model
from stillhouse.teachers.kept_models import fits_kept, keep, load_kept

# Raised when a change of the loop changes what comes out: what was kept before is then trained again.
RECIPE = 5


@dataclass(frozen=True)
class TrainedOnce:
    """A model that is trained, or found as it was trained before.

    Attributes:
        places: Where such models are kept, each under its name.
        name: Of everything that decides its weights.
        begun: What says that this very run trained it before it was interrupted: then it is not looked for.
        console: Told what is not used, and why.
        is_first: Whether this process is the one that looks and writes; all have to ask.
    """

    places: Sequence[Path]
    name: str
    begun: Path
    console: Console
    is_first: bool

    def find(self, model: Model) -> Path | None:
        """Where the weights of such a model are kept, the same place for all processes; None = nowhere."""
        found: Path | None = None
        if self.is_first and not self.begun.exists():
            kept = (place / self.name for place in self.places)
            found = next((place for place in kept if fits_kept(place, model.encoder, self.console.warn)), None)
        shared: list[Path | None] = broadcast_object_list([found])
        return shared[0]

    def obtain(self, model: Model, train: Callable[[], None]) -> bool:
        """Gives a model its weights, by training it where they are not kept, and says whether they were."""
        kept = self.find(model)
        if kept is None:
            train()
        else:
            load_kept(kept, model.encoder)
        return kept is not None

    def save(self, folder: Path, write: Callable[[Path], None], *, is_new: bool = True) -> None:
        """Writes a model into a folder of the run, and keeps it where it is new.

        The folder is always written anew: one of an earlier start may hold what was trained on other data.
        """
        if not self.is_first:
            return
        write_folder(folder, write)
        if is_new:
            any(keep(place / self.name, folder) for place in self.places)


def name_of(*parts: Any) -> str:
    """A name by which something that is kept is found again, from all that decides it."""
    return hashlib.sha256(json.dumps([RECIPE, *parts]).encode()).hexdigest()[:32]
