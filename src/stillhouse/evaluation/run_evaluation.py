"""`stillhouse evaluate`: models that are there already, scored on labelled data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stillhouse.config import DataConfig, EngineConfig
from stillhouse.data.dataset import align_labels, load_evaluation
from stillhouse.data.tokenized_split import tokenized_split
from stillhouse.errors import UserError
from stillhouse.evaluation.evaluate import Split, predict_split
from stillhouse.evaluation.likeness import likeness_to_teacher
from stillhouse.evaluation.scores import scores_entry
from stillhouse.evaluation.trained import answer_threshold, check_pairs, load_with_head, remembered_columns, tokens_for
from stillhouse.machine.engine import build_accelerator


def evaluate_models(models: Mapping[str, str], data: DataConfig, engine: EngineConfig) -> dict[str, Any]:
    """Scores of `student` and, where it is given, `teacher` on the same rows.

    Raises:
        UserError: A model has no head, or models and data do not fit.
    """
    loaded = {role: load_with_head(source) for role, source in models.items()}
    name, _, _, task = loaded["student"]
    for other, _, _, its in loaded.values():
        if len({its.kind, task.kind}) > 1:
            raise UserError(f"{name} is for {task.kind}, {other} for {its.kind}", expected="two models for the same task")
        if its.labels != task.labels:
            raise UserError(
                f"the labels of {name} are {', '.join(task.labels)}; those of {other} are {', '.join(its.labels)}",
                expected="the same labels in the same order",
                fix="leave --teacher out, or compare models of one run",
            )
    usual = remembered_columns(loaded["student"][1])
    dataset = load_evaluation(data.model_copy(update={"task": task.kind.name}), usual)
    check_pairs(name, loaded["student"][1], task.kind, pairs=dataset.validation.text_pair is not None)
    dataset = align_labels(dataset, task.labels, data.label_map, owner="the model")
    rows, task = dataset.validation, dataset.task
    tokens = {role: tokens_for(rows, task, encoder, tokenizer, data) for role, (_, encoder, tokenizer, _) in loaded.items()}
    accelerator = build_accelerator(engine)
    result: dict[str, Any] = {"data": task.name, "task": task.kind.name, "metric": task.kind.main_metric.name}
    result |= {"rows": len(rows), "notes": list(dataset.notes)}
    predictions = {}
    for role, (model_name, encoder, _, _) in loaded.items():
        split = Split(rows, tokenized_split(rows, task, tokens[role]))
        predicted = predict_split(encoder.to(accelerator.device), split, accelerator)
        # Never a threshold that was chosen on the very rows that are scored.
        predictions[role] = predicted.with_threshold(answer_threshold(encoder))
        result[role] = {"name": model_name, **scores_entry(split, predictions[role])}
    if "teacher" in loaded:
        same = tokens["teacher"].fingerprint() == tokens["student"].fingerprint()
        views = (tokens["student"],) if same else (tokens["student"], tokens["teacher"])
        split = Split(rows, tokenized_split(rows, task, *views))
        teacher = replace(predictions["teacher"], view=0 if same else 1)
        likeness = likeness_to_teacher(split, teacher, predictions["student"])
        result |= {"agreement": likeness.agreement, "kl": likeness.kl}
    return result
