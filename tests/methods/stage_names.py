"""The stages of a method, as its configuration names them."""

from __future__ import annotations

from stillhouse.methods import load_method


def stage_names(method: str) -> list[str]:
    return list(type(load_method(method).model_fields["stages"].default).model_fields)
