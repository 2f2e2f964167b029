"""What a run showed on held-out plain text, in words: masked tokens, and how far layers are from the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillhouse.report import words

PRETRAINING = "pretraining"  # the task of a run that has a corpus alone
MEASURES = {"hidden": "hidden states", "relations": "relations", "scores": "attention scores"}


@dataclass(frozen=True)
class MeanDistance:
    """A distance between student and teacher, mean over the layers that it was measured in, before and after training."""

    measure: str
    before: float
    after: float


def is_pretraining(metrics: Mapping[str, Any]) -> bool:
    """Whether a run has a corpus alone."""
    return metrics.get("task") == PRETRAINING


def general_phase(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a run says of its general phase, in the form of metrics.json, so that the same words and tables tell both.

    Args:
        metrics: The content of a run's metrics.json.

    Returns:
        None where the run has no corpus.
    """
    general = metrics.get("general")
    if not general:
        return None
    # A run with a corpus alone has more to say of its models: how fast they are.
    known = dict(metrics) if is_pretraining(metrics) else {}
    models = {role: (known.get(role) or {}) | general[role] for role in words.ROLES if general.get(role)}
    teacher, student = models.get("teacher"), models["student"]
    ours, theirs = student.get("score"), None if teacher is None else teacher.get("score")
    return {
        **general,
        **known,
        "splits": general.get("splits") or {},
        "teacher": None,
        **models,
        "task": PRETRAINING,
        "metric": general.get("metric"),
        "retention": ours / theirs if ours is not None and theirs else None,
        "agreement": student.get("agreement"),
        "kl": student.get("kl"),
    }


def has_scores(general: Mapping[str, Any]) -> bool:
    """Whether there is a trained head, so that models can be scored by what they say of masked tokens."""
    return general["metric"] is not None and general["student"].get("score") is not None


def general_lines(general: Mapping[str, Any]) -> list[str]:
    """What a general student can do, one plain sentence a line.

    Args:
        general: As `general_phase` gives it.
    """
    if has_scores(general):
        lines = [words.headline(general), _perplexity(general), _likeness(general), _distances(general)]
    else:
        saved = words.gains(general) if general["teacher"] else ""
        lines = [f"The {_approach(general)}{words.in_sentence(saved)}."]
    return [line for line in [*lines, _assistant(general), words.costs(general), _blocks(general)] if line]


def general_line(general: Mapping[str, Any]) -> str:
    """The outcome of a general phase in one sentence.

    Args:
        general: As `general_phase` gives it.
    """
    if not has_scores(general):
        return f"In the general phase on {general['data']} the {_approach(general)}."
    student, metric = general["student"], words.metric_name(general["metric"])
    before, theirs = _before(student).get("score"), (general["teacher"] or {}).get("score")
    said = f"the student's {metric} on held-out text is {words.score(student['score'])}"
    said += "" if before is None else f" ({words.score(before)} before)"
    said += "" if theirs is None else f", the teacher's {words.score(theirs)}"
    return f"After the general phase on {general['data']} {said}."


def mean_distances(layers: Sequence[Mapping[str, Any]]) -> list[MeanDistance]:
    """The measures that were taken, each over its layers.

    Args:
        layers: `layers` of metrics.json.
    """
    found = []
    for measure in MEASURES:
        pairs = [(layer["before"].get(measure), layer["after"].get(measure)) for layer in layers]
        known = [(before, after) for before, after in pairs if before is not None and after is not None]
        if known:
            before, after = (sum(values) / len(known) for values in zip(*known, strict=True))
            found.append(MeanDistance(measure, before, after))
    return found


def perplexity(value: float | None) -> str:
    """A perplexity: one decimal below 100, none above."""
    return "–" if value is None else f"{value:,.{1 if value < 99.95 else 0}f}"


def nats(value: float | None) -> str:
    """A divergence."""
    return "–" if value is None else f"{value:.3f} nats"


def _before(student: Mapping[str, Any]) -> Mapping[str, Any]:
    return student.get("before") or {}


def _approach(general: Mapping[str, Any]) -> str:
    found = mean_distances(general.get("layers") or ())
    if not found:
        return "student learnt from plain text, and no distance from its teacher was measured"
    fell = [one.after < one.before for one in found]
    said = "came closer to the teacher's" if all(fell) else "came no closer to the teacher's"
    said = said if all(fell) or not any(fell) else "came closer to the teacher's by some measures, not by all"
    parts = [f"{MEASURES[one.measure]} from {words.score(one.before)} to {words.score(one.after)}" for one in found]
    return f"student's layers {said}: {', '.join(parts)} (mean distance on held-out text)"


def _distances(general: Mapping[str, Any]) -> str:
    found = mean_distances(general.get("layers") or ())
    parts = [f"{MEASURES[one.measure]} {words.score(one.after)} ({words.score(one.before)} before)" for one in found]
    return f"Mean distance of the student's layers from the teacher's: {', '.join(parts)}." if parts else ""


def _perplexity(general: Mapping[str, Any]) -> str:
    student, theirs = general["student"], (general["teacher"] or {}).get("perplexity")
    before, said = _before(student), []
    if before.get("score") is not None:
        said.append(f"Before training the {words.metric_name(general['metric'])} was {words.score(before['score'])}.")
    if student.get("perplexity") is not None:
        others = [f"{perplexity(before['perplexity'])} before"] if before.get("perplexity") is not None else []
        others += [f"the teacher's {perplexity(theirs)}"] if theirs is not None else []
        beside = f" ({', '.join(others)})" if others else ""
        said.append(f"Perplexity of masked tokens: {perplexity(student['perplexity'])}{beside}.")
    return " ".join(said)


def _likeness(general: Mapping[str, Any]) -> str:
    said, kl = words.agreement(general), general["kl"]
    if not said or kl is None:
        return said
    before = _before(general["student"]).get("kl")
    return (
        f"{said} The student's divergence from the teacher is {nats(kl)}{'' if before is None else f' ({before:.3f} before)'}."
    )


def _assistant(general: Mapping[str, Any]) -> str:
    assistant = general.get("assistant")
    if not assistant:
        return ""
    said = f"The student learnt from an assistant, {assistant['name']}, which learnt from the teacher"
    if assistant.get("score") is None:
        return f"{said}."
    return f"{said}; the assistant's {words.metric_name(general['metric'])} is {words.score(assistant['score'])}."


def _blocks(general: Mapping[str, Any]) -> str:
    splits = general.get("splits") or {}
    blocks, length = splits.get("held_out"), splits.get("block_length")
    tokens = f" of {length} tokens" if length else ""
    shown = f" ({blocks:,} {'block' if blocks == 1 else 'blocks'}{tokens})" if isinstance(blocks, int) else ""
    return f"Measured once, on held-out text of {general['data']}{shown}, with one seed."
