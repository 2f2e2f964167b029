"""The tree: what stands on what, one name for one thing, and a word for every file."""

import ast
import re
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "stillhouse"
FILES = {
    "stillhouse." + ".".join(file.relative_to(SOURCE).with_suffix("").parts): file for file in sorted(SOURCE.rglob("*.py"))
}
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in FILES.items()}

# Every file and folder of the package, from the ground up: each imports from lower floors alone.
FLOORS = (
    ("errors", "console", "task", "features", "speed", "measure", "writers"),
    ("documents", "files", "config", "layer_maps"),
    ("sealed",),
    ("machine",),
    ("data",),
    ("corpus",),
    ("models", "objective"),
    ("objectives", "students", "teachers", "evaluation"),
    ("method", "report", "tasks"),
    ("methods", "training"),
    ("runs",),
    ("comparison",),
    ("api",),
    ("cli", "__init__"),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# What a room does without, so that it can be read, imported and tested on its own.
WITHOUT = {
    "objective": ("transformers", "accelerate"),
    "objectives": ("transformers", "accelerate"),
    "method": ("transformers", "accelerate"),
    "methods": ("transformers", "accelerate"),
    "data": ("torch.nn", "transformers", "accelerate"),
    "corpus": ("torch.nn", "transformers", "accelerate"),
    "report": ("torch", "transformers", "accelerate"),
    "runs": ("transformers",),
    "evaluation": ("transformers",),
    "tasks": ("transformers", "accelerate"),
}
KINDS = {file.stem for file in (SOURCE / "tasks").glob("*.py")} - {"__init__"}


def room_of(module):
    return module.split(".")[1]


def imported(module):
    """Modules, ours by the name of their file."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            ours = [name for name in below if name in FILES]
            package = f"{node.module}.__init__"
            yield from ours
            if len(ours) < len(below):
                yield package if package in FILES else node.module


def test_every_room_has_a_floor():
    assert sorted(FLOOR) == sorted({room_of(module) for module in FILES})


def imports_of(room):
    """Pairs of a module of the room and what it imports."""
    return [(module, name) for module in FILES if room_of(module) == room for name in imported(module)]


@pytest.mark.parametrize("room", FLOOR)
def test_no_import_runs_back_up(room):
    wrong = [
        f"{module} imports {name}"
        for module, name in imports_of(room)
        if name in FILES and room_of(name) != room and FLOOR[room_of(name)] >= FLOOR[room]
    ]
    assert not wrong


def test_no_files_import_each_other():
    TopologicalSorter({module: {name for name in imported(module) if name in FILES} for module in FILES}).prepare()


@pytest.mark.parametrize("room", WITHOUT)
def test_rooms_do_without(room):
    wrong = [
        f"{module} imports {name}"
        for module, name in imports_of(room)
        if any(name == barred or name.startswith(f"{barred}.") for barred in WITHOUT[room])
    ]
    assert not wrong


def test_no_two_files_have_one_name():
    names = Counter(file.stem for file in FILES.values() if file.stem != "__init__")
    assert [name for name, times in names.items() if times > 1] == []


def test_no_two_things_have_one_name():
    """Public classes and functions; a command is named as the function that it calls."""
    names = Counter(
        node.name
        for module, tree in TREES.items()
        if room_of(module) != "cli"
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    )
    assert [name for name, times in names.items() if times > 1] == []


def test_what_a_kind_of_task_is_stands_in_its_own_file():
    """Elsewhere no kind is told from others, but where columns are found and where reports, which read JSON, draw."""
    may = [module for module in FILES if room_of(module) in ("tasks", "report") or module == "stillhouse.data.columns"]
    named = [
        module
        for module, tree in TREES.items()
        if any(isinstance(node, ast.Constant) and node.value in KINDS for node in ast.walk(tree))
    ]
    assert set(named) <= set(may)
    switches = Counter(
        module
        for module, file in FILES.items()
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(r"(?<!for )\bkind(\.name)? (==|!=|in|not in) ", line)
    )
    assert set(switches) <= set(may)
    assert switches.total() <= 15


def test_files_are_short():
    lines = {module: file.read_text(encoding="utf-8").count("\n") for module, file in FILES.items()}
    assert [module for module, count in lines.items() if count > 400] == []


def test_every_file_is_described():
    assert [module for module, tree in TREES.items() if not ast.get_docstring(tree)] == []
