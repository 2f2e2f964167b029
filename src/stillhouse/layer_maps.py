"""Which teacher layer goes with each student layer: pure functions that return teacher layer numbers, 1-based.

Entry `i` of a map belongs to student layer `i + 1`. With M student and N teacher layers, M <= N.
"""

from __future__ import annotations

from stillhouse.errors import UserError


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


def _check(student_layers: int, teacher_layers: int) -> None:
    if student_layers < 1 or teacher_layers < 1:
        raise UserError(
            f"a layer map for {student_layers} student and {teacher_layers} teacher layers",
            expected="at least one layer on both sides",
        )
    if student_layers > teacher_layers:
        raise UserError(
            f"a student of {student_layers} layers cannot start from the layers of a teacher that has {teacher_layers}",
            expected=f"at most {teacher_layers} layers",
            fix="ask for fewer layers, or for another width: then the student starts from fresh weights",
        )
