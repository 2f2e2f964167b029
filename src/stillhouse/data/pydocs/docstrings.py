"""Docstrings of an installed package, read with `ast`: nothing of the package is imported or run.

The file imports the standard library alone, so that it also runs as a script of its own (`read_apart`): a worker starts
in milliseconds, and starting it neither imports the user's main module again, as a spawned process would, nor forks
a process that has threads.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

# Tests and vendored code: their docstrings are boilerplate, or document another package than the one they lie in.
LEFT_OUT = {"test", "tests", "testing", "_testing", "_internal", "conftest"}
LEFT_OUT |= {"externals", "_external", "vendor", "_vendor", "_vendored", "vendored_templates", "_bundled"}
LEFT_OUT |= {"array_api_compat", "array_api_extra", "__pycache__"}
LEFT_OUT |= {"site-packages", "dist-packages"}  # below the standard library: what is installed
# Parts of the standard library that some distributions package apart, so that an installation may lack them.
LEFT_OUT |= {"idlelib", "lib2to3", "turtledemo", "distutils", "ensurepip", "tkinter", "venv", "pydoc_data"}

MAX_SOURCE_BYTES = 100_000  # larger files cost the most time for each docstring found
WORKER_SECONDS = 60

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Reading:
    """What to read of one package.

    Attributes:
        folder: The package's folder.
        max_files: Read at most so many files.
        max_per_file: Keep at most so many docstrings of one file.
        max_docstrings: Stop after the file that reaches so many docstrings.
        min_characters: Leave out shorter docstrings.
    """

    folder: str
    max_files: int
    max_per_file: int
    max_docstrings: int
    min_characters: int


def rank(text: str) -> str:
    """A place in an order that depends on the text alone: not on the disk, the machine or a random state."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _is_wanted(name: str) -> bool:
    return name not in LEFT_OUT and not name.startswith("test_") and not name.endswith("_test")


def source_files(folder: Path) -> list[str]:
    """Paths of the package's sources relative to `folder`, with slashes, in the order of `rank`."""
    found = []
    for root, folders, names in os.walk(folder):
        below = Path(root).relative_to(folder)
        folders[:] = [name for name in folders if _is_wanted(name)]
        for name in names:
            stem, extension = os.path.splitext(name)
            if extension == ".py" and _is_wanted(stem):
                found.append((below / name).as_posix())
    return sorted(found, key=lambda path: (rank(path), path))


def docstrings_of(source: bytes) -> Iterator[str]:
    """Docstrings of the module, its classes, functions and methods; none where the source cannot be parsed."""
    if b'"""' not in source and b"'''" not in source:  # parsing is what costs time
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # ValueError: null bytes; the last two: deep nesting
        return
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, DOCUMENTED):
            docstring = ast.get_docstring(node)
            if docstring:
                yield docstring
        # Into statements only: `ast.walk` would visit every expression as well, for several times the time.
        for block in ("body", "orelse", "handlers", "finalbody"):
            inside = getattr(node, block, ())
            if isinstance(inside, list):  # the body of a lambda is an expression
                nodes += inside


def read_docstrings(reading: Reading) -> list[tuple[str, str]]:
    """Pairs of file and docstring, file by file in the order of `source_files`."""
    folder = Path(reading.folder)
    pairs: list[tuple[str, str]] = []
    for path in source_files(folder)[: reading.max_files]:
        try:
            source = (folder / path).read_bytes()
        except OSError:
            continue
        if len(source) > MAX_SOURCE_BYTES:
            continue
        found = {text for text in docstrings_of(source) if len(text) >= reading.min_characters}
        pairs += [(path, text) for text in sorted(found, key=lambda text: (rank(text), text))[: reading.max_per_file]]
        if len(pairs) >= reading.max_docstrings:
            break
    return pairs


def read_apart(reading: Reading) -> list[tuple[str, str]] | None:
    """`read_docstrings` in a process of its own; None where such a process can't be run."""
    command = [sys.executable, "-I", "-S", __file__]
    try:
        worker = subprocess.run(
            command, input=json.dumps(asdict(reading)).encode(), capture_output=True, check=True, timeout=WORKER_SECONDS
        )
        return [(path, text) for path, text in json.loads(worker.stdout)]
    except (OSError, subprocess.SubprocessError, TypeError, ValueError):
        return None


if __name__ == "__main__":
    gc.disable()  # syntax trees are many small objects and no cycles that matter: a fifth of the time
    json.dump(read_docstrings(Reading(**json.load(sys.stdin))), sys.stdout)
