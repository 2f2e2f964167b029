from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from stillhouse.data.pydocs import docstrings, pydocs
from stillhouse.data.pydocs.docstrings import Reading, docstrings_of, rank, read_apart, read_docstrings, source_files
from stillhouse.data.pydocs.pydocs import Limits, NameHider, Novelty, Package, build_pydocs, read_pydocs, shorten, tidy
from stillhouse.errors import UserError

NAMES = ("alphapack", "betapack", "gammapack", "deltapack")
PACKAGES = tuple(Package(name, name, names=(name,), aliases=(name[:2],)) for name in NAMES)
# 7 files of 3 docstrings each: 21 texts per package, of which 5 + 3 + 11 = 19 are asked for.
LIMITS = Limits(11, 7, 1000, validation=5, labelled=3, unlabelled=11, min_characters=40, max_characters=120)
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def words_of(name: str, number: int, kind: str) -> str:
    """A text of its own for each place: no two share a run of four words."""
    return " ".join(f"{kind}{number}{name[:2]}{word}" for word in NUMBERS)


def write_package(site: Path, name: str) -> None:
    (site / name / "tests").mkdir(parents=True)
    (site / name / "_vendor").mkdir()
    (site / name / "__init__.py").write_text('raise RuntimeError("imported")\n')
    (site / name / "broken.py").write_text('def broken(:\n    """A secretword in a file that nobody can parse."""\n')
    (site / name / "tests" / "test_it.py").write_text(f'"""Tests with secretword: {words_of(name, 0, "t")}."""\n')
    (site / name / "_vendor" / "copied.py").write_text(f'"""Vendored with secretword: {words_of(name, 0, "v")}."""\n')
    for number in range(7):
        (site / name / f"module{number}.py").write_text(
            f'"""Module {words_of(name, number, "m")}."""\nraise RuntimeError("imported")\n'
            f'class Thing:\n    """Thing of {name}.module {words_of(name, number, "c")}."""\n'
            f'    def method(self):\n        """Method {words_of(name, number, "f")}."""\n'
            f'    def short(self):\n        """Too short."""\n'
        )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in NAMES:
        write_package(tmp_path / "site", name)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "site"


def kept_file(site: Path) -> Path:
    (path,) = (site.parent / "cache" / "pydocs").glob("*.jsonl")
    return path


@pytest.mark.parametrize(
    ("given", "hidden"),
    [
        ("A torch.nn.Module of PyTorch.", "A library of library."),
        ("Is torch_dtype set? See is_torch_available().", "Is library set? See library()."),
        (">>> import numpy as np; np.zeros(3)", ">>> import library as library; library(3)"),
        (">>> from sympy.abc import x", ">>> from library import x"),
        ("a pd.DataFrame, a nx.Graph, pandas' own", "a library, a library, library' own"),
        ("scikit-learn and Scikit Learn and sklearn's", "library and library and library's"),
        ("from the Hugging Face Transformers hub", "from the library hub"),  # neighbours become one
        ("see https://docs.scipy.org/doc/x.html now", "see library now"),
        ("the SciPy, CPython", "the library, library"),
        # An alias is a word of its own in its own case; a transformer is a thing, not the package.
        ("NP-hard, snp.x, update, a transformer, spnx", "NP-hard, snp.x, update, a transformer, spnx"),
    ],
)
def test_names_are_hidden(given: str, hidden: str) -> None:
    assert NameHider()(given) == hidden


def test_every_listed_name_is_hidden_for_every_label() -> None:
    hide = NameHider()
    for package in pydocs.PACKAGES:
        for name in (*package.names, package.module or "python"):
            for shown in (name, name.upper(), name.title(), f"my_{name}", f"{name}.sub.path"):
                assert name not in hide(f"It uses {shown} here").casefold()


def test_tidy_and_shorten() -> None:
    assert tidy("Sum of x.\n\n    Parameters\n    ----------\n    x :\tint\x00\ud800") == "Sum of x. Parameters x : int"
    assert shorten("one two three", 13) == "one two three"
    assert shorten("one two three", 12) == "one two"
    assert shorten("one two three", 7) == "one two"  # a cut at the end of a word keeps the word
    assert shorten("onetwothree", 5) == "onetw"


def test_near_copies_are_found() -> None:
    novelty = Novelty()
    assert novelty.is_new("one two three four five six seven")  # 4 runs of four
    assert not novelty.is_new("One two, three four! five six (seven).")  # the same but for case and marks
    assert not novelty.is_new("one two three four five six eight")  # 1 of its 4 runs is new
    assert not novelty.is_new("two three four five six nine ten")  # 2 of 4: half is not enough
    assert novelty.is_new("four five six seven eight nine ten")  # 3 of 4
    assert novelty.is_new("a b")
    assert not novelty.is_new("A b")


def test_docstrings_of_every_kind() -> None:
    source = b'''"""Module."""
if True:
    try:
        class A:
            """Class."""
            async def f(self):
                """Async."""
                g = lambda: 1
                def inner(): "Inner."
    except ValueError:
        def handler(): """Handler."""
    else:
        x = """not a docstring"""
'''
    assert sorted(docstrings_of(source)) == ["Async.", "Class.", "Handler.", "Inner.", "Module."]


@pytest.mark.parametrize(
    "source",
    [
        b'def f(:\n    """Text."""',
        b'"""Text.\xff"""',
        b'"""Text."""\x00',
        b'"""Text."""\nx = ' + b"(" * 1000 + b")" * 1000,
        b"x = 1",
    ],
)
def test_unreadable_source_is_skipped(source: bytes) -> None:
    assert list(docstrings_of(source)) == []


def test_invalid_escapes_do_not_warn() -> None:
    assert list(docstrings_of(b'"""A \\d that warns."""')) == ["A \\d that warns."]


def test_tests_and_vendored_code_are_left_out(site: Path) -> None:
    files = source_files(site / "alphapack")
    assert sorted(files) == ["__init__.py", "broken.py", *(f"module{number}.py" for number in range(7))]
    assert files == sorted(files, key=rank)  # an order that the file system has no say in


def test_reading_stops_at_its_limits(site: Path) -> None:
    folder = str(site / "alphapack")
    everything = read_docstrings(Reading(folder, max_files=99, max_per_file=99, max_docstrings=999, min_characters=20))
    assert len(everything) == 7 * 3
    assert len(read_docstrings(Reading(folder, 99, 2, 999, 20))) == 7 * 2
    assert len(read_docstrings(Reading(folder, 99, 99, 5, 20))) == 2 * 3  # the second file reaches five
    files = [name for name in source_files(Path(folder))[:5] if name.startswith("module")]
    assert len(read_docstrings(Reading(folder, 5, 99, 999, 20))) == 3 * len(files)


def test_a_worker_reads_the_same(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(str(site / "alphapack"), 99, 99, 999, 20)
    assert read_apart(reading) == read_docstrings(reading)
    monkeypatch.setattr(sys, "executable", str(site / "no-python"))
    assert read_apart(reading) is None


def test_build_has_the_amounts_asked_for(site: Path) -> None:
    splits = build_pydocs(PACKAGES, LIMITS)
    for name in NAMES:
        assert [row["label"] for row in splits["validation"]].count(name) == 5
        assert [row["label"] for row in splits["train"]].count(name) == 3
    # 21 texts, 5 of 2 files for validation; the last text of the second file is in neither: 15 left, 14 wanted.
    assert len(splits["train"]) == 4 * 14
    texts = [row["text"] for rows in splits.values() for row in rows]
    assert len(set(texts)) == len(texts)
    assert all(40 <= len(text) <= 120 for text in texts)
    assert not any(name in text or "secretword" in text for text in texts for name in NAMES)


def test_no_file_is_in_both_splits(site: Path) -> None:
    splits = build_pydocs(PACKAGES, LIMITS)

    def files(split: str) -> set[str]:
        return {row["text"].split()[-1].removesuffix(".")[1:4] for row in splits[split]}  # number and package: "3al"

    assert len(files("validation")) == 4 * 2
    assert files("validation").isdisjoint(files("train"))


def test_two_builds_are_equal_in_processes_and_without(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_processes = build_pydocs(PACKAGES, LIMITS)
    assert build_pydocs(PACKAGES, LIMITS) == in_processes
    assert build_pydocs(PACKAGES[::-1], LIMITS) == in_processes
    monkeypatch.setattr(pydocs, "read_apart", lambda reading: None)
    assert build_pydocs(PACKAGES, LIMITS) == in_processes


def test_copies_across_packages_are_dropped(site: Path) -> None:
    shared = "Sorts the given values in place and returns nothing at all to anyone who calls it"
    for name in NAMES:
        (site / name / "shared.py").write_text(f'"""{shared}, said {name}."""\n')
    splits = build_pydocs(PACKAGES, Limits(99, 7, validation=11, labelled=3, unlabelled=11, min_characters=40))
    assert sum(row["text"].startswith(shared) for rows in splits.values() for row in rows) == 1


def test_few_texts_are_shared_out(site: Path) -> None:
    # Of 42 wanted there are 21, so half of each: 15 // 2 = 7 of validation, of 3 files; 12 left, 13 // 2 = 6 labelled.
    limits = Limits(99, 7, validation=15, labelled=13, unlabelled=14, min_characters=40)
    splits = build_pydocs(PACKAGES, limits)
    assert len(splits["validation"]) == 4 * 7
    assert sum(row["label"] is not None for row in splits["train"]) == 4 * 6
    assert len(splits["train"]) == 4 * 12


def test_missing_package_is_left_out(site: Path) -> None:
    missing = Package("nothere", "stillhouse_test_nothere")
    assert build_pydocs((*PACKAGES, missing), LIMITS) == build_pydocs(PACKAGES, LIMITS)
    with pytest.raises(UserError, match=r"finds 3 of 4 \(missing: nothere\)"):
        build_pydocs((*PACKAGES[:3], missing), LIMITS)


def test_kept_rows_are_used_again(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_pydocs(PACKAGES, LIMITS)
    assert first["train"].columns["label"].count(None) == 4 * 11
    assert first["train"].source == "pydocs"
    with monkeypatch.context() as patch:
        patch.setattr(pydocs, "build_pydocs", lambda *_: pytest.fail("built again"))
        assert read_pydocs(PACKAGES, LIMITS) == first
    # Another limit, and another version of a package, ask for other rows.
    assert len(read_pydocs(PACKAGES, Limits(validation=2, labelled=3, unlabelled=2, min_characters=40))["validation"]) == 4 * 2
    (site / "alphapack-2.0.dist-info").mkdir()
    (site / "alphapack-2.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: alphapack\nVersion: 2.0\n")
    assert PACKAGES[0].version == "2.0"
    read_pydocs(PACKAGES, LIMITS)
    assert len(list((site.parent / "cache" / "pydocs").glob("*.jsonl"))) == 3


@pytest.mark.parametrize("damage", ["", "not json", '{"sha256": 1}\n', "cut", "changed", "bytes"])
def test_damaged_cache_is_built_again(site: Path, damage: str) -> None:
    first = read_pydocs(PACKAGES, LIMITS)
    path = kept_file(site)
    whole = path.read_text()
    assert json.loads(whole.split("\n")[1])["split"] == "train"
    if damage == "cut":
        path.write_text(whole[:-31])
    elif damage == "changed":
        path.write_text(whole.replace("alphapack", "betapack", 1))
    elif damage == "bytes":
        path.write_bytes(b"\xff\xfe" + whole.encode())
    else:
        path.write_text(damage)
    assert read_pydocs(PACKAGES, LIMITS) == first
    assert path.read_text() == whole


def test_cache_that_cannot_be_written_is_not_used(site: Path) -> None:
    (site.parent / "cache").write_text("a file where the folder should be")
    tables = read_pydocs(PACKAGES, LIMITS)
    assert len(tables["validation"]) == 4 * 5


def test_installed_packages_give_text_and_are_not_imported() -> None:
    program = """
import json, sys
from stillhouse.data.pydocs.pydocs import Limits, build_pydocs
splits = build_pydocs(limits=Limits(files=40, docstrings=60, validation=7, labelled=5, unlabelled=3))
imported = {name.partition(".")[0] for name in sys.modules}
json.dump({"splits": splits, "imported": sorted(imported)}, sys.stdout)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, check=True)
    found = json.loads(done.stdout)
    heavy = {package.module for package in pydocs.PACKAGES if package.module} | {"numpy", "datasets"}
    assert heavy.isdisjoint(found["imported"])
    labels = [row["label"] for row in found["splits"]["validation"]]
    assert {label: labels.count(label) for label in labels} == {package.label: 7 for package in pydocs.PACKAGES}
    hidden = [name for package in pydocs.PACKAGES for name in package.names]
    texts = [row["text"] for rows in found["splits"].values() for row in rows]
    assert len(texts) == 8 * 15
    assert not [text for text in texts for name in hidden if name in text.casefold()]


def test_worker_needs_the_standard_library_alone() -> None:
    """The worker runs without site-packages: an import of anything else would make every build fall back silently."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", docstrings.__file__],
        input=json.dumps(asdict(Reading(".", max_files=0, max_per_file=1, max_docstrings=1, min_characters=1))).encode(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"[]", b"")
