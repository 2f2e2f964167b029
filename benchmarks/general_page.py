"""The page of `general.py`: its record, whole."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from records import Record, gain, paragraph, points, table
from stillhouse.report.words import metric_name

NOTHING = "–"
TITLES = {"stsb": "STS-B", "sst2": "SST-2, 2,000 labels", "task": "STS-B, task phase of tinybert"}
STARTS = {"none": "no corpus", "minilm-assistant": "minilm with an assistant of 6x312"}


def page(found: Record) -> str:
    """In Markdown."""
    parts = [
        "# General distillation on plain text\n",
        _about(found),
        _language(found["general"]),
        _distances(found["general"]),
        _probe(found),
        _tuned(found),
        _pooled(found["pooled"]),
        _missing(found["missing"]),
    ]
    return "\n".join(part for part in parts if part)


def _about(found: Record) -> str:
    settings = found["settings"]
    text = (
        f"The first {settings['words']:,} words of the corpus; epochs: {settings['epochs']:g}, in batches of "
        f"{settings['batch_size']} blocks, each method at its own learning rate. Epochs of fine-tuning: "
        f"{settings['task_epochs']:g}, the same settings for both sides. A gain is in points, with its 95 % interval from a "
        "paired bootstrap over rows and seeds; bold where that does not contain 0."
    )
    corpora = dict.fromkeys(one["corpus"] for one in found["general"])
    where = [
        f"{found['date']}; {one['precision']}, {one['threads']} threads on {one['cores']} cores ({one['processor']}); torch "
        f"{one['torch']}; transformers {one['transformers']}; Python {one['python']}"
        for one in found["environments"]
    ]
    said = [
        paragraph(one) for one in (text, *(f"{one}." for one in corpora), f"[general.json](general.json): {'; '.join(where)}.")
    ]
    return "\n".join([*said, f"    {found['command']}\n"])


def _language(learnt: list[Record]) -> str:
    rows = []
    for one in learnt:
        before, after = one["before"], one["after"]
        if after["score"] is None:
            continue
        pairs = ([points(side["score"]), f"{side['perplexity']:,.0f}", f"{side['kl']:.3f}"] for side in (before, after))
        cells = [f"{old} → {new}" for old, new in zip(*pairs, strict=True)]
        teacher = one["teacher"]
        rows.append([_who(one), *cells, points(after["agreement"]), points(teacher["score"]), f"{teacher['perplexity']:,.0f}"])
    columns = ["", "masked accuracy", "perplexity", "KL, nats", "agreement", "teacher's accuracy", "teacher's perplexity"]
    return f"## Masked tokens of held-out text, before → after\n\n{table(columns, rows)}" if rows else ""


def _distances(learnt: list[Record]) -> str:
    rows = []
    for one in learnt:
        seconds = sum(stage["seconds"] for stage in one["stages"])
        steps = " + ".join(f"{stage['steps']:,}" for stage in one["stages"])
        for number, layer in enumerate(one["layers"]):
            who = [_who(one), one["from"], steps, f"{seconds:,.0f}"] if number == 0 else [""] * 4
            before, after = layer["before"], layer["after"]
            cells = (_moved(before[name], after[name]) for name in ("hidden", "relations", "scores"))
            rows.append([*who, f"{layer['own']} from {layer['its']}", *cells])
    columns = ["", "start", "steps", "seconds", "layer", "hidden states", "relations, nats", "attention scores"]
    return f"## Distances of layers on held-out text, before → after\n\n{table(columns, rows)}" if rows else ""


def _moved(before: float | None, after: float | None) -> str:
    return NOTHING if before is None or after is None else f"{before:.3f} → {after:.3f}"


def _who(one: Record) -> str:
    return f"{STARTS.get(one['start'], one['start'])}, {one['student']}"


def _probe(found: Record) -> str:
    rows = [[_who(one), points(one["score"]), f"{one['perplexity']:,.0f}"] for one in found["probe"]]
    title = f"## Masked accuracy after {found['settings']['probe_steps']} steps of masked LM, by start"
    return f"{title}\n\n{table(['start', 'masked accuracy', 'perplexity'], rows)}" if rows else ""


def _tuned(found: Record) -> str:
    rows = []
    for one in found["tuned"]:
        against = STARTS.get(one["against"], one["against"])
        means = [_mean(one[side]) for side in ("scores", "without")]
        seeds = ", ".join(map(str, one["seeds"]))
        rows.append([TITLES[one["set"]], _who(one), against, metric_name(one["metric"]), seeds, *means, gain(one)])
    columns = ["set", "start", "beside", "metric", "seeds", "score (sd)", "that beside (sd)", "gain"]
    return f"## On a task\n\n{table(columns, rows)}" if rows else ""


def _mean(values: list[float]) -> str:
    mean = points(statistics.mean(values))
    return f"{mean} ({points(statistics.stdev(values))})" if len(values) > 1 else mean


def _pooled(pooled: Iterable[Record]) -> str:
    rows = [[_who(one), " and ".join(TITLES[name] for name in one["sets"]), gain(one)] for one in pooled]
    return f"## Over both sets\n\n{table(['start', 'sets', 'gain'], rows)}" if rows else ""


def _missing(missing: dict[str, list[str]]) -> str:
    lines = [f"- {block}: {', '.join(f'`{one}`' for one in parts)}\n" for block, parts in missing.items() if parts]
    return "## Missing: not run yet\n\n" + "".join(lines) if lines else ""
