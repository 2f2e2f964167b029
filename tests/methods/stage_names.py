"""The stages of a method that learn a task, as its configuration names them."""

from __future__ import annotations

from stillhouse.methods import load_method


def stage_names(method: str) -> list[str]:
    found = load_method(method)
    return [name for name in type(found.model_fields["stages"].default).model_fields if name not in found.general_stages]
