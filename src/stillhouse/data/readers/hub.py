"""Data sets of the Hugging Face hub. A hub that cannot be reached is noticed in seconds, before anything retries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stillhouse.data.readers.records import name_classes
from stillhouse.data.readers.table import Table
from stillhouse.errors import UserError, cut
from stillhouse.machine.network import is_reachable


def read_hub(name: str, config: str | None = None) -> dict[str, Table]:
    """All splits of a data set, from the hub or, where that cannot be reached, from the local cache.

    Args:
        name: `owner/name`.
        config: The configuration, where the set has several.
    """
    import datasets

    online = not datasets.config.HF_HUB_OFFLINE and is_reachable()
    shown = f"{name}:{config}" if config else name
    try:
        with contextlib.nullcontext() if online else _offline():
            splits = datasets.load_dataset(name, config)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        if not online:
            raise UserError(
                f"the Hugging Face hub cannot be reached (or HF_HUB_OFFLINE is set), and {shown} is not in its cache",
                fix="give --data a local file or folder, or the built-in pydocs; or try again with a connection",
            ) from None
        raise UserError(
            f"the hub's data set {shown} cannot be loaded: {str(error).partition(chr(10))[0]}",
            expected="hub:owner/name or hub:owner/name:config",
        ) from None
    return hub_tables(splits, f"hub:{shown}")


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` of `datasets` wrote this folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def read_saved(folder: Path) -> dict[str, Table]:
    """All splits of a folder that `save_to_disk` of `datasets` wrote; where there are none its rows are `train`."""
    import datasets
    import pyarrow as pa

    wrong = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError)
    try:
        saved = datasets.load_from_disk(str(folder))
        return hub_tables(saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}, str(folder))
    except (*wrong, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise UserError(
            f"{folder} cannot be loaded: {cut(str(error).partition(chr(10))[0])}",
            expected="a whole folder that save_to_disk of `datasets` wrote",
            fix="write it again, or write each split as Parquet",
        ) from None


def hub_tables(splits: Mapping[str, Any], source: str) -> dict[str, Table]:
    """Tables of a `datasets.DatasetDict`, class ids replaced by their names."""
    return {
        str(split): Table(name_classes(rows[:], rows.features.to_dict(), f"{source}, {split}"), f"{source}, {split}")
        for split, rows in splits.items()
        if len(rows)
    }


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Lets `datasets` look into its cache only; both libraries read these flags at each call."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
