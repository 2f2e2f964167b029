import pytest

from stillhouse.errors import UserError
from stillhouse.layer_maps import chosen, first, last, one_layer, spread, uniform

# Worked by hand: floor(m N / M + 1/2), so 6 -> 4 is 1.5, 3, 4.5, 6 with halves up; 7 -> 3 is 2.33, 4.67, 7.
UNIFORM = [
    ((6, 12), (2, 4, 6, 8, 10, 12)),
    ((4, 12), (3, 6, 9, 12)),
    ((3, 12), (4, 8, 12)),
    ((4, 6), (2, 3, 5, 6)),
    ((3, 7), (2, 5, 7)),
    ((1, 5), (5,)),
    ((5, 5), (1, 2, 3, 4, 5)),
]
# floor(i (N - 1) / (M - 1) + 1/2) + 1: 12 -> 6 is 0, 2.2, 4.4, 6.6, 8.8, 11; 6 -> 3 is 0, 2.5, 5; rounded, plus one.
SPREAD = [((6, 12), (1, 3, 5, 8, 10, 12)), ((3, 6), (1, 4, 6)), ((1, 6), (1,)), ((2, 7), (1, 7)), ((3, 3), (1, 2, 3))]


@pytest.mark.parametrize(("layers", "expected"), UNIFORM)
def test_uniform_ends_with_the_last_layer_and_rounds_halves_up(layers, expected):
    assert uniform(*layers) == expected


@pytest.mark.parametrize(("layers", "expected"), SPREAD)
def test_spread_keeps_first_and_last_layer(layers, expected):
    assert spread(*layers) == expected


@pytest.mark.parametrize(
    ("rule", "student", "without_top", "expected"),
    [
        (first, 6, False, [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)]),
        (first, 4, False, [(1, 1), (2, 2), (3, 3), (4, 4)]),
        (first, 3, False, [(1, 1), (2, 2), (3, 3)]),
        (last, 6, False, [(1, 7), (2, 8), (3, 9), (4, 10), (5, 11), (6, 12)]),
        (last, 4, False, [(1, 9), (2, 10), (3, 11), (4, 12)]),
        (last, 3, False, [(1, 10), (2, 11), (3, 12)]),
        (uniform, 6, True, [(1, 2), (2, 4), (3, 6), (4, 8), (5, 10)]),  # PKD's skip
        (uniform, 4, True, [(1, 3), (2, 6), (3, 9)]),
        (uniform, 3, True, [(1, 4), (2, 8)]),
        (last, 6, True, [(1, 7), (2, 8), (3, 9), (4, 10), (5, 11)]),  # PKD's last
        (last, 4, True, [(1, 9), (2, 10), (3, 11)]),
        (last, 3, True, [(1, 10), (2, 11)]),
    ],
)
def test_the_maps_of_a_teacher_of_twelve_layers(rule, student, without_top, expected):
    assert list(chosen("it", {"it": rule}, student, 12, without_top=without_top)) == expected


def test_first_and_last():
    assert first(3, 7) == (1, 2, 3)
    assert last(3, 7) == (5, 6, 7)


@pytest.mark.parametrize("rule", [uniform, first, last, spread])
@pytest.mark.parametrize("teacher", range(1, 14))
def test_every_rule_names_rising_layers_of_the_teacher(rule, teacher):
    for student in range(1, teacher + 1):
        layers = rule(student, teacher)
        assert len(layers) == student
        assert list(layers) == sorted(set(layers))
        assert layers[0] >= 1
        assert layers[-1] <= teacher


@pytest.mark.parametrize("rule", [uniform, first, last, spread])
def test_impossible_counts_are_refused(rule):
    with pytest.raises(UserError, match=r"7 layers cannot be matched .* has 5"):
        rule(7, 5)
    with pytest.raises(UserError, match="at least one layer"):
        rule(0, 5)


RULES = {"uniform": uniform, "last": last}


def test_maps_by_name_and_by_hand():
    assert chosen("uniform", RULES, 3, 12) == ((1, 4), (2, 8), (3, 12))
    assert chosen("last", RULES, 3, 12, without_top=True) == ((1, 10), (2, 11))
    assert chosen((2, 2, 5), RULES, 3, 12) == ((1, 2), (2, 2), (3, 5))
    with pytest.raises(
        UserError,
        match=r"teacher layer 13.* the teacher has 12 layers\n.*1\.\.12\n  fix: correct entry 2, or use one of uniform, last",
    ):
        chosen((1, 13, 12), RULES, 3, 12)
    with pytest.raises(UserError, match=r"names 2 teacher layers for a student of 3 layers\n  expected: 3, one a layer"):
        chosen((1, 2), RULES, 3, 12)


def test_one_layer_is_the_last_unless_named():
    assert one_layer(None, 12) == 12
    assert one_layer(10, 12) == 10
    with pytest.raises(UserError, match=r"teacher_layer is 13, but the teacher has 12 layers"):
        one_layer(13, 12)
