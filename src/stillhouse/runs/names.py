"""Short names of data and models, for folders and tables."""

from __future__ import annotations

from pathlib import Path

from stillhouse.data.readers.formats import SUFFIXES


def data_name(source: str) -> str:
    """Short name of the data: the file without its endings, or the last part of a name."""
    if source.startswith("hub:"):
        return source.removeprefix("hub:").split(":")[0].rpartition("/")[2]
    return short_name(source)


def short_name(source: str) -> str:
    """The last part of a path or hub id, without endings such as `.csv.gz`."""
    name = Path(source).expanduser().resolve().name if Path(source).expanduser().exists() else source.rpartition("/")[2]
    for ending in (".gz", *SUFFIXES):
        name = name.removesuffix(ending)
    return name or "run"
