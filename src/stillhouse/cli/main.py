"""The `stillhouse` command: parsing only; what a command does stands elsewhere."""

from __future__ import annotations

import sys
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from stillhouse.cli.commands import PLAIN, Command, Commands, with_options
from stillhouse.console import show
from stillhouse.errors import StillhouseError, UserError

INTERRUPTED = 130

app = typer.Typer(name="stillhouse", cls=Commands, no_args_is_help=True, **PLAIN)
store_app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="What is kept: teachers and their features, general students, corpora: show, check, free.",
    **PLAIN,
)
app.add_typer(store_app, name="store")

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Folder of a model with a head, or a run folder.")]
StoreOption = Annotated[str | None, typer.Option("--store", help="Where the teacher's features are kept. [the user's cache]")]


def _print_version(wanted: bool) -> None:
    if wanted:
        show(f"stillhouse {version('stillhouse')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Distil BERT-like encoders: a teacher and data in, a small fast student and an honest report out."""


@app.command(cls=Command)
@with_options
def distill(
    *,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the run that is in the folder.", rich_help_panel="Output")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="Run file (YAML); other options change it.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, such as method.temperature=4; may be repeated.")
    ] = None,
    **options: Any,
) -> None:
    """Distil a teacher into a student: the main job. Every option has a default."""
    from stillhouse.api import distill as run_distill

    run_distill(config=config, changes=changes or (), overwrite=overwrite, quiet=False, **options)


@app.command(cls=Command)
@with_options
def compare(
    *,
    no_grid: Annotated[
        bool, typer.Option("--no-grid", help="Every method with its own learning rate.", rich_help_panel="Training")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the comparison that is in the folder.", rich_help_panel="Output")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="Comparison file (YAML); other options change it.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, such as methods.pkd.temperature=4; may be repeated.")
    ] = None,
    **options: Any,
) -> None:
    """Several methods, students and seeds on one task, each beside the same student trained without a teacher."""
    from stillhouse.api import compare as run_compare

    if no_grid and options["grid"] is not None:
        raise UserError("--grid and --no-grid are given", expected="one of them")
    options["grid"] = False if no_grid else options["grid"]
    run_compare(config=config, changes=changes or (), overwrite=overwrite, quiet=False, **options)


@app.command(cls=Command)
@with_options
def evaluate(
    model: ModelArgument,
    data: Annotated[str, typer.Option(help="File, folder, built-in or GLUE name, hub:owner/name.")],
    teacher: Annotated[str | None, typer.Option(help="Compare with this model.")] = None,
    *,
    out: Annotated[Path | None, typer.Option(help="Write the scores to this JSON file.")] = None,
    **options: Any,
) -> None:
    """Score a model: main metrics with intervals, calibration and, with --teacher, agreement."""
    from stillhouse.api import evaluate as run_evaluate
    from stillhouse.cli.listings import scores_table
    from stillhouse.files import require_writable, write_json

    if out is not None:
        out = require_writable(out, (data, model, teacher))
    scores = run_evaluate(model, data, teacher=teacher, **options)
    show(scores_table(scores))
    if out is not None:
        write_json(out, scores)


@app.command(cls=Command)
@with_options
def predict(
    model: ModelArgument,
    text: Annotated[list[str] | None, typer.Option(help="A text; may be repeated.")] = None,
    text_pair: Annotated[list[str] | None, typer.Option(help="Second text or context, one for each --text.")] = None,
    data: Annotated[str | None, typer.Option(help="File with texts; labels are not needed.")] = None,
    *,
    out: Annotated[Path | None, typer.Option(help="Write JSON lines to this file instead of the screen.")] = None,
    **options: Any,
) -> None:
    """Labels, values, tags or answers for text, as JSON lines."""
    import json

    from stillhouse.api import predict as run_predict
    from stillhouse.files import require_writable, write_text

    if out is not None:
        out = require_writable(out, (data, model))
    rows = run_predict(model, text=text, text_pair=text_pair, data=data, quiet=False, **options)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if out is None:
        show(lines, end="")
    else:
        write_text(out, lines)
        show(f"{len(rows)} predictions in {out}")


@app.command(cls=Command)
def methods(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A method, for its recipe card.")] = None,
) -> None:
    """List the methods; with a name, show its recipe card."""
    from stillhouse.methods import method_names, recipe_card

    if name is not None:
        show(recipe_card(name))
        return
    for method in method_names():
        title = recipe_card(method).splitlines()[0].lstrip("# ")
        show(f"{method:<12}{title}")


@app.command(cls=Command)
def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run, or of a comparison.")]) -> None:
    """Write the report of a finished run, or of a comparison, again."""
    from stillhouse.files import COMPARISON, METRICS, given_path
    from stillhouse.report import write_comparison_report, write_report

    run = given_path(run, "RUN")
    if (run / COMPARISON).exists():
        show(str(write_comparison_report(run)))
    elif (run / METRICS).exists():
        show(str(write_report(run, say=show)))
    else:
        expected = "a folder with metrics.json or comparison.json"
        raise UserError(f"{run} is not a finished run", expected=expected, fix="finish it first")


@store_app.command("ls", cls=Command)
def store_ls(store: StoreOption = None) -> None:
    """Whose features are kept, which teachers, students and corpora, and how much room they take."""
    from stillhouse.cli.listings import folders_table, stores_table
    from stillhouse.teachers.kept import kept_folders, kept_stores

    root = _store_folder(store)
    show(stores_table(root, kept_stores(root)))
    for place, kept in kept_folders().items() if store is None else ():
        show(folders_table(place, kept))


@store_app.command("verify", cls=Command)
def store_verify(store: StoreOption = None) -> None:
    """Read everything that is kept, and name what is damaged; leaves with 1 where something is."""
    from stillhouse.teachers.kept import damaged_folders, damaged_shards

    found = [*damaged_shards(_store_folder(store)), *(damaged_folders() if store is None else ())]
    for path, problem in found:
        show(f"{path}: {problem}")
    if found:
        raise StillhouseError(f"{len(found)} damaged; the next run that needs them makes them again")
    show("everything is as it was written")


@store_app.command("rm", cls=Command)
def store_rm(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="As `ls` shows them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them, models and corpora too.")] = False,
    store: StoreOption = None,
) -> None:
    """Delete what is kept; it is made again when it is needed."""
    from stillhouse.teachers.kept import kept_folders, kept_stores, remove_kept

    if bool(names) == everything:
        raise UserError("nothing is named" if not names else "names and --all are given", expected="names, or --all")
    folders = kept_folders().values() if store is None else ()
    freed = remove_kept([*kept_stores(_store_folder(store)), *chain.from_iterable(folders)], names or ())
    show(f"{freed / 2**20:,.1f} MiB freed")


def _store_folder(store: str | None) -> Path:
    """Where stores are: in the user's cache there may be none yet, elsewhere the folder has to be there."""
    from stillhouse.teachers.store import store_root

    root = store_root(store)
    if store is not None and not root.is_dir():
        raise UserError(f"--store {store} is no folder", expected="the folder in which features are kept", fix="check its name")
    return root


def main(arguments: list[str] | None = None) -> Any:
    """Runs the command. Leaves with 0 when done, 2 for the user's mistake, 1 for anything else."""
    try:
        app(args=arguments, prog_name="stillhouse")
    except StillhouseError as error:
        show(f"stillhouse: {error}", error=True)
        sys.exit(error.exit_status)
    except SystemExit as left:
        if left.code == INTERRUPTED:  # what typer makes of Ctrl-C, without a word
            show("\nstillhouse: interrupted; an unfinished run goes on when its command is given again", error=True)
            sys.exit(1)
        raise
