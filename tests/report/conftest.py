"""Small run folders of every kind of task, as a finished run leaves them."""

import json
import random

import pytest

MAIN_METRIC = {
    "classification": "accuracy",
    "multilabel": "micro_f1",
    "regression": "pearson",
    "tagging": "span_f1",
    "qa": "f1",
}
SECOND_METRIC = {
    "classification": "macro_f1",
    "multilabel": "macro_f1",
    "regression": "mse",
    "tagging": "token_accuracy",
    "qa": "exact",
}
LABELS = {
    "classification": ["negative", "neutral", "positive"],
    "multilabel": ["sport", "politics", "arts"],
    "regression": [],
    "tagging": ["O", "B-ORG", "I-ORG", "B-PER", "I-PER"],
    "qa": [],
}


def model(name, score, parameters, latency, metric, second):
    return {
        "name": name,
        "score": score,
        "interval": [score - 0.02, score + 0.02],
        "scores": {metric: score, second: score - 0.013},
        "parameters": parameters,
        "size_mib": parameters * 4 / 2**20,
        "latency_ms": {"p50": latency, "p95": latency * 1.2},
        "ece": 0.043,
        "start": "layers 2, 4, 6 copied",
    }


def metrics_of(task, roles=("teacher", "student", "baseline")):
    """What metrics.json holds: teacher 0.890, student 0.871, baseline 0.864."""
    metric, second = MAIN_METRIC[task], SECOND_METRIC[task]
    made = {
        "teacher": model("all-MiniLM-L6-v2", 0.890, 22_713_216, 5.9, metric, second),
        "student": model("3x384", 0.871, 17_390_208, 3.1, metric, second),
        "baseline": model("3x384 without teacher", 0.864, 17_390_208, 3.1, metric, second),
    }
    has_teacher, has_baseline = "teacher" in roles, "baseline" in roles
    comparisons = {}
    if has_teacher:
        comparisons["student_minus_teacher"] = {"difference": -0.019, "low": -0.03, "high": -0.008}
    if has_baseline:
        comparisons["student_minus_baseline"] = {"difference": 0.007, "low": -0.004, "high": 0.018}
    return {
        "schema": 1,
        "data": "reviews",
        "split": "validation",
        "task": task,
        "method": "logit" if has_teacher else "finetune",
        "seed": 0,
        "metric": metric,
        "teacher": made["teacher"] if has_teacher else None,
        "student": made["student"],
        **({"baseline": made["baseline"]} if has_baseline else {}),
        "retention": 0.871 / 0.890 if has_teacher and task != "regression" else None,
        "gap_closed": 0.269 if has_teacher and has_baseline else None,
        "agreement": 0.941 if has_teacher else None,
        "kl": 0.052 if has_teacher else None,
        "cost": {"train_seconds": 71.4, "teacher_seconds": 12.0, "examples_per_second": 431.2, "peak_memory_mib": 1536.0},
        "stages": [
            {"name": "teacher", "steps": 300, "seconds": 90.2, "selection": 0.86},
            {"name": "distil", "steps": 540, "seconds": 71.4, "selection": 0.85},
        ],
        "environment": {"stillhouse": "0.1.0", "torch": "2.13.0", "device": "cpu", "threads": 2},
        "latency": {"batch": 1, "tokens": 32, "threads": 2, "precision": "fp32"},
        "comparisons": comparisons,
        "splits": {"train": 1800, "labelled": 1800, "selection": 200, "validation": 872},
        "labels": LABELS[task],
        "notes": ["validation taken from the training rows: 10 %, stratified"],
    }


def log_of(stages):
    rng = random.Random(0)
    lines = []
    for stage, objectives in stages.items():
        for step in range(20, 501, 20):
            values = {name: scale * (0.3 + 2.7 ** (-step / 150)) + rng.random() * 0.05 for name, scale in objectives.items()}
            lines.append(
                {"stage": stage, "step": step, "epoch": step / 250, "objectives": values, "loss": sum(values.values())}
            )
        for epoch in (1, 2):
            lines.append({"stage": stage, "step": 250 * epoch, "epoch": epoch, "selection": 0.8 + 0.03 * epoch})
    return lines


def classification_row(rng, number, labels):
    def said(gold, skill):
        label = gold if rng.random() < skill else rng.choice(labels)
        top = 0.5 + 0.49 * rng.random()
        rest = (1 - top) / (len(labels) - 1)
        return {"label": label, "probabilities": [top if name == label else rest for name in labels]}

    gold = rng.choice(labels)
    row = {"id": str(number), "text": f"the room was {gold} and number {number} of many", "gold": gold}
    return row | {"teacher": said(gold, 0.85), "student": said(gold, 0.8), "baseline": said(gold, 0.75)}


def multilabel_row(rng, number, labels):
    def said(gold, skill):
        chosen = [name for name in labels if (name in gold) == (rng.random() < skill)]
        return {"labels": chosen, "probabilities": [0.9 if name in chosen else 0.1 for name in labels]}

    gold = [name for name in labels if rng.random() < 0.4]
    row = {"id": str(number), "text": f"news item {number}", "gold": gold}
    return row | {"teacher": said(gold, 0.93), "student": said(gold, 0.9), "baseline": said(gold, 0.85)}


def regression_row(rng, number, labels):
    gold = 5 * rng.random()
    row = {"id": str(number), "text": f"a sentence {number}", "text_pair": f"another {number}", "gold": gold}
    return row | {role: {"value": gold + rng.gauss(0, 0.4)} for role in ("teacher", "student", "baseline")}


def tagging_row(rng, number, labels):
    def said(gold, skill):
        return {"tags": [tag if rng.random() < skill else rng.choice(labels) for tag in gold]}

    text = ["EU", "rejects", "German", "call", "to", "boycott", "British", "lamb", ",", "said", "Peter", "Blackburn"]
    gold = ["B-ORG", *["O"] * 9, "B-PER", "I-PER"]
    row = {"id": str(number), "text": text, "gold": gold}
    return row | {"teacher": said(gold, 0.97), "student": said(gold, 0.95), "baseline": said(gold, 0.92)}


def qa_row(rng, number, labels):
    answer = ["in 1066", "in the year 1066"] if number % 3 else []

    def said(skill):
        right = rng.random() < skill
        return {"answer": (answer[0] if answer else "") if right else "William", "confidence": 0.7}

    context = "Long before all that, " * 20 + "the battle of Hastings was fought in 1066 by William of Normandy."
    row = {"id": f"q{number}", "text": "When was the battle of Hastings?", "text_pair": context, "gold": answer}
    return row | {"teacher": said(0.9), "student": said(0.8), "baseline": said(0.7)}


ROWS = {
    "classification": classification_row,
    "multilabel": multilabel_row,
    "regression": regression_row,
    "tagging": tagging_row,
    "qa": qa_row,
}


def predictions_of(task, roles=("teacher", "student", "baseline"), rows=61, labels=None):
    rng = random.Random(1)
    made = []
    for number in range(rows):
        row = ROWS[task](rng, number, labels or LABELS[task])
        for role in ("teacher", "baseline"):
            if role not in roles:
                del row[role]
        if "teacher" in roles:
            row["kl"] = 1.5 * rng.random()
        made.append(row)
    return made


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_run(folder, task, roles=("teacher", "student", "baseline"), **changes):
    """Writes a run folder; `changes` replace keys of metrics.json, `log` and `predictions` those files' lines."""
    folder.mkdir(parents=True, exist_ok=True)
    stages = {"teacher": {"hard_labels": 1.0}} if "teacher" in roles else {}
    if "teacher" in roles:
        stages["distil"] = {"hard_labels": 1.0, "soft_labels": 2.1}
    else:
        stages["finetune"] = {"hard_labels": 1.0}
    if "baseline" in roles:
        stages["baseline"] = {"hard_labels": 1.0}
    write_lines(folder / "log.jsonl", changes.pop("log", log_of(stages)))
    predictions = changes.pop("predictions", None)
    write_lines(folder / "predictions.jsonl", predictions_of(task, roles) if predictions is None else predictions)
    (folder / "run.yaml").write_text("data: {source: reviews.csv}\nseed: 0\n", encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps(metrics_of(task, roles) | changes), encoding="utf-8")
    return folder


@pytest.fixture
def make_run(tmp_path):
    def make(task="classification", roles=("teacher", "student", "baseline"), **changes):
        return write_run(tmp_path / "run", task, roles, **changes)

    return make


@pytest.fixture
def make_metrics():
    return metrics_of


@pytest.fixture
def make_predictions():
    return predictions_of
