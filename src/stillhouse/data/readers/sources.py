"""What `--data` names -> tables of its splits: a file, a folder, a built-in set, a GLUE or hub name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from stillhouse.data.readers.formats import SUFFIXES, read_table, stem_and_format
from stillhouse.data.readers.hub import is_saved, read_hub, read_saved
from stillhouse.data.readers.records import are_splits, document_table
from stillhouse.data.readers.split_names import split_of
from stillhouse.data.readers.table import Table
from stillhouse.errors import UserError, listed, nearest
from stillhouse.files import given_path

BUILT_IN = ("pydocs",)
GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
GLUE_REPOSITORY = "nyu-mll/glue"

_SHARD = re.compile(r"-\d+-of-\d+")


class SplitTables:
    """Tables by split (`train`, `validation`, `test`), each read when it is first asked for.

    Args:
        name: Short name of the data, for folders and reports.
        readers: What reads the table of each split.
        is_built_in: Whether it is a data set of ours, whose columns are known before it is made.
        notes: What was decided in finding them that people have to know.
    """

    def __init__(
        self,
        name: str,
        readers: Mapping[str, Callable[[], Table]],
        *,
        is_built_in: bool = False,
        notes: Sequence[str] = (),
    ) -> None:
        self.name, self.is_built_in, self.notes = name, is_built_in, notes
        self._readers = {split: cache(read) for split, read in readers.items()}

    def __contains__(self, split: str) -> bool:
        return split in self._readers

    def table(self, split: str) -> Table:
        """The rows of one split.

        Raises:
            UserError: They cannot be read.
        """
        return self._readers[split]()

    @property
    def splits(self) -> dict[str, Table]:
        """All of them."""
        return {split: self.table(split) for split in self._readers}


def _there(tables: Mapping[str, Table]) -> dict[str, Callable[[], Table]]:
    """Tables that have been read."""
    return {split: partial(tables.__getitem__, split) for split in tables}


def read_source(given: str) -> SplitTables:
    """Reads what `--data` names; an existing path comes before a name.

    Raises:
        UserError: If it is neither; the message lists what it could be.
    """
    path = given_path(given, "--data")
    if given.strip() and path.is_dir():
        folder = folder_of_splits(path)
        notes = [] if folder == path else [f"data: the folder {folder}"]
        return SplitTables(path.resolve().name, read_folder(folder), notes=notes)
    if given.strip() and path.exists():
        stem, suffix = stem_and_format(path)
        return SplitTables(stem, read_splits(path) if suffix == ".json" else {"train": partial(read_table, path)})
    if given == "pydocs":
        from stillhouse.data.pydocs.pydocs import PYDOCS_SPLITS, read_pydocs

        made = cache(read_pydocs)

        def reader(split: str) -> Callable[[], Table]:
            return lambda: made()[split]

        return SplitTables(given, {split: reader(split) for split in PYDOCS_SPLITS}, is_built_in=True)
    if given in GLUE:
        return SplitTables(given, _there(choose_splits(read_hub(GLUE_REPOSITORY, given), given)))
    if given.startswith("hub:"):
        name, _, config = given.removeprefix("hub:").partition(":")
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
            raise UserError(f"{given!r} names no data set of the hub", expected="hub:owner/name or hub:owner/name:config")
        return SplitTables(name.rpartition("/")[2], _there(choose_splits(read_hub(name, config or None), given)))
    close = nearest(given, (*BUILT_IN, *GLUE))
    raise UserError(
        f"there is no file or folder {given!r}, and no data set of that name",
        expected=f"a file ({', '.join(SUFFIXES)}, each also .gz), a folder of split files, {', '.join(BUILT_IN)}, "
        f"a GLUE name ({', '.join(GLUE)}) or hub:owner/name[:config]",
        fix=f"did you mean {close!r}?" if close else "check the path",
    )


def read_splits(file: Path) -> dict[str, Callable[[], Table]]:
    """What reads the splits of a JSON file: one object of lists by split, else all of its rows are `train`."""
    table = read_table(file)
    lists = {name: values[0] for name, values in table.columns.items()}
    if len(table) > 1 or not are_splits(lists):
        return {"train": lambda: table}
    if unknown := [name for name in lists if not split_of(name)]:
        raise UserError(
            f"{file} holds splits, and beside them {listed(unknown)}",
            expected="names such as train, validation (or dev, valid, val) and test alone",
            fix="rename or remove the others",
        )
    tables = {name: document_table(rows, f"{file}, {name}") for name, rows in lists.items() if rows}
    return _there(choose_splits(tables, str(file)))


def read_folder(folder: Path) -> dict[str, Callable[[], Table]]:
    """What reads the splits of a folder.

    They are split files, of which the shards of one split (`train-00000-of-00002.parquet`) are joined; else folders that are
    named as splits; or what `save_to_disk` of `datasets` wrote.
    """
    if is_saved(folder):
        return _there(choose_splits(read_saved(folder), str(folder)))
    files = {path.name: [path] for path in _split_files(folder)}
    stems = [(name, stem_and_format(path)[0]) for name, (path,) in files.items()]
    if not files:
        files = {path.name: _data_files(path) for path in _split_folders(folder)}
        stems = [(name, name) for name in files]
    chosen = _by_split(stems, str(folder))
    readers = {split: [path for name in names for path in files[name]] for split, names in chosen.items()}
    return {split: partial(_read_shards, paths, folder) for split, paths in readers.items()}


def folder_of_splits(folder: Path) -> Path:
    """This folder, or the only one below that holds splits in its place, as `data/` in a clone from the hub does.

    Raises:
        UserError: Several of them do, or it cannot be read.
    """
    try:
        if is_saved(folder) or _split_files(folder) or _split_folders(folder):
            return folder
        below = [path for path in _folders(folder) if is_saved(path) or _split_files(path) or _split_folders(path)]
    except OSError as error:
        where = error.filename or folder
        raise UserError(f"{where} cannot be read: {error.strerror}", expected="a readable folder") from None
    if len(below) > 1:
        raise UserError(
            f"{folder} has no split files, but {len(below)} of its folders have",
            expected="one data set",
            fix=f"name one of them: {listed(path.name for path in below)}",
        )
    return below[0] if below else folder


def _folders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]


def _data_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.is_dir() and stem_and_format(path)[1] in SUFFIXES]


def _split_files(folder: Path) -> list[Path]:
    return [path for path in _data_files(folder) if split_of(stem_and_format(path)[0])]


def _split_folders(folder: Path) -> list[Path]:
    return [path for path in _folders(folder) if split_of(path.name) and _data_files(path)]


def _read_shards(files: Sequence[Path], folder: Path) -> Table:
    tables = [read_table(file) for file in files]
    return tables[0] if len(tables) == 1 else _joined(tables, str(folder))


def choose_splits(tables: dict[str, Table], source: str) -> dict[str, Table]:
    """The hub's splits under our three names; of MNLI's two validation splits the matched one."""
    chosen = _by_split(((name, name) for name in tables if split_of(name)), source)
    return {split: tables[names[0]] for split, names in chosen.items()}


def _by_split(named: Iterable[tuple[str, str]], source: str) -> dict[str, list[str]]:
    """Names of the files (or hub splits) of each split; two that are not shards of one are an error."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, stem in named:
        base = _SHARD.sub("", name)
        found.setdefault(str(split_of(stem)), {}).setdefault(base, []).append(name)
    chosen = {}
    for split, bases in found.items():
        if len(bases) > 1:
            bases = {base: names for base, names in bases.items() if "mismatched" not in base}
        if len(bases) != 1:
            raise UserError(
                f"{source} has more than one {split} split: {listed(sorted(bases))}",
                expected="one for each of train, validation and test",
                fix="keep one of them there, or name a single file",
            )
        chosen[split] = sorted(next(iter(bases.values())))
    if "train" not in chosen:
        raise UserError(
            f"{source} has no train split" + (f", only {', '.join(sorted(chosen))}" if chosen else ""),
            expected="names such as train.tsv, dev.tsv (or valid, validation, val) and test.tsv",
            fix="rename the files, or name a single file",
        )
    return chosen


def _joined(tables: list[Table], source: str) -> Table:
    names = dict.fromkeys(name for table in tables for name in table.columns)
    columns = {name: [value for table in tables for value in table.column(name)] for name in names}
    return Table(columns, source, notes=[f"{Path(table.source).name}: {note}" for table in tables for note in table.notes])
