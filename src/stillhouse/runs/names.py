"""Short names of data and models, for folders and tables."""

from __future__ import annotations

from typing import Protocol

from stillhouse.config import CorpusConfig, DataConfig
from stillhouse.data.readers.formats import SUFFIXES
from stillhouse.files import given_path


class Learns(Protocol):
    """A configuration that says what is learnt from."""

    @property
    def data(self) -> DataConfig: ...

    @property
    def corpus(self) -> CorpusConfig: ...


def run_name(config: Learns) -> str:
    """Short name of what a run learns from: its data, or its corpus where it has none."""
    return data_name(config.corpus.source[0] if config.data.source is None else config.data.source)


def name_of_all(config: Learns) -> str:
    """Short name of all that a run, or a comparison, learns from: `data-corpus` where it has both."""
    given = ([] if config.data.source is None else [config.data.source]) + list(config.corpus.source[:1])
    return "-".join(map(data_name, given))


def data_name(source: str) -> str:
    """Short name of the data: the file without its endings, or the last part of a name."""
    if source.startswith("hub:"):
        return source.removeprefix("hub:").split(":")[0].rpartition("/")[2]
    return short_name(source)


def short_name(source: str) -> str:
    """The last part of a path or hub id, without endings such as `.csv.gz`."""
    path = given_path(source, "the name")
    name = path.resolve().name if path.exists() else source.rpartition("/")[2]
    for ending in (".gz", *SUFFIXES):
        name = name.removesuffix(ending)
    return name or "run"
