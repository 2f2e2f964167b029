"""The built-in data set `pydocs`: which package does a docstring document?

Made from the sources of packages that are installed with Stillhouse, so that it needs no network: real English text,
labels that are right by construction, and far more text without a label than with one, as in practice.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import sysconfig
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stillhouse.data.pydocs.docstrings import Reading, rank, read_apart, read_docstrings
from stillhouse.data.readers.table import Table
from stillhouse.documents import DocumentError, read_json
from stillhouse.errors import UserError
from stillhouse.files import cache_folder, is_ours, write_text

BUILDER = 1  # counts up when the same sources give other rows
WORKERS = 2
MIN_PACKAGES = 4
PYDOCS_SPLITS = ("train", "validation")
NEUTRAL = "library"  # stands where the name of a package stood


@dataclass(frozen=True)
class Package:
    """A package whose docstrings are read.

    Attributes:
        label: Its name as a class.
        module: Top-level module to look for; None = the standard library.
        distribution: Name under which its version is known; None = that of the module.
        names: Names that give it away anywhere in a word, in any case.
        aliases: Short names that give it away as a word of their own, in this case.
    """

    label: str
    module: str | None
    distribution: str | None = None
    names: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        if self.module is None:
            return platform.python_version()
        try:
            return importlib.metadata.version(self.distribution or self.module)
        except importlib.metadata.PackageNotFoundError:
            return "unknown"

    @property
    def folder(self) -> Path | None:
        """Where its sources are, found without importing it; None where it isn't installed as a folder."""
        if self.module is None:
            return Path(sysconfig.get_path("stdlib"))
        try:
            spec = importlib.util.find_spec(self.module)
        except (ImportError, ValueError):
            return None
        folders = list(spec.submodule_search_locations or ()) if spec else []
        return Path(folders[0]) if folders and Path(folders[0]).is_dir() else None


PACKAGES = (
    Package("networkx", "networkx", names=("networkx",), aliases=("nx",)),
    Package("pandas", "pandas", names=("pandas", "pydata"), aliases=("pd",)),
    Package("python", None, names=("python", "stdlib"), aliases=("py",)),
    Package("scipy", "scipy", names=("scipy",), aliases=("sp",)),
    Package("sklearn", "sklearn", "scikit-learn", names=("sklearn", "scikit-learn", "scikit learn", "scikit")),
    Package("sympy", "sympy", names=("sympy",)),
    Package("torch", "torch", names=("torch",)),
    Package("transformers", "transformers", names=("transformers", "hugging face", "huggingface"), aliases=("HF",)),
)
# Hidden as well: they name the house style of some packages more than what a docstring says.
OTHER_NAMES = ("numpy", "matplotlib", "tensorflow")
OTHER_ALIASES = ("np", "plt", "mpl", "tf")


@dataclass(frozen=True)
class Limits:
    """How much is read and kept, so that no package dominates and a build takes seconds.

    Attributes:
        files: Files read per package.
        per_file: Docstrings kept per file.
        docstrings: Docstrings read per package.
        validation: Validation rows per package.
        labelled: Training rows with a label per package.
        unlabelled: Training rows without a label per package.
        min_characters: Shortest text.
        max_characters: Longest text; longer ones are cut between words.
    """

    files: int = 500
    per_file: int = 16
    docstrings: int = 1300
    validation: int = 212
    labelled: int = 40
    unlabelled: int = 340
    min_characters: int = 120
    max_characters: int = 400


LIMITS = Limits()


@dataclass(frozen=True)
class Row:
    """One text: the file it comes from, its words, and its package."""

    file: str
    text: str
    label: str


class NameHider:
    """Replaces every word, dotted path or address that holds the name of a package by one neutral word.

    All packages' names are hidden in all texts: what is replaced never depends on the label.
    """

    _ADDRESS = re.compile(r"\b(?:https?|ftp)://\S+|\bwww\.\S+")
    _WORD = re.compile(r"[\w.]*\w")  # a dotted path is one word
    _REPEATED = re.compile(rf"\b{NEUTRAL}(?:[\s/-]+{NEUTRAL})+\b")

    def __init__(self, packages: Sequence[Package] = PACKAGES) -> None:
        names = {*OTHER_NAMES, *(name for package in packages for name in package.names)}
        self._names = sorted(name for name in names if name.isidentifier())
        phrases = sorted((name for name in names if not name.isidentifier()), key=len, reverse=True)
        self._phrase = re.compile("|".join(map(re.escape, phrases)) or r"(?!)", re.IGNORECASE)
        self._aliases = {*OTHER_ALIASES, *(alias for package in packages for alias in package.aliases)}
        # Most words come again: looking them up is far faster than one regex of all names.
        self._known: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        text = self._phrase.sub(NEUTRAL, self._ADDRESS.sub(NEUTRAL, text))
        text = self._WORD.sub(lambda match: self._word(match[0]), text)
        return self._REPEATED.sub(NEUTRAL, text)

    def _word(self, word: str) -> str:
        if word not in self._known:
            folded, first = word.casefold(), word.lstrip(".").partition(".")[0]
            gives_away = first in self._aliases or any(name in folded for name in self._names)
            self._known[word] = NEUTRAL if gives_away else word
        return self._known[word]


def tidy(docstring: str) -> str:
    """One line of printable text: white space collapsed, rulers and underlines of headings dropped."""
    lines = (line.strip() for line in docstring.splitlines())
    kept = " ".join(line for line in lines if len(line) < 3 or any(map(str.isalnum, line)))
    if not kept.isprintable():  # tabs, control characters, halves of surrogate pairs
        kept = "".join(char if char.isprintable() else " " for char in kept)
    return " ".join(kept.split())


def shorten(text: str, characters: int) -> str:
    """The text cut to at most so many characters, between words where it has any."""
    if len(text) <= characters:
        return text
    return text[: characters + 1].rpartition(" ")[0] or text[:characters]


class Novelty:
    """Finds copies and near-copies: a text is new if more than half of its runs of four words were never seen.

    Only texts found new count as seen.
    """

    RUN = 4

    def __init__(self) -> None:
        self._seen: set[tuple[str, ...]] = set()

    def is_new(self, text: str) -> bool:
        words = re.findall(r"[^\W_]+", text.casefold())
        runs = {tuple(words[start : start + self.RUN]) for start in range(max(1, len(words) - self.RUN + 1))}
        if 2 * len(runs - self._seen) <= len(runs):
            return False
        self._seen |= runs
        return True


def _read(readings: Sequence[Reading]) -> list[list[tuple[str, str]]]:
    """Reads the packages in a few processes, or here where processes are not allowed."""
    with ThreadPoolExecutor(WORKERS) as pool:
        apart = list(pool.map(read_apart, readings))
    both = zip(readings, apart, strict=True)
    return [read_docstrings(reading) if pairs is None else pairs for reading, pairs in both]


def _clean(rows: Iterable[Row], packages: Sequence[Package], limits: Limits) -> dict[str, list[Row]]:
    """Hides names and drops short texts and near-copies, over all packages at once; rows by label, file after file."""
    hide, novelty = NameHider(packages), Novelty()
    kept: dict[str, list[Row]] = {package.label: [] for package in packages}
    for row in rows:
        # Four times the length leaves enough after indents and names have shrunk: some docstrings go on for pages.
        text = shorten(hide(tidy(row.text[: 4 * limits.max_characters])), limits.max_characters)
        if len(text) >= limits.min_characters and novelty.is_new(text):
            kept[row.label].append(Row(row.file, text, row.label))
    return kept


def _split(rows: Sequence[Row], limits: Limits) -> tuple[list[Row], list[tuple[Row, bool]]]:
    """Validation rows and (training row, has label) of one package; no file has rows in both."""
    wanted = limits.validation + limits.labelled + limits.unlabelled
    share = min(1.0, len(rows) / wanted)
    validation = list(rows[: int(share * limits.validation)])
    straddling = validation[-1].file if validation else None
    rest = [row for row in rows[len(validation) :] if row.file != straddling]
    rest = rest[: int(share * (limits.labelled + limits.unlabelled))]
    by_rank = sorted(rest, key=lambda row: rank(row.text))
    return validation, [(row, place < int(share * limits.labelled)) for place, row in enumerate(by_rank)]


def build_pydocs(packages: Sequence[Package] = PACKAGES, limits: Limits = LIMITS) -> dict[str, list[dict[str, Any]]]:
    """Reads the sources and splits their docstrings; the same rows in the same order for the same sources.

    Args:
        packages: What to read; those that aren't installed are left out.
        limits: How much to read and to keep.

    Returns:
        Rows `{"text": ..., "label": ...}` of `train` and `validation`; the label is None for training text without one.

    Raises:
        UserError: Where fewer than four of the packages are installed.
    """
    folders = {package: package.folder for package in packages}
    found = {package: folder for package, folder in folders.items() if folder is not None}
    if len(found) < MIN_PACKAGES:
        missing = ", ".join(package.label for package in packages if package not in found)
        raise UserError(
            f"pydocs is made from installed packages, and finds {len(found)} of {len(packages)} (missing: {missing})",
            expected=f"the sources of at least {MIN_PACKAGES}",
            fix="install them with pip, or give data of your own with --data",
        )
    amounts = (limits.files, limits.per_file, limits.docstrings, limits.min_characters)
    read = _read([Reading(str(folder), *amounts) for folder in found.values()])
    rows = [Row(file, text, package.label) for package, pairs in zip(found, read, strict=True) for file, text in pairs]
    # By file across packages: of two near-copies the first stays, and no package should always be first.
    rows.sort(key=lambda row: (rank(row.file), row.label))
    train: list[tuple[Row, bool]] = []
    validation: list[Row] = []
    for of_label in _clean(rows, tuple(found), limits).values():
        validation_part, train_part = _split(of_label, limits)
        validation += validation_part
        train += train_part
    validation.sort(key=lambda row: rank(row.text))
    train.sort(key=lambda pair: rank(pair[0].text))
    return {
        "train": [{"text": row.text, "label": row.label if has_label else None} for row, has_label in train],
        "validation": [{"text": row.text, "label": row.label} for row in validation],
    }


def _key(packages: Sequence[Package], limits: Limits) -> str:
    """Names what a build depends on: package versions, limits, the interpreter that parses, and this builder."""
    versions = [(package.label, package.version, package.folder is not None) for package in packages]
    parts = [BUILDER, platform.python_version(), asdict(limits), [asdict(package) for package in packages], versions]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def _load(path: Path) -> dict[str, list[dict[str, Any]]] | None:
    """The kept rows; None where there are none, or the file is damaged."""
    if not is_ours(path):
        return None
    try:
        head, _, body = path.read_text(encoding="utf-8").partition("\n")
        if read_json(head, str(path)) != {"sha256": _digest(body)}:
            return None
        splits: dict[str, list[dict[str, Any]]] = {split: [] for split in PYDOCS_SPLITS}
        for line in body.split("\n")[:-1]:
            row = read_json(line, str(path))
            splits[row["split"]].append({"text": row["text"], "label": row["label"]})
    except (OSError, ValueError, DocumentError):
        return None
    return splits


def _keep(path: Path, splits: dict[str, list[dict[str, Any]]]) -> None:
    """Writes the rows for the next time; a folder that can't be written only means that they are built again."""
    lines = [json.dumps({"split": split, **row}) + "\n" for split, rows in splits.items() for row in rows]
    body = "".join(lines)
    if os.path.lexists(path) and not is_ours(path):  # a link in a cache that others can write leads elsewhere
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"sha256": _digest(body)}) + "\n" + body)
    except (OSError, UserError):
        return


def read_pydocs(packages: Sequence[Package] = PACKAGES, limits: Limits = LIMITS) -> dict[str, Table]:
    """The data set as tables `train` and `validation` with the columns `text` and `label`; built once, then kept.

    Args:
        packages: What the labels are.
        limits: How many rows there are.

    Raises:
        UserError: Where fewer than four of the packages are installed.
    """
    path = cache_folder("pydocs") / f"{_key(packages, limits)}.jsonl"
    splits = _load(path)
    if splits is None:
        splits = build_pydocs(packages, limits)
        _keep(path, splits)
    return {
        split: Table(columns={name: [row[name] for row in rows] for name in ("text", "label")}, source="pydocs")
        for split, rows in splits.items()
    }
