"""Labels of the data -> labels of the teacher: by name, any case, or as ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from stillhouse.data.examples import Dataset, Examples
from stillhouse.data.labels import folded, quoted, to_ids
from stillhouse.errors import UserError, listed


def align_labels(
    dataset: Dataset, teacher_labels: Sequence[str], label_map: Mapping[str, str], *, owner: str = "the teacher"
) -> Dataset:
    """Gives the dataset the teacher's labels in the teacher's order.

    A label is matched by `label_map`, else by name (in any case); integers 0..C-1 are ids if the teacher has C labels.
    The data may lack some of the teacher's labels. What has no classes comes back unchanged.

    Args:
        dataset: What `load_dataset` gave.
        teacher_labels: The teacher's names in the order of its logits.
        label_map: Names in the data -> names of the teacher.
        owner: Whose labels they are, for messages.

    Raises:
        UserError: If a label has no counterpart (the message prints both lists), or all of them have the same one.
    """
    task = dataset.task
    if not task.kind.has_classes:
        return dataset
    ids = match_labels(task.labels, teacher_labels, label_map, owner)

    def aligned(examples: Examples) -> Examples:
        by_name = [None if label is None else task.kind.to_names(label, task) for label in examples.labels]
        return replace(examples, labels=to_ids(task.kind, by_name, ids))

    train = aligned(dataset.train)
    pairs = {name: f"{name} = {teacher_labels[ids[name]]}" for name in task.labels}
    sole = task.kind.sole_class([label for label in train.labels if label is not None])
    if sole is not None and len(task.labels) > 1:
        raise UserError(
            f"all labels of the data are {teacher_labels[sole]!r} of {owner}: {listed(pairs.values())}",
            expected="at least two different labels",
            fix="correct --label-map",
        )
    renamed = [pair for name, pair in pairs.items() if teacher_labels[ids[name]] != name]
    return replace(
        dataset,
        task=replace(task, labels=tuple(teacher_labels)),
        train=train,
        selection=aligned(dataset.selection),
        validation=aligned(dataset.validation),
        test=None if dataset.test is None else aligned(dataset.test),
        notes=(*dataset.notes, f"labels (data = teacher): {listed(renamed, most=40)}") if renamed else dataset.notes,
    )


def match_labels(
    names: Sequence[str], teacher_labels: Sequence[str], label_map: Mapping[str, str], owner: str = "the teacher"
) -> dict[str, int]:
    """For each label of the data the id of the teacher's label; see `align_labels`."""
    for given in label_map:
        if given not in names:
            raise UserError(f"--label-map names {given!r}, which is no label of the data", expected=quoted(names))
    exact = {name: position for position, name in enumerate(teacher_labels)}
    # Two labels of the teacher that differ in case or Unicode form only are told apart by their exact names alone.
    times = Counter(map(folded, exact))
    alike = {folded(name): position for name, position in exact.items() if times[folded(name)] == 1}

    def position_of(name: str) -> int | None:
        return exact[name] if name in exact else alike.get(folded(name))

    for given, wanted in label_map.items():
        if position_of(wanted) is None:
            raise UserError(
                f"--label-map sends {given!r} to {wanted!r}, which is no label of {owner}",
                expected=quoted(teacher_labels),
            )
    ids = {name: position_of(label_map.get(name, name)) for name in names}
    if None in ids.values() and not label_map and set(names) == {str(position) for position in range(len(teacher_labels))}:
        return {name: int(name) for name in names}
    found = {name: position for name, position in ids.items() if position is not None}
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(
            f"{owner} does not have the labels {quoted(missing)} of the data\n"
            f"  data:    {listed(names, most=40)}\n"
            f"  {owner.removeprefix('the ') + ':':<8} {listed(teacher_labels, most=40)}",
            expected=f"the same names, in any case; or integers 0..C-1 where {owner} has C labels",
            fix=f"if two names mean the same, say so: --label-map {missing[0]}={teacher_labels[0]}",
        )
    return found
