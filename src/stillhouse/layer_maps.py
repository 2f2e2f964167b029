"""Which teacher layer goes with each student layer: pure functions that return teacher layer numbers, 1-based.

Entry `i` of a map belongs to student layer `i + 1`. With M student and N teacher layers, M <= N.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stillhouse.errors import UserError

Rule = Callable[[int, int], tuple[int, ...]]


def uniform(student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """Evenly spread, ending with the teacher's last layer: `g(m) = floor(m N / M + 1/2)`, m = 1..M.

    12 -> 4 gives 3, 6, 9, 12; where M does not divide N halves are rounded up: 6 -> 4 gives 2, 3, 5, 6.

    Raises:
        UserError: The student is deeper than the teacher, or a count is not positive.
    """
    _check(student_layers, teacher_layers)
    return tuple(
        (2 * layer * teacher_layers + student_layers) // (2 * student_layers) for layer in range(1, student_layers + 1)
    )


def first(student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """The teacher's first layers: `g(m) = m`.

    Raises:
        UserError: As `uniform`.
    """
    _check(student_layers, teacher_layers)
    return tuple(range(1, student_layers + 1))


def last(student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """The teacher's last layers: `g(m) = m + N - M`.

    Raises:
        UserError: As `uniform`.
    """
    _check(student_layers, teacher_layers)
    return tuple(range(teacher_layers - student_layers + 1, teacher_layers + 1))


def spread(student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """Evenly spread from the teacher's first layer to its last: `g(i) = floor(i (N - 1) / (M - 1) + 1/2)`, i = 0..M-1.

    The formula counts layers from 0, the result from 1: 12 -> 6 gives 1, 3, 5, 8, 10, 12 (in the formula's numbers
    0, 2, 4, 7, 9, 11, the layers that DistilBERT starts from). One layer is the teacher's first.

    Raises:
        UserError: As `uniform`.
    """
    _check(student_layers, teacher_layers)
    steps = max(student_layers - 1, 1)
    return tuple((2 * index * (teacher_layers - 1) + steps) // (2 * steps) + 1 for index in range(student_layers))


def chosen(
    layer_map: str | Sequence[int],
    rules: Mapping[str, Rule],
    student_layers: int,
    teacher_layers: int,
    *,
    without_top: bool = False,
) -> tuple[tuple[int, int], ...]:
    """Pairs of a student layer and a teacher layer, by the name of a rule or as they were given.

    Args:
        layer_map: A name in `rules`, or the teacher layer of each student layer.
        rules: Functions of this file by what a method calls them.
        student_layers: M.
        teacher_layers: N.
        without_top: Whether the student's last layer is left out.

    Raises:
        UserError: A given map has another length or names layers that don't exist; or as `uniform`.
    """
    count = student_layers - without_top
    if isinstance(layer_map, str):
        return tuple(enumerate(rules[layer_map](student_layers, teacher_layers)[:count], start=1))
    if len(layer_map) != count:
        raise UserError(
            f"method.layer_map {list(layer_map)} names {len(layer_map)} teacher layers for a student of "
            f"{student_layers} layers",
            expected=f"{count}, one a layer" + (" but the last, which is left out" if without_top else ""),
        )
    for own, its in enumerate(layer_map, start=1):
        if not 1 <= its <= teacher_layers:
            raise UserError(
                f"method.layer_map names teacher layer {its}, but the teacher has {teacher_layers} layers",
                expected=f"layers 1..{teacher_layers}",
                fix=f"correct entry {own}, or use one of {', '.join(rules)}",
            )
    return tuple(enumerate(layer_map, start=1))


def one_layer(layer: int | None, teacher_layers: int) -> int:
    """The one teacher layer that is learnt from: its last where none is named.

    Raises:
        UserError: There is no such layer.
    """
    if layer is not None and layer > teacher_layers:
        raise UserError(
            f"method.teacher_layer is {layer}, but the teacher has {teacher_layers} layers",
            expected=f"1..{teacher_layers}, or nothing for the last",
        )
    return layer or teacher_layers


def _check(student_layers: int, teacher_layers: int) -> None:
    if student_layers < 1 or teacher_layers < 1:
        raise UserError(
            f"a layer map for {student_layers} student and {teacher_layers} teacher layers",
            expected="at least one layer on both sides",
        )
    if student_layers > teacher_layers:
        raise UserError(
            f"a student of {student_layers} layers cannot be matched with the layers of a teacher that has {teacher_layers}",
            expected=f"at most {teacher_layers} layers",
            fix="ask for fewer layers",
        )
