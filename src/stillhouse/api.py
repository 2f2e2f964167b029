"""The Python interface: what the command line does, with the same names, defaults and errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from stillhouse.comparison.compare_options import COMPARE, CompareOptions
from stillhouse.comparison.folder import ComparisonFolder
from stillhouse.console import Console, show
from stillhouse.data.read_examples import check_given
from stillhouse.errors import UserError, shown
from stillhouse.files import REPORT, RUN_CONFIG, STUDENT, given_path
from stillhouse.runs.option_table import DISTILL, EVALUATE, PREDICT, ColumnOptions, DistillOptions, ScoringOptions
from stillhouse.runs.options import config_from_options, given_options, scoring_config
from stillhouse.runs.run_config import RunConfig
from stillhouse.runs.run_folder import RunFolder


class Run:
    """A finished run.

    Args:
        folder: Its run folder.
    """

    def __init__(self, folder: RunFolder | Path | str) -> None:
        self._folder = folder if isinstance(folder, RunFolder) else RunFolder(given_path(folder, "the run"))

    @property
    def folder(self) -> Path:
        return self._folder.path

    @property
    def report(self) -> Path:
        """Path of report.html."""
        return self._folder / REPORT

    @property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds."""
        return self._folder.result()

    @property
    def student(self) -> Any:
        """The student: a transformers model with its head, if one was trained, in eval mode."""
        from stillhouse.evaluation.predictor import load_with_head
        from stillhouse.models.checkpoint import find_checkpoint
        from stillhouse.models.loading import load_encoder
        from stillhouse.report.general_words import is_pretraining
        from stillhouse.task import MASKED_LM, NO_HEAD

        self._folder.check_part(STUDENT)
        source, metrics = str(self._folder / STUDENT), self.metrics
        if is_pretraining(metrics):
            return load_encoder(find_checkpoint(source), NO_HEAD if metrics["metric"] is None else MASKED_LM)[0]
        return load_with_head(source)[0].encoder

    @property
    def tokenizer(self) -> Any:
        """The student's tokenizer."""
        from stillhouse.models.checkpoint import find_checkpoint
        from stillhouse.models.loading import load_tokenizer

        return load_tokenizer(find_checkpoint(str(self._folder / STUDENT)))

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"


def distill(
    *,
    config: RunConfig | Path | str | None = None,
    changes: Sequence[str] = (),
    overwrite: bool = False,
    quiet: bool = True,
    **options: Unpack[DistillOptions],
) -> Run:
    """Distils a teacher into a student; `stillhouse distill --help` says what each option does, and its default.

    Args:
        config: A whole configuration, or a run file that the options change.
        changes: Single changes to it, `key=value`.
        overwrite: Delete the run that is in the folder.
        quiet: Print nothing.
        options: By the names of the command's options, with `_` for `-`; None means the default.

    Returns:
        The finished run.

    Raises:
        UserError: Something that was given does not fit; nothing was trained.
        TrainingDiverged: A loss became NaN; the last good checkpoint is kept.
    """
    given = given_options(distill, DISTILL, options)
    _check_flags(overwrite=overwrite, quiet=quiet)
    _check_type("config", config, (RunConfig, str, Path), "a RunConfig, or the path of a run file")
    if isinstance(config, RunConfig):
        if given or changes:
            raise UserError("a whole configuration and single options were given", fix="change the configuration itself")
        resolved = config
    else:
        resolved = config_from_options(
            given, config=None if config is None else Path(config), changes=_as_list("changes", changes) or ()
        )
    from stillhouse.runs.session import Session

    with Session(Console(quiet=quiet)) as session:
        return Run(session.run(resolved, overwrite=overwrite))


class Comparison:
    """A finished comparison.

    Args:
        folder: Its folder.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = given_path(folder, "the comparison")

    @property
    def report(self) -> Path:
        """Path of report.html."""
        return self.folder / REPORT

    @property
    def results(self) -> dict[str, Any]:
        """What comparison.json holds."""
        from stillhouse.comparison.folder import ComparisonFolder

        return ComparisonFolder(self.folder).result()

    def __repr__(self) -> str:
        return f"Comparison({str(self.folder)!r})"


def compare(
    *,
    config: Path | str | None = None,
    changes: Sequence[str] = (),
    overwrite: bool = False,
    quiet: bool = True,
    **options: Unpack[CompareOptions],
) -> Comparison:
    """Compares methods, students and seeds on one task; `stillhouse compare --help` says what each option does.

    Args:
        config: A comparison file that the options change.
        changes: Single changes to it, such as `methods.pkd.temperature=4`.
        overwrite: Delete the comparison that is in the folder.
        quiet: Print nothing.
        options: By the names of the command's options, with `_` for `-`; None means the default. Lists, or text with
            commas, for `methods`, `students`, `seeds` and `grid`; `grid=False` is `--no-grid`.

    Returns:
        The comparison, with every line that could be run.

    Raises:
        UserError: Something that was given does not fit.
        StillhouseError: Not one method's run was finished.
    """
    given = given_options(compare, COMPARE, options)
    _check_flags(overwrite=overwrite, quiet=quiet)
    _check_type("config", config, (str, Path), "the path of a comparison file")
    if given.get("grid") is True:
        raise UserError("grid is True", expected="learning rates, or False for none")
    if given.get("grid") is False:
        given["grid"] = ()
    from stillhouse.comparison.compare import execute_comparison
    from stillhouse.comparison.compare_config import comparison_from_options

    resolved = comparison_from_options(
        given, config=None if config is None else Path(config), changes=_as_list("changes", changes) or ()
    )
    return Comparison(execute_comparison(resolved, Console(quiet=quiet), overwrite=overwrite).path)


def evaluate(
    model: str | Path, data: str | Path, *, teacher: str | Path | None = None, **options: Unpack[ColumnOptions]
) -> dict[str, Any]:
    """Scores a model on labelled data: metrics with intervals, calibration and, with a teacher, agreement.

    Args:
        model: A model folder, a run folder (its student) or a hub id.
        data: As for `distill`; of several splits the validation split, of a single file all rows.
        teacher: Compare with this model.
        options: Those of the command, see `stillhouse evaluate --help`; None means the default.

    Raises:
        UserError: The model has no head, or data and model do not fit.
    """
    from stillhouse.evaluation.given_data import evaluate_models
    from stillhouse.evaluation.predictor import Predictor

    _check_type("data", data, (str, Path), "a file, a folder or a name", required=True)
    config = scoring_config(given_options(evaluate, EVALUATE, options), str(data))
    models = {"student": model_folder(model)} | ({} if teacher is None else {"teacher": model_folder(teacher)})
    return evaluate_models({role: Predictor.of_folder(one, config.engine) for role, one in models.items()}, config.data)


def predict(
    model: str | Path,
    *,
    text: str | Sequence[str] | None = None,
    text_pair: str | Sequence[str] | None = None,
    data: str | Path | None = None,
    quiet: bool = True,
    **options: Unpack[ScoringOptions],
) -> list[dict[str, Any]]:
    """Labels, values, tags or answers for texts, in their order.

    Args:
        model: A model folder, a run folder (its student) or a hub id.
        text: One text or several; for question answering the questions, for tagging sentences that are split at spaces.
        text_pair: Second texts, one for each text; for question answering the contexts.
        data: A file with texts instead; labels are not needed.
        quiet: Print nothing; else what people have to know of model and texts goes to stderr.
        options: Those of the command, see `stillhouse predict --help`; None means the default.

    Raises:
        UserError: Neither or both of `text` and `data` are given, or the model has no head.
    """
    from stillhouse.evaluation.given_data import predict_file
    from stillhouse.evaluation.predictor import Predictor

    given = given_options(predict, PREDICT, options)
    if (text is None) == (data is None):
        raise UserError("neither or both of text and data were given", expected="one of them", fix="give --text or --data")
    _check_type("data", data, (str, Path), "the path of a file")
    texts, pairs = _as_list("text", text), _as_list("text_pair", text_pair)
    if pairs is not None and (texts is None or len(texts) != len(pairs)):
        raise UserError(f"{len(texts or ())} texts and {len(pairs)} second texts", expected="one second text for each text")
    check_given(texts or (), pairs)  # before the model is loaded
    config = scoring_config(given)
    predictor = Predictor.of_folder(model_folder(model), config.engine)
    notes = [*predictor.notes]
    if data is not None:
        rows = predict_file(predictor, str(data), notes, max_length=config.data.max_length)
    else:
        rows = predictor.predict(texts or (), pairs, max_length=config.data.max_length)
    for note in () if quiet else notes:
        show(note, error=True)
    return rows


def model_folder(model: str | Path) -> str:
    """Where a model is: the student of a run folder, else the name as it was given.

    Raises:
        UserError: It is a model of a finished run or of a comparison, and not as that left it.
    """
    _check_type("model", model, (str, Path), "a folder or a hub id", required=True)
    path = given_path(model, "the model")
    is_run = (path / RUN_CONFIG).exists()
    if is_run and not (path / STUDENT).exists():
        again = "give the command of the run again: it goes on where it was"
        raise UserError(f"{path} is a run without a student/", expected="a finished run", fix=again)
    inside = path / STUDENT if is_run else path
    for folder in (RunFolder(inside.parent), ComparisonFolder(inside.parent)):
        if (folder / folder.result_name).exists() and (folder / folder.config_name).exists():
            folder.check_part(inside.name)
    return str(inside) if is_run else str(model)


def _as_list(name: str, texts: str | Sequence[str] | None) -> list[str] | None:
    """One text or several as a list; None where there are none."""
    if texts is None:
        return None
    many = list(texts) if isinstance(texts, Iterable) and not isinstance(texts, (str, bytes, Mapping)) else [texts]
    for text in many:
        _check_type(name, text, (str,), "a text, or a list of texts", required=True)
    return many


def _check_flags(**flags: Any) -> None:
    """Refuses words for what deletes or hides: "no" would be true."""
    for name, value in flags.items():
        _check_type(name, value, (bool,), "True or False", required=True)


def _check_type(name: str, value: Any, kinds: tuple[type, ...], expected: str, *, required: bool = False) -> None:
    """Refuses what has no place here; None means that nothing was given."""
    if not isinstance(value, kinds) and (required or value is not None):
        raise UserError(f"{name} is {shown(value)}, of type {type(value).__name__}", expected=expected)
