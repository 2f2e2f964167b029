"""The documentation: what is made from records is as they say, what is shown as a command is one, and links lead somewhere."""

import ast
import importlib
import inspect
import re
import shlex
import sys
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer
import yaml
from markdown_it import MarkdownIt

from stillhouse import api
from stillhouse.cli.main import app
from stillhouse.comparison.compare_config import comparison_from_options
from stillhouse.comparison.compare_options import COMPARE
from stillhouse.errors import UserError
from stillhouse.runs.option_table import DISTILL, EVALUATE, PREDICT
from stillhouse.runs.options import config_from_options, given_options
from tests import toy_data
from tests.tiny_models import make_tiny_checkpoint

ROOT = Path(__file__).parents[1]
README, GUIDE, RESULTS, LOG = (ROOT / name for name in ("README.md", "docs/guide.md", "docs/results.md", "docs/LOG.md"))
PAGES = (README, GUIDE, RESULTS, LOG, ROOT / "CHANGELOG.md")
MANUAL = (README, GUIDE)
TABLES = {"distill": DISTILL, "compare": COMPARE, "evaluate": EVALUATE, "predict": PREDICT}
# Each with what it cannot do without.
COMMANDS = {name: name for name in ("distill", "compare", "methods", "store ls", "store verify", "store rm")}
COMMANDS |= {"evaluate": "evaluate model --data data", "predict": "predict model", "report": "report run"}
GENERATED = re.compile(r"<!-- generated: (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def text_of(page):
    return page.read_text(encoding="utf-8")


def named(page):
    return str(page.relative_to(ROOT))


def pieces(page):
    """The parsed page, what stands within a line among it."""
    for token in MarkdownIt().enable("table").parse(text_of(page)):
        yield token
        yield from token.children or ()


# What is made from records.


@pytest.fixture(scope="module")
def tables():
    """The module that makes it."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("tables")
    for name in {"tables", "records", "results_page", "picture", "general_page"} - before:
        del sys.modules[name]


@pytest.fixture(scope="module")
def made(tables):
    """Every file that it makes."""
    return tables.made()


@pytest.mark.parametrize("name", ["README.md", "docs/guide.md", "docs/results.md", "docs/results.svg"])
def test_what_is_made_from_records_is_as_they_say(made, name):
    assert text_of(ROOT / name) == made[ROOT / name]


def test_the_picture_is_a_drawing(made):
    """Of a size of its own, in colours of its own, with words for who does not see it."""
    drawn = ElementTree.fromstring(made[ROOT / "docs" / "results.svg"])
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert {"width", "height", "aria-label"} <= drawn.attrib.keys()
    assert "var(" not in made[ROOT / "docs" / "results.svg"]


def test_every_part_stands_somewhere(tables):
    assert {part for page in (README, GUIDE, RESULTS) for part in GENERATED.findall(text_of(page))} == set(tables.PARTS)


def test_every_record_has_a_table():
    linked = {token.attrs["href"] for token in pieces(RESULTS) if token.type == "link_open"}
    assert {f"results/{record.name}" for record in (ROOT / "docs" / "results").glob("*.json")} <= linked


@pytest.mark.parametrize("is_changed", [True, False])
def test_check_names_a_number_that_was_changed(tables, tmp_path, monkeypatch, capsys, is_changed):
    page = tmp_path / "page.md"
    part = tables.filled("<!-- generated: speed -->\n<!-- end -->\n")
    page.write_text(part.replace("fp32 |", "fp32! |") if is_changed else part, encoding="utf-8")
    before = text_of(page)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "made", lambda: {page: tables.filled(before)})
    monkeypatch.setattr(sys, "argv", ["tables.py", "--check"])
    assert tables.main() == int(is_changed)
    assert capsys.readouterr().out == ("page.md differs from its records\n" if is_changed else "")
    assert text_of(page) == before


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"difference": 0.0481, "low": 0.023, "high": 0.0734}, "**+4.8** (2.3 to 7.3)"),
        ({"difference": -0.012, "low": -0.019, "high": -0.005}, "**-1.2** (-1.9 to -0.5)"),
        ({"difference": 0.0004, "low": -0.0051, "high": 0.006}, "0.0 (-0.5 to 0.6)"),
    ],
)
def test_a_gain_in_points(tables, found, said):
    assert sys.modules["records"].gain(found).replace("\u00a0", " ") == said


@pytest.mark.parametrize("page", MANUAL, ids=named)
def test_no_measured_number_is_typed(page):
    typed = re.compile(r"[+-]\d+\.\d+ |\d (?:times|points|min|ms|s)\b|\d %")
    assert typed.findall(GENERATED.sub("", text_of(page))) == []


# What a reader has patience for.


def test_the_readme_is_read_in_two_minutes():
    text = text_of(README)
    assert text.count("\n") <= 140
    assert len(text.split()) <= 1300
    assert max(map(len, text.splitlines())) <= 240


# Links.


def anchors(page):
    """Of its headings, as GitHub makes them."""
    tokens = list(pieces(page))
    titles = [
        "".join(child.content for child in inline.children)
        for heading, inline in pairwise(tokens)
        if heading.type == "heading_open"
    ]
    seen = Counter()
    for title in titles:
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        yield f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor
        seen[anchor] += 1


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    links = [
        token.attrs.get("href") or token.attrs.get("src") for token in pieces(page) if token.type in ("link_open", "image")
    ]
    wrong = []
    for link in links:
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not re.match(r"https?:", link) and not (target.exists() and (not anchor or anchor in anchors(target))):
            wrong.append(link)
    assert wrong == []


# Commands, options and settings.


def shown(page):
    """Lines of blocks of code, and code within lines."""
    for token in pieces(page):
        if token.type == "code_block" or (token.type == "fence" and token.info == ""):
            yield from token.content.splitlines()
        elif token.type == "code_inline":
            yield token.content


def starting_with(start, page):
    """What is shown of one program, without comments."""
    return [line for line in shown(page) if line.strip().startswith(start)]


def parsed(arguments):
    """A command of ours and its parameters; nothing is run.

    Raises:
        SystemExit, click's or typer's errors: It is none.
    """
    command, rest, context = typer.main.get_command(app), list(arguments), None
    while hasattr(command, "commands"):
        context = command.make_context(command.name, rest, parent=context)
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    return name, command.make_context(name, [one for one in rest if one != "--help"], parent=context).params


def check_command(arguments):
    """Options and settings of a command, as far as they can be checked before data are read."""
    name, parameters = parsed(arguments)
    table = TABLES.get(name, {})
    given = {option: value for option, value in parameters.items() if option in table and value not in (None, (), [])}
    about = {"config": parameters.get("config"), "changes": parameters.get("changes") or ()}
    if name == "distill":
        config_from_options(given_options(api.distill, DISTILL, given), **about)
    elif name == "compare":
        comparison_from_options(given_options(api.compare, COMPARE, given), **about)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files of which commands speak."""
    monkeypatch.chdir(tmp_path)
    for name in ("run.yaml", "compare.yaml"):
        (tmp_path / name).write_text("seed: 0\n" if name == "run.yaml" else "seeds: [0]\n", encoding="utf-8")


@pytest.mark.parametrize("page", MANUAL, ids=named)
def test_commands_are_understood(page, files):
    lines = [line.partition("-m ")[2] if line.startswith("accelerate") else line for line in shown(page)]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("stillhouse ")]
    assert len(commands) >= 7
    for command in commands:
        check_command(command[1:])


@pytest.mark.parametrize("page", MANUAL, ids=named)
def test_options_are_there(page, files):
    options = [shlex.split(line) for line in starting_with("--", page)]
    assert options
    for flag, *values in options:
        having = [command for name, command in COMMANDS.items() if flag in flags_of(name)]
        refusals = [refusal([*command.split(), flag, *values]) if values else "" for command in having]
        assert "" in refusals, (flag, values, refusals)


def refusal(arguments):
    """What a command has against its options."""
    try:
        check_command(arguments)
    except (UserError, SystemExit, RuntimeError) as error:
        return f"{arguments[0]}: {error}"
    return ""


@cache
def flags_of(name):
    """All options of a command."""
    command, context = typer.main.get_command(app), None
    for part in name.split():
        context = command.make_context(command.name, [part], parent=context)
        _, command, _ = command.resolve_command(context, [part])
    return {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("page", MANUAL, ids=named)
def test_settings_in_files_are_known(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for token in pieces(page):
        if token.type == "fence" and token.info == "yaml":
            (tmp_path / "settings.yaml").write_text(token.content, encoding="utf-8")
            read = comparison_from_options if "methods" in yaml.safe_load(token.content) else config_from_options
            read({}, config=tmp_path / "settings.yaml")


@pytest.mark.parametrize("page", MANUAL, ids=named)
def test_scripts_and_targets_are_there(page):
    makefile = text_of(ROOT / "Makefile")
    for line in starting_with("make ", page):
        assert re.search(rf"^{re.escape(line.split()[1])}:", makefile, re.MULTILINE), line
    for line in starting_with("python benchmarks/", page):
        _, script, *arguments = shlex.split(line, comments=True)
        for flag in (one for one in arguments if one.startswith("--")):
            assert f'"{flag}"' in text_of(ROOT / script), line


def python_of(page):
    return [token.content for token in pieces(page) if token.type == "fence" and token.info == "python"]


@pytest.mark.parametrize("page", MANUAL, ids=named)
def test_python_is_called_by_its_names(page):
    for code in python_of(page):
        calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        ours = [call for call in calls if call.func.id in TABLES]
        assert ours
        for call in ours:
            known = {*inspect.signature(getattr(api, call.func.id)).parameters, *TABLES[call.func.id]}
            assert {keyword.arg for keyword in call.keywords} <= known


@pytest.mark.long
def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    toy_data.classification(tmp_path / "reviews.csv", rows=200)
    make_tiny_checkpoint("my-finetuned-bert", "bert", head="classification", labels=("negative", "positive"))
    (code,) = python_of(README)
    exec(code.replace("distill(", "distill(allow_weak_teacher=True, ", 1), {})  # its weights are random
    score, _, rest = capsys.readouterr().out.partition(" ")
    assert 0 <= float(score) <= 1
    assert rest.startswith("runs/reviews/report.html\n[{")
