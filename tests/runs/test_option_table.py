"""The table of options: one place for each, and the types that editors read agree with it."""

from pathlib import Path
from typing import get_type_hints

import pytest

import stillhouse
from stillhouse.comparison.compare_config import CompareConfig
from stillhouse.comparison.compare_options import COMPARE, CompareOptions
from stillhouse.errors import UserError
from stillhouse.runs.option_table import DISTILL, EVALUATE, PREDICT, ColumnOptions, DistillOptions, ScoringOptions
from stillhouse.runs.options import config_from_options, given_options
from stillhouse.runs.reading import parse_config

TYPES = {"distill": DistillOptions, "compare": CompareOptions, "evaluate": ColumnOptions, "predict": ScoringOptions}
TABLES = {"distill": DISTILL, "compare": COMPARE, "evaluate": EVALUATE, "predict": PREDICT}


class NoTruth:
    """An object that, as tables and arrays do, compares by element and is neither true nor false."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other):
        return self

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise ValueError("ambiguous")


@pytest.mark.parametrize("function", TABLES)
def test_types_and_table_agree(function):
    assert get_type_hints(TYPES[function]) == {name: option.type | None for name, option in TABLES[function].items()}


def test_a_comparison_has_what_a_run_has_but_what_is_one_runs_alone():
    assert DISTILL.keys() - COMPARE.keys() == {"method", "student", "seed", "baseline"}
    assert COMPARE.keys() - DISTILL.keys() == {"methods", "students", "seeds", "grid"}
    shared = DISTILL.keys() & COMPARE.keys() - {"data", "out", "epochs", "learning_rate"}
    assert {name: DISTILL[name] for name in shared} == {name: COMPARE[name] for name in shared}


def test_every_place_is_one_of_the_configuration():
    config = parse_config({"method": "pkd"}).model_dump()
    for option in DISTILL.values():
        found = config
        for part in option.place.format(last="distil").split("."):
            found = found[part]
    assert {option.place for option in COMPARE.values()} - {option.place for option in DISTILL.values()} == {
        "methods",
        "students",
        "seeds",
        "grid",
    }
    assert {"methods", "students", "seeds", "grid", "out"} < CompareConfig.model_fields.keys()


def test_every_option_reaches_its_place():
    config = config_from_options({"method": "pkd", "learning_rate": 0.5, "teacher_features": "store", "track": ["one"]})
    assert config.method.stages.distil.learning_rate == 0.5
    assert (config.method.name, config.teacher.features, config.engine.trackers) == ("pkd", "store", ("one",))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"trasnfer": ["a.txt"]}, r"distill\(\) got an unexpected keyword argument 'trasnfer'\. Did you mean 'transfer'\?"),
        ({"overwite": True}, "Did you mean 'overwrite'"),
        ({"zzz": 1}, "unexpected keyword argument 'zzz'$"),
    ],
)
def test_unknown_options_name_the_nearest(given, said):
    with pytest.raises(TypeError, match=said):
        stillhouse.distill(**given)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        stillhouse.compare(**given)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: stillhouse.distill(config={"seed": 1}), "config is {'seed': 1}, of type dict"),
        (lambda: stillhouse.distill(changes=[3]), "changes is 3, of type int"),
        (lambda: stillhouse.distill(label_map=3), "label_map is 3"),
        (lambda: stillhouse.distill(label_map=[3]), "--label-map 3"),
        (lambda: stillhouse.distill(overwrite="no"), "overwrite is 'no', of type str"),
        (lambda: stillhouse.compare(overwrite="no"), "overwrite is 'no', of type str"),
        (lambda: stillhouse.distill(data=NoTruth()), r"--data \(data.source\): input should be a valid string"),
        (lambda: stillhouse.compare(config=3), "config is 3, of type int"),
        (lambda: stillhouse.evaluate(None, "data.csv"), "model is None, of type NoneType"),
        (lambda: stillhouse.evaluate("model", ["data.csv"]), "data is .'data.csv'., of type list"),
        (lambda: stillhouse.predict("model", text=3), "text is 3, of type int"),
        (lambda: stillhouse.predict("model", text={"a": 1}), "text is {'a': 1}, of type dict"),
        (lambda: stillhouse.predict("model", text=b"a"), "text is b'a', of type bytes"),
        (lambda: stillhouse.predict("model", text=["a", None]), "text is None, of type NoneType"),
        (lambda: stillhouse.predict("model", data=3), "data is 3, of type int"),
    ],
)
def test_values_of_another_type_are_one_message(call, said):
    with pytest.raises(UserError, match=said):
        call()


def test_paths_may_be_given_as_paths():
    given = given_options(stillhouse.distill, DISTILL, {"data": Path("a.csv"), "transfer": [Path("b.txt")], "out": Path("c")})
    assert given == {"data": "a.csv", "transfer": ["b.txt"], "out": "c"}


def test_a_whole_configuration_takes_no_options():
    with pytest.raises(UserError, match="a whole configuration and single options were given"):
        stillhouse.distill(config=parse_config({}), seed=3)
