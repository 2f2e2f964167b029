"""Imports point one way, and the tree stays clean."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "stillhouse"
FILES = sorted(SOURCE.rglob("*.py"))
# What files of a folder may never import: the arrows are cli -> api -> run -> training, methods -> objectives -> features.
FORBIDDEN = {
    "objectives": ("stillhouse.models", "stillhouse.training", "stillhouse.methods", "stillhouse.teachers", "transformers"),
    "training": ("stillhouse.methods", "stillhouse.cli", "stillhouse.api", "stillhouse.run", "stillhouse.report"),
    "methods": ("stillhouse.training", "stillhouse.models", "stillhouse.run", "transformers"),
    "data": ("stillhouse.models", "stillhouse.training", "stillhouse.methods", "stillhouse.evaluation", "torch.nn"),
    "models": ("stillhouse.training", "stillhouse.methods", "stillhouse.evaluation", "stillhouse.run"),
    "students": ("stillhouse.training", "stillhouse.methods", "stillhouse.run"),
    "report": ("stillhouse.training", "stillhouse.models", "torch", "transformers"),
    "evaluation": ("stillhouse.methods", "stillhouse.run", "stillhouse.report"),
}


def imported(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_one_way(folder):
    wrong = [
        f"{file.relative_to(SOURCE)} imports {name}"
        for file in FILES
        if file.relative_to(SOURCE).parts[0] == folder
        for name in imported(file)
        if any(name == barred or name.startswith(f"{barred}.") for barred in FORBIDDEN[folder])
    ]
    assert not wrong


def test_only_models_students_and_saving_touch_transformers():
    allowed = {"models", "students", "training"}
    users = {
        file.relative_to(SOURCE).parts[0]
        for file in FILES
        for name in imported(file)
        if name == "transformers" or name.startswith("transformers.")
    }
    assert users <= allowed


def test_every_package_is_described():
    assert all(ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) for file in FILES)
