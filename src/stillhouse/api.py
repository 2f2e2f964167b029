"""The Python interface: what the command line does, with the same names, defaults and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.console import Console
from stillhouse.errors import UserError
from stillhouse.files import REPORT, RUN_CONFIG, STUDENT
from stillhouse.runs.options import config_from_options, parse_label_map
from stillhouse.runs.reading import parse_config
from stillhouse.runs.run_config import RunConfig
from stillhouse.runs.run_folder import RunFolder


class Run:
    """A finished run.

    Args:
        folder: Its run folder.
    """

    def __init__(self, folder: RunFolder | Path | str) -> None:
        self._folder = folder if isinstance(folder, RunFolder) else RunFolder(Path(folder))

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
        """The student: a transformers model with its head, in eval mode."""
        from stillhouse.evaluation.trained import load_with_head

        return load_with_head(str(self._folder / STUDENT))[1]

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
    data: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    task: str | None = None,
    label_map: Mapping[str, str] | Sequence[str] | None = None,
    max_train: int | None = None,
    max_labels: int | None = None,
    transfer: Sequence[str] | None = None,
    labels: str | None = None,
    teacher: str | None = None,
    allow_weak_teacher: bool | None = None,
    teacher_features: str | None = None,
    store: str | Path | None = None,
    method: str | None = None,
    compat: str | None = None,
    student: str | None = None,
    baseline: bool | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    max_length: int | None = None,
    precision: str | None = None,
    seed: int | None = None,
    track: Sequence[str] | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    config: RunConfig | Path | str | None = None,
    changes: Sequence[str] = (),
    quiet: bool = True,
) -> Run:
    """Distils a teacher into a student; None means the default, which `stillhouse distill --help` states.

    Args:
        data: A file or folder, `pydocs`, a GLUE name, or `hub:owner/name[:config]`.
        text: Column of the text.
        text_pair: Column of the second text.
        label: Column of the label.
        task: classification, multilabel, regression, tagging or qa.
        label_map: Names in the data -> names of the teacher.
        max_train: Use so many training rows.
        max_labels: Keep so many gold labels; the other rows become plain text.
        transfer: Files with more text without labels.
        labels: gold, teacher or mixed.
        teacher: A local folder or hub id; the bundled encoder where nothing is named.
        allow_weak_teacher: Go on with a teacher no better than the majority class.
        teacher_features: auto, online or store.
        store: Folder in which the teacher's features are kept for later runs.
        method: Name of the method.
        compat: `official` for the reductions of the authors' own code, where a method knows them.
        student: `LxH`, `half`, a folder or a hub id.
        baseline: Also train the same student without the teacher.
        epochs: Of the last stage.
        batch_size: Of the last stage.
        learning_rate: Peak rate of the last stage.
        max_length: Longest input in tokens.
        precision: auto, fp32 or bf16.
        seed: Seed of the student's training.
        track: Experiment trackers.
        out: The run folder.
        overwrite: Delete the run that is in the folder.
        config: A whole configuration, or a run file that the other arguments change.
        changes: Single changes to it, `key=value`.
        quiet: Print nothing.

    Returns:
        The finished run.

    Raises:
        UserError: Something that was given does not fit; nothing was trained.
        TrainingDiverged: A loss became NaN; the last good checkpoint is kept.
    """
    given = _settings(locals())
    if isinstance(config, RunConfig):
        if any(value is not None for value in given.values()) or changes:
            raise UserError("a whole configuration and single options were given", fix="change the configuration itself")
        resolved = config
    else:
        resolved = config_from_options(given, config=None if config is None else Path(config), changes=changes)
    from stillhouse.runs.run import execute

    return Run(execute(resolved, Console(quiet=quiet), overwrite=overwrite))


def _settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a function was given for its configuration, as the command line would have it."""
    given = {name: value for name, value in arguments.items() if name not in ("overwrite", "config", "changes", "quiet")}
    for name in ("out", "store"):
        given[name] = None if given[name] is None else str(given[name])
    given["label_map"] = None if given["label_map"] is None else parse_label_map(given["label_map"])
    return given


class Comparison:
    """A finished comparison.

    Args:
        folder: Its folder.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

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
    data: str | None = None,
    methods: Sequence[str] | str | None = None,
    students: Sequence[str] | str | None = None,
    seeds: Sequence[int] | str | None = None,
    grid: Sequence[float] | str | bool | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    task: str | None = None,
    label_map: Mapping[str, str] | Sequence[str] | None = None,
    max_train: int | None = None,
    max_labels: int | None = None,
    transfer: Sequence[str] | None = None,
    labels: str | None = None,
    teacher: str | None = None,
    allow_weak_teacher: bool | None = None,
    teacher_features: str | None = None,
    store: str | Path | None = None,
    compat: str | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    max_length: int | None = None,
    precision: str | None = None,
    track: Sequence[str] | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    config: Path | str | None = None,
    changes: Sequence[str] = (),
    quiet: bool = True,
) -> Comparison:
    """Compares methods, students and seeds on one task, each beside the same student trained without a teacher.

    What is not named here is as in `distill`; None means the default.

    Args:
        data: A file or folder, `pydocs`, a GLUE name, or `hub:owner/name[:config]`.
        methods: Names, in a list or with commas between; all that distil.
        students: `LxH`, `half`, folders or hub ids; each method's own.
        seeds: Of the students' training; 0, 1, 2.
        grid: Learning rates that every line tries on the first seed, the best on the selection rows is used for all;
            False = each method's own rate.
        text: Column of the text.
        text_pair: Column of the second text.
        label: Column of the label.
        task: classification, multilabel, regression, tagging or qa.
        label_map: Names in the data -> names of the teacher.
        max_train: Use so many training rows.
        max_labels: Keep so many gold labels; the other rows become plain text.
        transfer: Files with more text without labels.
        labels: gold, teacher or mixed.
        teacher: A local folder or hub id; the bundled encoder where nothing is named.
        allow_weak_teacher: Go on with a teacher no better than the majority class.
        teacher_features: auto, online or store.
        store: Folder in which the teacher's features are kept for later runs.
        compat: `official` for the methods that know it.
        epochs: Of every method's last stage.
        batch_size: Of every method's last stage.
        learning_rate: One rate instead of the grid, for the stages that are scored on the selection rows.
        max_length: Longest input in tokens.
        precision: auto, fp32 or bf16.
        track: Experiment trackers.
        out: The folder of the comparison.
        overwrite: Delete the comparison that is in the folder.
        config: A comparison file that the other arguments change.
        changes: Single changes to it, such as `methods.pkd.temperature=4`.
        quiet: Print nothing.

    Returns:
        The comparison, with every line that could be run.

    Raises:
        UserError: Something that was given does not fit.
        StillhouseError: Not one method's run was finished.
    """
    given = _settings(locals())
    if grid is True:
        raise UserError("grid is True", expected="learning rates, or False for none")
    given["grid"] = () if grid is False else grid
    from stillhouse.comparison.compare import execute_comparison
    from stillhouse.comparison.compare_config import comparison_from_options

    resolved = comparison_from_options(given, config=None if config is None else Path(config), changes=changes)
    return Comparison(execute_comparison(resolved, Console(quiet=quiet), overwrite=overwrite).path)


def evaluate(
    model: str | Path,
    data: str,
    *,
    teacher: str | Path | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    label_map: Mapping[str, str] | Sequence[str] | None = None,
    max_length: int | None = None,
    precision: str = "auto",
) -> dict[str, Any]:
    """Scores a model with a head on labelled data: its metrics with intervals, calibration and, with a teacher, agreement.

    Args:
        model: A model folder, a run folder (its student) or a hub id.
        data: As for `distill`; of several splits the validation split, of a single file all rows.
        teacher: Compare with this model.
        text: Column of the text.
        text_pair: Column of the second text.
        label: Column of the label.
        label_map: Names in the data -> names of the model.
        max_length: Longest input in tokens.
        precision: auto, fp32 or bf16.

    Raises:
        UserError: The model has no head, or data and model do not fit.
    """
    from stillhouse.evaluation.run_evaluation import evaluate_models

    values: dict[str, Any] = {"source": data, "text": text, "text_pair": text_pair, "label": label, "max_length": max_length}
    values |= {"label_map": parse_label_map(label_map or ())}
    config = parse_config({"data": values, "engine": {"precision": precision}})
    models = {"student": model_folder(model)} | ({} if teacher is None else {"teacher": model_folder(teacher)})
    return evaluate_models(models, config.data, config.engine)


def predict(
    model: str | Path,
    *,
    text: str | Sequence[str] | None = None,
    text_pair: str | Sequence[str] | None = None,
    data: str | None = None,
    max_length: int | None = None,
    precision: str = "auto",
) -> list[dict[str, Any]]:
    """Labels, values, tags or answers for texts, in their order.

    Args:
        model: A model folder, a run folder (its student) or a hub id.
        text: One text or several; for question answering the questions, for tagging sentences that are split at spaces.
        text_pair: Second texts, one for each text; for question answering the contexts.
        data: A file with texts instead; labels are not needed.
        max_length: Longest input in tokens.
        precision: auto, fp32 or bf16.

    Raises:
        UserError: Neither or both of `text` and `data` are given, or the model has no head.
    """
    from stillhouse.evaluation.run_prediction import predict_texts

    if (text is None) == (data is None):
        raise UserError("neither or both of text and data were given", expected="one of them", fix="give --text or --data")
    texts = None if text is None else ([text] if isinstance(text, str) else list(text))
    pairs = None if text_pair is None else ([text_pair] if isinstance(text_pair, str) else list(text_pair))
    if pairs is not None and (texts is None or len(texts) != len(pairs)):
        raise UserError(f"{len(texts or ())} texts and {len(pairs)} second texts", expected="one second text for each text")
    config = parse_config({"data": {"max_length": max_length}, "engine": {"precision": precision}})
    return predict_texts(model_folder(model), texts, pairs, data, config.data, config.engine)


def model_folder(model: str | Path) -> str:
    """Where a model is: the student of a run folder, else the name as it was given."""
    folder = RunFolder(Path(model))
    return str(folder / STUDENT) if (folder / RUN_CONFIG).exists() and (folder / STUDENT).exists() else str(model)
