"""From a `DataConfig` to a `Dataset`: read, find, split, and say every decision in the notes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from stillhouse.config import DataConfig
from stillhouse.data.columns import LABELS, Columns, built_in_columns, find_columns, find_texts, first_column
from stillhouse.data.examples import Dataset, Examples
from stillhouse.data.labels import alike_notes, check_known, check_training_labels, label_names, mark_notes, no_labels, to_ids
from stillhouse.data.pairs import unread_texts
from stillhouse.data.read_examples import read_examples, row_ids, text_columns
from stillhouse.data.readers.formats import read_table
from stillhouse.data.readers.sources import SplitTables, read_source
from stillhouse.data.readers.table import Table
from stillhouse.data.splits import sample, sample_groups, share_of, without_texts_of
from stillhouse.errors import UserError, cut, listed
from stillhouse.files import given_path
from stillhouse.task import Kind, Task


@dataclass(frozen=True)
class OpenedData:
    """Data of which no more is known than what they are: where they come from, their columns, their kind of task."""

    source: SplitTables
    columns: Columns


def open_data(config: DataConfig) -> OpenedData:
    """Finds columns and task: of a file by reading it, of a built-in set without making it.

    Raises:
        UserError: There are no such data, or none of its columns looks like a text or a label.
    """
    source = read_source(config.task_source)
    if source.is_built_in and not any((config.text, config.text_pair, config.label, config.task)):
        return OpenedData(source, built_in_columns())
    return OpenedData(source, find_columns(source.table("train"), config))


def load_dataset(config: DataConfig, opened: OpenedData | None = None, *, known: Collection[str] = ()) -> Dataset:
    """Reads the data, finds columns and task, and makes the splits.

    The steps, in this order, each seeded: rows of train that stand in validation or test are dropped; `max_train`;
    `max_labels`; the selection rows are taken out of the labelled ones; transfer text is added.

    Args:
        config: What to read.
        opened: What `open_data` has found out of it already.
        known: Labels of the teacher: a class of that name is one, even where it looks like the mark of a missing value.

    Raises:
        UserError: For data that cannot be used as told; see the readers of this package for what is checked.
    """
    opened = opened or open_data(config)
    source = opened.source
    read = _read_splits(source, opened.columns, {*known, *config.label_map})
    kind, names, notes, splits = read.columns.kind, read.names, read.notes, read.splits
    train, validation, test = splits["train"], splits.get("validation"), splits.get("test")
    if validation is None:
        train, validation = _take_validation(train, kind, config, notes)
    held_out = [validation, *([] if test is None else [test]), *read.hidden]
    train, *dropped = without_texts_of(train, held_out)
    _require_labelled(train, config)
    if config.max_train is not None and config.max_train < len(train):
        notes.append(f"train: a sample of {config.max_train:,} of {len(train):,} rows (--max-train)")
        train = train.select(sample([0] * len(train), config.max_train, seed=config.seed, purpose="max_train"))
    train = _keep_labels(train, kind, config, notes)
    train, selection = _take_selection(train, kind, config, notes)
    for transfer in _read_transfer(config, read.columns, notes):
        train = train + transfer
    train, *more = without_texts_of(train, [*held_out, selection])
    labelled, unlabelled = (before + after for before, after in zip(dropped, more, strict=True))
    if labelled or unlabelled:
        notes.append(
            f"train: {labelled:,} labelled rows and {unlabelled:,} without a label were dropped, because their text "
            "also stands in the selection, validation or test rows"
        )
    _require_labelled(train, config)
    train = train.select(sorted(range(len(train)), key=lambda row: train.labels[row] is None))
    ids = {name: position for position, name in enumerate(names)}
    chosen = {"train": train, "selection": selection, "validation": validation} | ({"test": test} if test else {})
    final = {split: replace(rows, labels=to_ids(kind, rows.labels, ids)) for split, rows in chosen.items()}
    notes.append("rows: " + ", ".join(f"{split} {_counted(rows)}" for split, rows in final.items()))
    return Dataset(
        task=_task(source.name, read.columns, names, [train, selection, validation]),
        train=final["train"],
        selection=final["selection"],
        validation=final["validation"],
        test=final.get("test"),
        notes=tuple(notes),
        columns={name: getattr(read.columns, name) for name in ("text", "text_pair", "label")},
    )


def load_evaluation(
    config: DataConfig, usual: Mapping[str, str | None] | None = None, *, known: Collection[str] = ()
) -> Dataset:
    """Labelled rows to score a model on: all rows of a single file, else the validation split, else the test split.

    They are the `validation` rows of the result; its other splits are empty. Labels may lack some of the model's.

    Args:
        config: What to read.
        usual: The columns of the model's training data, see `Dataset.columns`: used where the data have them and the
            configuration names none.
        known: Labels of the model, as of `load_dataset`.
    """
    source = read_source(config.task_source)
    config = _with_usual(config, source.table("train"), usual or {})
    names = [name for name in ("validation", "test", "train") if name in source]
    columns = find_columns(source.table("train"), config)
    read = _read_splits(source, columns, {*known, *config.label_map}, check=False)
    split = next((name for name in names if name in read.splits and read.splits[name].labelled), None)
    if split is None:
        raise no_labels(source.table(names[0]), read.columns)
    rows = read.splits[split].select(read.splits[split].labelled)
    ids = {name: position for position, name in enumerate(read.names)}
    rows = replace(rows, labels=to_ids(read.columns.kind, rows.labels, ids))
    nothing = rows.select([])
    task = _task(source.name, read.columns, read.names, [rows])
    return Dataset(task, nothing, nothing, rows, notes=(*read.notes, f"evaluated on: {len(rows)} rows of {split}"))


def read_texts(config: DataConfig, kind: Kind, notes: list[str], usual: Mapping[str, str | None] | None = None) -> Examples:
    """All rows to predict for, without labels; of several splits those of test, else validation, else train.

    Args:
        config: What to read.
        kind: Says whether rows are sentences, words or questions.
        notes: What people have to know of the rows is added.
        usual: The columns of the model's training data, see `Dataset.columns`: used where the data have them, and they
            say whether the model reads pairs. Without them a second text is read where one is found.
    """
    source = read_source(config.task_source)
    table = next(source.splits[name] for name in ("test", "validation", "train") if name in source)
    notes += [*source.notes, *_notes_on(table)]
    pair = None if not usual else usual.get("text_pair") is not None
    columns = _find_plain_texts(table, _with_usual(config, table, usual or {}), kind, pair)
    texts, pairs = text_columns(table, columns)
    seconds = None if pairs is None else [second or "" for second in pairs]
    return Examples(texts, [None] * len(texts), seconds, row_ids(table, columns))


@dataclass(frozen=True)
class _Read:
    """Splits with their labels by name, before any row moves; evaluation rows without a label are in `hidden`."""

    columns: Columns
    names: tuple[str, ...]
    splits: dict[str, Examples]
    notes: list[str]
    hidden: list[Examples]


def _read_splits(source: SplitTables, columns: Columns, known: Collection[str], *, check: bool = True) -> _Read:
    kind, train = columns.kind, source.table("train")
    columns = replace(columns, classes=kind.doubtful_classes(train, columns, known, by_share=check))
    notes = [*source.notes, *(note for table in source.splits.values() for note in _notes_on(table))]
    splits = {name: read_examples(table, columns, notes) for name, table in source.splits.items()}
    hidden = []
    for name in ("validation", "test"):
        if name not in splits:
            continue
        rows = splits.pop(name)
        labelled = _labelled(rows, kind, name, notes)
        if labelled is None or len(labelled) < len(rows):
            hidden.append(rows)
        if labelled is not None:
            splits[name] = labelled
    # Without the check the rows of every split count: nothing is learnt from them.
    names = label_names(kind, [label for rows in ([splits["train"]] if check else splits.values()) for label in rows.labels])
    labels = splits["train"].labels
    for name in splits:
        notes += [f"{name}: {note}" for note in mark_notes(source.table(name), columns)]
    notes += [f"train: {note}" for note in kind.label_notes(train, str(columns.label), names, labels, check=check)]
    notes += alike_notes(names)
    if check:
        check_training_labels(names, labels, train, columns, known)
        for name, rows in splits.items():
            check_known(kind, names, rows.labels, source.table(name).source)
    return _Read(columns, names, splits, [*_described(columns, names, train), *notes], hidden)


def _described(columns: Columns, names: Sequence[str], train: Table) -> list[str]:
    count = f" with {len(names)} {columns.kind.class_word}" if names else ""
    notes = [f"task: {columns.kind}{count} (column `{cut(str(columns.label))}`)"]
    second = "" if columns.text_pair is None else f" and `{cut(columns.text_pair)}`"
    notes.append(f"text: column{'s' if second else ''} `{cut(columns.text)}`{second}")
    unread = unread_texts(train, (columns.text, columns.text_pair, columns.label, columns.kind.id_column))
    if unread and not columns.kind.has_token_logits:
        fix = "" if second else "; if one belongs to the text, name it with --text-pair"
        notes.append(f"text that is not read: column {listed(f'`{name}`' for name in unread)}{fix}")
    return notes


def _task(name: str, columns: Columns, names: tuple[str, ...], splits: Sequence[Examples]) -> Task:
    return Task(
        name=name,
        kind=columns.kind,
        labels=names,
        unanswerable=columns.kind.can_abstain and any(label == () for rows in splits for label in rows.labels),
    )


def _labelled(rows: Examples, kind: Kind, split: str, notes: list[str]) -> Examples | None:
    """The labelled rows of an evaluation split; None if it has no labels at all."""
    labelled = rows.labelled
    if kind.are_hidden([rows.labels[row] for row in labelled]):
        labelled = []
    if not labelled:
        notes.append(f"{split}: not used, because its rows have no labels")
        return None
    if len(labelled) < len(rows):
        notes.append(f"{split}: {len(rows) - len(labelled)} rows without a label were left out")
    return rows.select(labelled)


def _require_labelled(train: Examples, config: DataConfig) -> None:
    if not train.labelled:
        raise UserError(
            f"{config.task_source}: no labelled training row is left beside the selection and evaluation rows",
            expected="training rows whose texts are not the evaluation rows' again",
            fix="give more rows, or splits that differ",
        )


def _choose(rows: Examples, kind: Kind, count: int, config: DataConfig, purpose: Any) -> tuple[list[int], list[int]]:
    """Numbers of `count` labelled rows, stratified, and of all other rows."""
    labelled = rows.labelled
    strata = kind.strata([rows.labels[row] for row in labelled])
    chosen = [labelled[position] for position in sample(strata, count, seed=config.seed, purpose=purpose)]
    taken = set(chosen)
    return chosen, [row for row in range(len(rows)) if row not in taken]


def _hold_out(
    rows: Examples, kind: Kind, count: int, config: DataConfig, purpose: Literal["validation", "selection"]
) -> tuple[Examples, Examples, str]:
    """The rows that stay, about `count` labelled rows to score on, and what to say of them.

    Rows that must not be torn from each other (questions about one context) are held out together.
    """
    labelled = rows.labelled
    contexts = kind.groups(rows)
    if contexts is not None:
        groups = sample_groups([contexts[row] for row in labelled], count, seed=config.seed, purpose=purpose)
        if groups is not None:
            chosen = [labelled[position] for position in groups]
            held = {contexts[row] for row in chosen}
            others = [row for row, context in enumerate(contexts) if context not in held]
            left_out = len(rows) - len(others) - len(chosen)
            more = f" and {left_out:,} more rows without a label" if left_out else ""
            return rows.select(others), rows.select(chosen), f"; whole contexts, {len(held):,} of them{more}"
    chosen, others = _choose(rows, kind, count, config, purpose)
    return rows.select(others), rows.select(chosen), ""


def _take_validation(train: Examples, kind: Kind, config: DataConfig, notes: list[str]) -> tuple[Examples, Examples]:
    labelled = len(train.labelled)
    if labelled < 3:
        raise UserError(
            f"{config.task_source} has {labelled} labelled rows and no validation split",
            expected="at least 3 labelled rows: for training, selection and validation",
        )
    count = share_of(labelled, config.validation_share)
    train, validation, how = _hold_out(train, kind, count, config, "validation")
    notes.append(
        f"validation: {len(validation):,} of the training rows ({config.validation_share:.0%}, seed {config.seed}{how}), "
        "because the data have no validation split"
    )
    return train, validation


def _keep_labels(train: Examples, kind: Kind, config: DataConfig, notes: list[str]) -> Examples:
    labelled = len(train.labelled)
    if config.max_labels is None or config.max_labels >= labelled:
        return train
    chosen, _ = _choose(train, kind, config.max_labels, config, "max_labels")
    notes.append(f"train: the labels of {config.max_labels:,} of {labelled:,} rows are used (--max-labels)")
    kept = set(chosen)
    return replace(train, labels=[label if row in kept else None for row, label in enumerate(train.labels)])


def _take_selection(train: Examples, kind: Kind, config: DataConfig, notes: list[str]) -> tuple[Examples, Examples]:
    labelled = len(train.labelled)
    if labelled < 2:
        raise UserError(
            f"{config.task_source}: {labelled} labelled training rows are left",
            expected="at least 2: one to train on and one to choose checkpoints by",
            fix="raise --max-train or --max-labels, or give more labelled rows",
        )
    count = min(share_of(labelled, config.selection_share), labelled - 1)
    train, selection, how = _hold_out(train, kind, count, config, "selection")
    share = f"{config.selection_share:.0%}, seed {config.seed}{how}"
    notes.append(f"selection: {len(selection):,} labelled training rows ({share})")
    return train, selection


def _read_transfer(config: DataConfig, columns: Columns, notes: list[str]) -> list[Examples]:
    """Texts of the transfer files, without labels, under ids that no training row has."""
    texts = []
    for number, given in enumerate(config.transfer):
        table = read_table(given_path(given, "--transfer"))
        named = _with_usual(
            config.model_copy(update={"text": None, "text_pair": None}),
            table,
            {"text": columns.text, "text_pair": columns.text_pair},
        )
        found = _find_plain_texts(table, named, columns.kind, columns.text_pair is not None)
        rows = read_examples(table, found, notes)
        notes.append(f"transfer: {len(rows):,} texts of {given} (column `{cut(found.text)}`)")
        notes += _notes_on(table)
        texts.append(replace(rows, ids=[f"transfer{number}-{name}" for name in rows.ids]))
    return texts


def _with_usual(config: DataConfig, table: Table, usual: Mapping[str, str | None]) -> DataConfig:
    """The configuration with column names from elsewhere: they hold where none is given and the table has such columns."""
    there = {name: column for name, column in usual.items() if getattr(config, name) is None and column in table.columns}
    return config.model_copy(update=there)


def _find_plain_texts(table: Table, config: DataConfig, kind: Kind, pair: bool | None) -> Columns:
    return find_texts(table, config, kind, pair=pair, label=first_column(table, LABELS))


def _notes_on(table: Table) -> list[str]:
    return [f"{table.source}: {note}" for note in table.notes]


def _counted(rows: Examples) -> str:
    unlabelled = len(rows) - len(rows.labelled)
    return f"{len(rows):,}" + (f" ({unlabelled:,} without a label)" if unlabelled else "")
