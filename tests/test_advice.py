"""Advice of a run and, for a method that is one of several, of a comparison."""

import pytest

from stillhouse import UserError
from stillhouse.advice import anew, another_method, in_comparison, setting
from stillhouse.runs.reading import parse_config


def test_a_comparison_has_words_of_its_own():
    assert (setting("temperature"), another_method("logit"), anew()) == ("method.temperature", "--method logit", "--overwrite")
    with in_comparison("mine"):
        assert setting("temperature") == "methods.mine.temperature"
        assert another_method("logit") == "leave mine out of --methods"
        assert anew() == "another --out"
    assert setting("temperature") == "method.temperature"


def test_keys_are_named_as_they_are_reached():
    with in_comparison("mine"), pytest.raises(UserError, match=r"'methods\.mine\.temprature'.*methods\.mine has .*divergence"):
        parse_config({"method": {"name": "pkd", "temprature": 1}})
    with pytest.raises(UserError, match=r"'method\.temprature'.*method has .*divergence"):
        parse_config({"method": {"name": "pkd", "temprature": 1}})


def test_a_field_of_several_types_gives_one_message():
    with pytest.raises(UserError) as caught:
        parse_config({"method": {"name": "pkd", "layer_map": "1,3"}})
    assert str(caught.value).count("layer_map") == 1
    assert "given '1,3'" in str(caught.value)
