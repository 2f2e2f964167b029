"""Text that is no JSON or YAML, or none that can be used, is one message; nothing else is ever raised."""

import json
import re
from pathlib import Path

import pytest

from stillhouse.documents import DocumentError, read_json, read_yaml
from stillhouse.errors import UserError, shown

SOURCE = Path(__file__).parents[1] / "src" / "stillhouse"
DEEP = 3_000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2.5, null, true], "b": {"a": "é\\ud83d\\ude00"}}', {"a": [1, 2.5, None, True], "b": {"a": "é😀"}}),
        (b"\xc3\xa9".join([b'"', b'"']), "é"),
        ("7" * 4_000, int("7" * 4_000)),
        (f"[{'[{}],' * 500}0]", [*([[{}]] * 500), 0]),
        ('{"a": "\\ud800"}', {"a": "\ud800"}),  # whether a value is used, and as what, is known elsewhere
    ],
)
def test_json(text, value):
    assert read_json(text, "x.json") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"x\.json, line 1 is not JSON: Expecting value"),
        ('{"a": 1,\n}', r"x\.json, line 2 is not JSON: "),
        (b"\xff{}", r"x\.json is not JSON: it is not UTF-8 text: byte 0xFF at 0"),
        ("[" * DEEP + "]" * DEEP, r"x\.json cannot be used: it is nested more than 100 deep"),
        ('{"a":' * DEEP + "1" + "}" * DEEP, r"nested more than 100 deep"),
        ("[" * 101 + "]" * 101, r"nested more than 100 deep"),
        ("9" * 5_000, r"x\.json cannot be used: a whole number has more than 4300 digits"),
        ('[{"a": 1}, {"b": 1, "a": 2, "b": 3}]', r"cannot be used: key 'b' stands twice in one object"),
        ('{"a": {"\\udfff": 1}}', r"cannot be used: key '\\udfff' holds half of a surrogate pair"),
    ],
    ids=lambda given: given[:12] if len(given) > 12 else None,
)
def test_json_that_is_refused(text, message):
    with pytest.raises(DocumentError, match=message) as caught:
        read_json(text, "x.json", fix="write it again")
    assert caught.value.is_syntax == ("is not JSON" in message)
    assert str(caught.value).endswith("expected: JSON\n  fix: write it again")


def test_a_line_of_json_lines():
    with pytest.raises(DocumentError, match=r"^x\.jsonl, line 7 is not JSON: Expecting value at character 7\n") as caught:
        read_json('{"a": }', "x.jsonl", line=7)
    assert caught.value.reason == "Expecting value at character 7"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: {b: [1, 2.5, null, true, x]}", {"a": {"b": [1, 2.5, None, True, "x"]}}),
        ("'no': é\nout: ~/runs", {"no": "é", "out": "~/runs"}),
        ("a: &here [1]", {"a": [1]}),  # that nothing refers to
    ],
)
def test_yaml(text, value):
    assert read_yaml(text, "run.yaml") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", r"^run\.yaml, line 1 is not YAML: "),
        ("a: 1\nb: ]", r"^run\.yaml, line 2 is not YAML: "),
        ("--- 1\n--- 2", r"is not YAML"),
        ("a: \x00", r"is not YAML"),
        (b"a: \xff", r"is not YAML: it is not UTF-8 text: byte 0xFF at 3"),
        ("a: !!python/object/apply:os.getcwd []", r"is not YAML: could not determine a constructor"),
        ("{[a]: 1}", r"the key a list or mapping, in line 1, is no text: put it into quotes"),
        ("a: 2020-13-45", r"a value in it cannot be built: month must be in 1\.\.12"),
        ("a: 0b_", r"a value in it cannot be built"),
        ("a: !!int x", r"a value in it cannot be built: invalid literal"),
        ("a: !!int ''", r"a value in it cannot be built"),
        ("a: !!float x", r"a value in it cannot be built"),
        ("a: !!bool x", r"a value in it cannot be built"),
        ("a: !!timestamp x", r"a value in it cannot be built"),
        ("a: 2001-12-14 21:59:43 +99:99", r"a value in it cannot be built"),
        ("a: " + "9" * 5_000, r"a value in it cannot be built"),
        ("[" * DEEP + "]" * DEEP, r"nested more than 100 deep"),
        ("[" * 101 + "]" * 101, r"nested more than 100 deep"),
        ("a: 1\nb: {c: 1, d: 2, c: 3}", r"key 'c' stands twice, in the mapping at line 2"),
        ("0: negative", r"the key '0', in line 1, is no text: put it into quotes"),
        ("no: 1", r"the key 'no', in line 1, is no text: put it into quotes"),
        ("a: &x [1]\nb: *x", r"\*x stands for what is written elsewhere: write it out"),
        ("&a [*a]", r"\*a stands for"),
        ("<<: {a: 1}", r"the key '<<'"),
        ('a: "\\ud800"', r"text '\\ud800' holds half of a surrogate pair"),
        ('"\\ud800": 1', r"key '\\ud800' holds half of a surrogate pair"),
    ],
    ids=lambda given: given[:16] if len(given) > 16 else None,
)
def test_yaml_that_is_refused(text, message):
    with pytest.raises(DocumentError, match=message) as caught:
        read_yaml(text, "run.yaml")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("value", [10**4_400, "x" * 10**6, ["y"] * 10**5], ids=["number", "text", "list"])
def test_what_is_shown_of_a_value_is_short(value):
    assert len(shown(value)) <= 204


def test_a_long_value_is_shown_short_in_every_message_of_a_configuration(tmp_path):
    from stillhouse.runs.options import config_from_options

    for change in ("seed", "method", "data.seed", "seed.x", "teacher.finetune", "method.stages", "nothing"):
        with pytest.raises(UserError) as caught:
            config_from_options({}, changes=[f"{change}=[{'x, ' * 2_000}x]"])
        assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("value", ["a: b: c", {"a": ["x"]}, 1.5])
def test_what_json_wrote_is_read(value):
    assert read_json(json.dumps(value, indent=1), "x") == value


def test_nothing_else_reads_json_or_yaml():
    """But the process that reads sources for pydocs, which runs without any package."""
    reads = re.compile(r"\bjson\.loads?\(|\byaml\.(safe_)?load|JSONDecoder\(|SafeLoader")
    found = {file.name for file in SOURCE.rglob("*.py") if reads.search(file.read_text(encoding="utf-8"))}
    assert found <= {"documents.py", "docstrings.py"}
