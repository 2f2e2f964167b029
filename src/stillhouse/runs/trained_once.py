"""Models that are trained once and kept by content: no run trains the same one twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.console import Console
from stillhouse.models.model import Model
from stillhouse.teachers.kept_models import keep, load_kept

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
        is_first: Whether this process is the one that writes.
    """

    places: Sequence[Path]
    name: str
    begun: Path
    console: Console
    is_first: bool

    def found(self, model: Model) -> Path | None:
        """Gives a model the weights that are kept for it, and says where they are; None where there are none."""
        if self.begun.exists():
            return None
        kept = (place / self.name for place in self.places)
        return next((place for place in kept if load_kept(place, model.encoder, self.console.warn)), None)

    def keep(self, folder: Path) -> None:
        """Keeps the model that a folder holds."""
        if self.is_first:
            any(keep(place / self.name, folder) for place in self.places)


def name_of(*parts: Any) -> str:
    """A name by which something that is kept is found again, from all that decides it."""
    return hashlib.sha256(json.dumps([RECIPE, *parts]).encode()).hexdigest()[:32]
