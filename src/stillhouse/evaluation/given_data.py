"""Data through models that are there already: texts in a file are predicted for, labelled rows are scored on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stillhouse.config import DataConfig
from stillhouse.data.alignment import align_labels
from stillhouse.data.dataset import load_evaluation, read_texts
from stillhouse.data.tokenized_split import tokenized_split
from stillhouse.errors import UserError, listed
from stillhouse.evaluation.evaluate import Split
from stillhouse.evaluation.likeness import likeness_to_teacher
from stillhouse.evaluation.predictor import Predictor
from stillhouse.evaluation.scores import scores_entry


def predict_file(predictor: Predictor, source: str, notes: list[str], *, max_length: int | None = None) -> list[dict[str, Any]]:
    """One dictionary a row of a file with texts, see `Predictor.answer`; what was left out is said in `notes`.

    Raises:
        UserError: The file holds no such texts.
    """
    try:
        examples = read_texts(DataConfig(source=source), predictor.task.kind, notes, predictor.remembers.columns)
    except UserError as error:
        fix = "rename the column to text" if "--text" in error.fix else error.fix  # predict has no option for it
        raise UserError(error.given, expected=error.expected, fix=fix) from None
    return predictor.answer(examples, max_length=max_length)


def evaluate_models(models: Mapping[str, Predictor], data: DataConfig) -> dict[str, Any]:
    """Scores of `student` and, where it is given, `teacher` on the same rows.

    Raises:
        UserError: Models and data do not fit.
    """
    student = models["student"]
    for other in models.values():
        _check_comparable(student, other)
    task = student.task
    dataset = load_evaluation(data.model_copy(update={"task": task.kind.name}), student.remembers.columns, known=task.labels)
    student.check_pairs(dataset.validation)
    dataset = align_labels(dataset, task.labels, data.label_map, owner="the model")
    rows, task = dataset.validation, dataset.task
    splits = {role: model.tokenize(rows, task, max_length=data.max_length) for role, model in models.items()}
    result: dict[str, Any] = {"data": task.name, "task": task.kind.name, "metric": task.kind.main_metric.name}
    result |= {"rows": len(rows), "notes": [*dataset.notes, *(note for model in models.values() for note in model.notes)]}
    predictions = {role: model.score(splits[role]) for role, model in models.items()}
    for role, model in models.items():
        result[role] = {"name": model.name, **scores_entry(splits[role], predictions[role])}
    if "teacher" in models:
        own, its = (splits[role].tokens.learner for role in ("student", "teacher"))
        same = own.fingerprint() == its.fingerprint()
        split = Split(rows, tokenized_split(rows, task, *((own,) if same else (own, its))))
        # Beside the student's tokens its own are the second view.
        teacher = replace(predictions["teacher"], view=0 if same else 1)
        likeness = likeness_to_teacher(split, teacher, predictions["student"])
        result |= {"agreement": likeness.agreement, "kl": likeness.kl}
    return result


def _check_comparable(student: Predictor, other: Predictor) -> None:
    own, its = student.task, other.task
    if len({own.kind, its.kind}) > 1:
        raise UserError(
            f"{student.name} is for {own.kind}, {other.name} for {its.kind}", expected="two models for the same task"
        )
    if own.labels != its.labels:
        raise UserError(
            f"the labels of {student.name} are {listed(own.labels)}; those of {other.name} are {listed(its.labels)}",
            expected="the same labels in the same order",
            fix="leave --teacher out, or compare models of one run",
        )
