"""A model as a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stillhouse.models.quiet import quiet_transformers


def save_model(encoder: Any, tokenizer: Any, folder: Path) -> None:
    """A Hugging Face folder: safetensors, configuration and tokenizer."""
    with quiet_transformers():
        encoder.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    # Weights come out readable by their owner alone, unlike the files beside them.
    for weights in folder.glob("*.safetensors"):
        weights.chmod((folder / "config.json").stat().st_mode)
