"""A record says itself whether it, and what belongs to it, is as it was written."""

import json

import pytest

from stillhouse.errors import UserError
from stillhouse.sealed import damaged_beside, read_sealed, write_sealed

CONTENT = {"score": 0.8125, "name": "é", "none": None, "list": [1, {"a": 1e-7}]}


def write(folder):
    (folder / "student").mkdir()
    (folder / "student" / "weights").write_bytes(b"\x00" * 99)
    (folder / "lines").write_bytes(b"a\n")
    write_sealed(folder / "record.json", CONTENT, [folder / "student" / "weights", folder / "lines"])
    return folder / "record.json"


def test_what_was_written_is_read(tmp_path):
    record = write(tmp_path)
    content = read_sealed(record)
    assert {name: content[name] for name in CONTENT} == CONTENT
    assert content["checksums"].keys() == {"record.json", "student/weights", "lines"}
    assert damaged_beside(record, content, "student") is None
    record.write_text(json.dumps(content))  # in another layout it says the same
    assert read_sealed(record) == content


def test_every_flipped_bit_is_damage_or_changes_nothing(tmp_path):
    record = write(tmp_path)
    whole, content = record.read_bytes(), read_sealed(record)
    refused = 0
    for place in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        record.write_bytes(flipped)
        try:
            found = read_sealed(record)
        except UserError as error:
            refused += error.given.startswith(f"{record} is damaged: ")
        else:
            assert {name: found[name] for name in CONTENT} == {name: content[name] for name in CONTENT}
    assert refused > 5 * len(whole)


@pytest.mark.parametrize("name", ["student/weights", "lines"])
def test_files_beside_it(tmp_path, name):
    record = write(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    found = read_sealed(record)
    assert damaged_beside(record, found, name.partition("/")[0]) == tmp_path / name
    assert damaged_beside(record, found, "other") is None


def test_a_file_that_is_missing_from_a_folder_is_damage_and_a_folder_that_is_gone_is_not(tmp_path):
    record = write(tmp_path)
    (tmp_path / "student" / "weights").unlink()
    assert damaged_beside(record, read_sealed(record), "student") == tmp_path / "student" / "weights"
    (tmp_path / "student").rmdir()
    assert damaged_beside(record, read_sealed(record), "student") is None


def test_the_checksums_are_sealed_too(tmp_path):
    record = write(tmp_path)
    record.write_text(record.read_text().replace("student/weights", "student/weightt"))
    with pytest.raises(UserError, match="is damaged: its checksum does not agree"):
        read_sealed(record)


def test_a_record_of_an_older_version_is_taken_at_its_word(tmp_path):
    (tmp_path / "record.json").write_text(json.dumps(CONTENT))
    assert read_sealed(tmp_path / "record.json") == CONTENT


@pytest.mark.parametrize("text", ["", "[]", "{", '{"checksums": 3}', '{"checksums": {}}', "[" * 3_000])
def test_what_is_no_record(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(UserError, match=r"(?s)record\.json is damaged: .*fix: again"):
        read_sealed(tmp_path / "record.json", fix="again")
    with pytest.raises(UserError, match=r"nothing\.json cannot be read: No such file"):
        read_sealed(tmp_path / "nothing.json")
