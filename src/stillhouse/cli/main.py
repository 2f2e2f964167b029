"""The `stillhouse` command: parsing only; what a command does stands elsewhere."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from stillhouse.errors import StillhouseError, UserError

INTERRUPTED = 130

app = typer.Typer(
    name="stillhouse",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


store_app = typer.Typer(
    no_args_is_help=True, help="What is kept of teachers, features and fitted ones: show, check, free.", rich_markup_mode=None
)
app.add_typer(store_app, name="store")

# Options that several commands share.
Data = Annotated[str | None, typer.Option(help="File, folder, built-in or GLUE name, hub:owner/name. [pydocs]")]
Text = Annotated[str | None, typer.Option(help="Column of the text. [found]")]
TextPair = Annotated[str | None, typer.Option(help="Column of the second text. [found]")]
Label = Annotated[str | None, typer.Option(help="Column of the label. [found]")]
Task = Annotated[str | None, typer.Option(help="classification, multilabel, regression, tagging or qa. [found]")]
LabelMap = Annotated[list[str] | None, typer.Option(help="data=teacher label names where they differ; may be repeated.")]
MaxTrain = Annotated[int | None, typer.Option(help="Use so many training rows. [all]")]
MaxLabels = Annotated[int | None, typer.Option(help="Keep so many gold labels; the other rows become plain text. [all]")]
Transfer = Annotated[list[str] | None, typer.Option(help="Files with more text without labels: --transfer A B.")]
Labels = Annotated[str | None, typer.Option(help="gold, teacher or mixed. [mixed]")]
Teacher = Annotated[str | None, typer.Option(help="Local folder or hub id. [the bundled encoder]")]
AllowWeakTeacher = Annotated[
    bool, typer.Option("--allow-weak-teacher", help="Go on with a teacher no better than the majority class.")
]
TeacherFeatures = Annotated[str | None, typer.Option(help="auto, online or store. [auto]")]
Store = Annotated[str | None, typer.Option(help="Where the teacher's features are kept. [the user's cache]")]
Compat = Annotated[
    str | None, typer.Option(help="official: the reductions of the authors' own code, where a method knows them.")
]
BatchSize = Annotated[int | None, typer.Option(help="Examples a step, last stage. [the method's]")]
MaxLength = Annotated[int | None, typer.Option(help="Longest input in tokens. [128; qa 384]")]
Precision = Annotated[str | None, typer.Option(help="auto, fp32 or bf16. [auto]")]
Track = Annotated[list[str] | None, typer.Option(help="Experiment tracker, such as tensorboard; may be repeated.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Folder of a model with a head, or a run folder.")]
ScoringPrecision = Annotated[str, typer.Option(help="auto, fp32 or bf16.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stillhouse {version('stillhouse')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Distil BERT-like encoders: a teacher and data in, a small fast student and an honest report out."""


@app.command()
def distill(
    data: Data = None,
    text: Text = None,
    text_pair: TextPair = None,
    label: Label = None,
    task: Task = None,
    label_map: LabelMap = None,
    max_train: MaxTrain = None,
    max_labels: MaxLabels = None,
    transfer: Transfer = None,
    labels: Labels = None,
    teacher: Teacher = None,
    allow_weak_teacher: AllowWeakTeacher = False,
    teacher_features: TeacherFeatures = None,
    store: Store = None,
    method: Annotated[str | None, typer.Option(help="See `stillhouse methods`. [logit]")] = None,
    compat: Compat = None,
    student: Annotated[str | None, typer.Option(help="LxH such as 3x384, half, a folder or hub id. [half]")] = None,
    baseline: Annotated[
        bool | None,
        typer.Option("--baseline/--no-baseline", help="Also train the same student without the teacher. [for pydocs]"),
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Epochs of the last stage. [the method's]")] = None,
    batch_size: BatchSize = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak rate, last stage. [the method's]")] = None,
    max_length: MaxLength = None,
    precision: Precision = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the student's training. [0]")] = None,
    track: Track = None,
    out: Annotated[str | None, typer.Option(help="Run folder. [runs/<data>-<method>-<student>]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the run that is in the folder.")] = False,
    config: Annotated[Path | None, typer.Option(help="Run file (YAML); other options change it.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, such as method.temperature=4; may be repeated.")
    ] = None,
) -> None:
    """Distil a teacher into a student: the main job. Every option has a default."""
    given = dict(locals())
    from stillhouse.api import distill as run_distill

    for name in ("config", "changes", "overwrite"):
        given.pop(name)
    given["allow_weak_teacher"] = allow_weak_teacher or None
    run_distill(config=config, changes=changes or (), overwrite=overwrite, quiet=False, **given)


@app.command()
def compare(
    data: Data = None,
    methods: Annotated[
        str | None, typer.Option("--methods", "--method", help="Names with commas between: logit,pkd. [all]")
    ] = None,
    students: Annotated[
        str | None, typer.Option("--students", "--student", help="LxH, half, folders or hub ids, with commas. [the methods']")
    ] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", "--seed", help="With commas between. [0,1,2]")] = None,
    grid: Annotated[
        str | None, typer.Option(help="Learning rates that every line tries, chosen on the selection rows. [3e-5,1e-4,3e-4]")
    ] = None,
    no_grid: Annotated[bool, typer.Option("--no-grid", help="Every method with its own learning rate.")] = False,
    text: Text = None,
    text_pair: TextPair = None,
    label: Label = None,
    task: Task = None,
    label_map: LabelMap = None,
    max_train: MaxTrain = None,
    max_labels: MaxLabels = None,
    transfer: Transfer = None,
    labels: Labels = None,
    teacher: Teacher = None,
    allow_weak_teacher: AllowWeakTeacher = False,
    teacher_features: TeacherFeatures = None,
    store: Store = None,
    compat: Compat = None,
    epochs: Annotated[float | None, typer.Option(help="Epochs of the last stages. [the methods']")] = None,
    batch_size: BatchSize = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="One rate instead of the grid, for stages scored on the selection rows.")
    ] = None,
    max_length: MaxLength = None,
    precision: Precision = None,
    track: Track = None,
    out: Annotated[str | None, typer.Option(help="Folder of the comparison. [runs/<data>-compare]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the comparison that is in the folder.")] = False,
    config: Annotated[Path | None, typer.Option(help="Comparison file (YAML); other options change it.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, such as methods.pkd.temperature=4; may be repeated.")
    ] = None,
) -> None:
    """Several methods, students and seeds on one task, each beside the same student trained without a teacher."""
    given = dict(locals())
    from stillhouse.api import compare as run_compare

    for name in ("config", "changes", "overwrite", "no_grid", "grid"):
        given.pop(name)
    if no_grid and grid is not None:
        raise UserError("--grid and --no-grid are given", expected="one of them")
    given["allow_weak_teacher"] = allow_weak_teacher or None
    rates: Any = False if no_grid else grid
    run_compare(config=config, changes=changes or (), overwrite=overwrite, quiet=False, grid=rates, **given)


@app.command()
def evaluate(
    model: Model,
    data: Annotated[str, typer.Option(help="File, folder, built-in or GLUE name, hub:owner/name.")],
    teacher: Annotated[str | None, typer.Option(help="Compare with this model.")] = None,
    text: Text = None,
    text_pair: TextPair = None,
    label: Label = None,
    label_map: Annotated[list[str] | None, typer.Option(help="data=model label names where they differ.")] = None,
    max_length: MaxLength = None,
    precision: ScoringPrecision = "auto",
    out: Annotated[Path | None, typer.Option(help="Write the scores to this JSON file.")] = None,
) -> None:
    """Score a model: main metrics with intervals, calibration and, with --teacher, agreement."""
    given = dict(locals())
    from stillhouse.api import evaluate as run_evaluate
    from stillhouse.cli.listings import scores_table
    from stillhouse.files import require_writable, write_json

    given.pop("out")
    if out is not None:
        require_writable(out)
    scores = run_evaluate(**given)
    typer.echo(scores_table(scores))
    if out is not None:
        write_json(out, scores)


@app.command()
def predict(
    model: Model,
    text: Annotated[list[str] | None, typer.Option(help="A text; may be repeated.")] = None,
    text_pair: Annotated[list[str] | None, typer.Option(help="Second text or context, one for each --text.")] = None,
    data: Annotated[str | None, typer.Option(help="File with texts; labels are not needed.")] = None,
    max_length: MaxLength = None,
    precision: ScoringPrecision = "auto",
    out: Annotated[Path | None, typer.Option(help="Write JSON lines to this file instead of the screen.")] = None,
) -> None:
    """Labels, values, tags or answers for text, as JSON lines."""
    import json

    from stillhouse.api import predict as run_predict
    from stillhouse.files import require_writable, write_text

    if out is not None:
        require_writable(out)
    rows = run_predict(model, text=text, text_pair=text_pair, data=data, max_length=max_length, precision=precision)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if out is None:
        typer.echo(lines, nl=False)
    else:
        write_text(out, lines)
        typer.echo(f"{len(rows)} predictions in {out}")


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A method, for its recipe card.")] = None,
) -> None:
    """List the methods; with a name, show its recipe card."""
    from stillhouse.methods import method_names, recipe_card

    if name is not None:
        typer.echo(recipe_card(name))
        return
    for method in method_names():
        title = recipe_card(method).splitlines()[0].lstrip("# ")
        typer.echo(f"{method:<12}{title}")


@app.command()
def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run, or of a comparison.")]) -> None:
    """Write the report of a finished run, or of a comparison, again."""
    from stillhouse.files import COMPARISON, METRICS
    from stillhouse.report import write_comparison_report, write_report

    if (run / COMPARISON).exists():
        typer.echo(str(write_comparison_report(run)))
    elif (run / METRICS).exists():
        typer.echo(str(write_report(run)))
    else:
        expected = "a folder with metrics.json or comparison.json"
        raise UserError(f"{run} is not a finished run", expected=expected, fix="finish it first")


@store_app.command("ls")
def store_ls(store: Store = None) -> None:
    """Whose features are kept, which fitted teachers, and how much room they take."""
    from stillhouse.cli.listings import stores_table, teachers_table
    from stillhouse.teachers.kept import kept_stores, kept_teachers
    from stillhouse.teachers.kept_models import teachers_root

    root = _store_folder(store)
    typer.echo(stores_table(root, kept_stores(root)))
    if store is None:
        typer.echo(teachers_table(teachers_root(), kept_teachers()))


@store_app.command("verify")
def store_verify(store: Store = None) -> None:
    """Read everything that is kept, and name what is damaged; leaves with 1 where something is."""
    from stillhouse.teachers.kept import damaged_shards, damaged_teachers

    found = [*damaged_shards(_store_folder(store)), *(damaged_teachers() if store is None else ())]
    for path, problem in found:
        typer.echo(f"{path}: {problem}")
    if found:
        raise StillhouseError(f"{len(found)} damaged; the next run that needs them makes them again")
    typer.echo("everything is as it was written")


@store_app.command("rm")
def store_rm(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="As `ls` shows them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them, fitted teachers too.")] = False,
    store: Store = None,
) -> None:
    """Delete kept features and fitted teachers; they are made again when they are needed."""
    from stillhouse.teachers.kept import kept_stores, kept_teachers, remove_kept

    if bool(names) == everything:
        raise UserError("nothing is named" if not names else "names and --all are given", expected="names, or --all")
    kept = [*kept_stores(_store_folder(store)), *(kept_teachers() if store is None else ())]
    freed = remove_kept(kept, names or ())
    typer.echo(f"{freed / 2**20:,.1f} MiB freed")


def _store_folder(store: str | None) -> Path:
    """Where stores are: in the user's cache there may be none yet, elsewhere the folder has to be there."""
    from stillhouse.teachers.store import store_root

    root = store_root(store)
    if store is not None and not root.is_dir():
        raise UserError(f"--store {store} is no folder", expected="the folder in which features are kept", fix="check its name")
    return root


def _one_value_an_option(option: str, arguments: list[str]) -> list[str]:
    """`--transfer a b` as `--transfer a --transfer b`, the form that the parser takes."""
    result: list[str] = []
    is_open = False
    for argument in arguments:
        is_value = not argument.startswith("-")
        if is_open and is_value and result[-1] != option:
            result.append(option)
        is_open = argument == option or (is_open and is_value)
        result.append(argument)
    return result


def main(arguments: list[str] | None = None) -> Any:
    """Runs the command. Leaves with 0 when done, 2 for the user's mistake, 1 for anything else."""
    arguments = _one_value_an_option("--transfer", sys.argv[1:] if arguments is None else arguments)
    try:
        app(args=arguments, prog_name="stillhouse")
    except StillhouseError as error:
        print(f"stillhouse: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except SystemExit as left:
        if left.code == INTERRUPTED:  # what typer makes of Ctrl-C, without a word
            print("\nstillhouse: interrupted; an unfinished run goes on when its command is given again", file=sys.stderr)
            sys.exit(1)
        raise
