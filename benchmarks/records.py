"""The records in `docs/results`, and how what they hold is written in Markdown."""

from __future__ import annotations

import json
import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "docs" / "results"
Record = dict[str, Any]

# Comparisons by short name: those of the README's table, then those of a narrower student.
SETS = {
    "methods-sst2-2000-labels": "SST-2, 2,000 labels",
    "methods-sst2": "SST-2, 20,000 labels",
    "methods-mrpc": "MRPC",
    "methods-stsb": "STS-B",
    "methods-qqp": "QQP-lite",
    "methods-conll2003": "CoNLL-2003",
    "methods-squad2": "SQuAD2-lite",
    "methods-rte": "RTE",
}
NARROW = {
    "methods-sst2-3x312": "SST-2",
    "methods-mrpc-3x312": "MRPC",
    "methods-stsb-3x312": "STS-B",
    "methods-conll2003-3x312": "CoNLL-2003",
}
# One method with several seeds, and single runs.
SEEDS = {
    "demo": "The demo",
    "demo-python-3.11.2": "The demo, other docstrings",
    "sst2-2000-labels": "SST-2, 2,000 labels",
    "sst2-logit-3x384": "SST-2, all labels",
}
DEMO = "demo-run"
RUNS = {DEMO: "The demo", "conll2003-logit-3x384": "CoNLL-2003", "squad2-logit-3x384": "SQuAD2-lite"}
# Speed: the whole benchmark with bf16, a part of it again, and without.
BENCHES = ("bench", "bench-finetune", "bench-fp32")
STEPS = ("method-steps-bf16", "method-steps-fp32")
THROUGHPUT = ("throughput-sst2-bf16", "throughput-sst2-fp32")


def record(name: str) -> Record:
    """A file of `docs/results`."""
    content: Record = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def seeds_of(found: Record) -> list[int]:
    """Those of a comparison's finished runs."""
    return sorted({row["seed"] for row in found["rows"] if row["status"] == "done"})


def summary(found: Record, line: str) -> Record:
    """What a comparison says of one of its lines."""
    return next(one for one in found["summary"] if one["line"] == line)


def pair(found: Record, method: str) -> Record:
    """A method of a comparison beside its baseline."""
    return next(one for one in found["pairs"] if one["method"] == method)


def points(value: float) -> str:
    """A score of 0..1 in hundredths."""
    return f"{100 * value:.1f}"


def signed(value: float) -> str:
    """A difference in points with its sign; one that rounds to zero has none."""
    text = f"{100 * value:+.1f}"
    return text[1:] if float(text) == 0 else text


def gain(found: Mapping[str, float], key: str = "difference") -> str:
    """A difference with its interval, bold where that does not contain 0."""
    value = signed(found[key])
    value = f"**{value}**" if found["low"] > 0 or found["high"] < 0 else value
    low, high = (signed(found[end]).removeprefix("+") for end in ("low", "high"))
    return f"{value} ({low} to\u00a0{high})"


def ratio(values: Sequence[float]) -> str:
    """A median, with its range where there are several values."""
    median = statistics.median(values)
    digits = 2 if median < 3 else 1 if median < 100 else 0
    said = f"{median:,.{digits}f}"
    return f"{said} ({min(values):,.{digits}f} to {max(values):,.{digits}f})" if len(values) > 1 else said


def millions(count: float) -> str:
    """Of parameters."""
    return f"{count / 1e6:.1f}"


def labels_of(found: Record) -> str:
    """How many training rows have a label, those of the selection among them, and how many have none."""
    splits = found["splits"]
    others = splits["train"] - splits["labelled"]
    return f"{splits['labelled'] + splits['selection']:,}" + (
        f" of {splits['train'] + splits['selection']:,}" if others else ""
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [f"| {' | '.join(cells)} |\n" for cells in (columns, *rows)]
    return "".join([lines[0], "|---" * len(columns) + "|\n", *lines[1:]])


def paragraph(text: str) -> str:
    """Text in lines of at most 140 characters."""
    return textwrap.fill(text, 140, break_long_words=False, break_on_hyphens=False) + "\n"


def environment(found: Record) -> Record:
    """The machine of a record."""
    where: Record = found.get("environment") or found["machine"]
    return where


def processors(records: Iterable[Record]) -> str:
    """The machines of several records, in what matters: cores, make, instruction set, precision."""
    environments = [environment(one) for one in records]
    parts = [one["processor"].split(", ") for one in environments]
    makes = sorted({one[0] for one in parts if not one[0].startswith("AVX")}) or ["CPU"]  # the first records name none
    cores, precisions = (sorted({str(one[key]) for one in environments}) for key in ("cores", "precision"))
    sets = sorted({one[-1] for one in parts})
    return f"{', '.join(cores)} cores, {', '.join(makes)} {', '.join(sets)}, {', '.join(precisions)}"


def dates(records: Iterable[Record]) -> str:
    """The days of several records."""
    return " and ".join(sorted({one["date"] for one in records}))


def source(name: str, found: Record, where: Mapping[str, Any], seeds: Iterable[int] = ()) -> str:
    """What stands below a table: its record, and how, when and where that was made."""
    parts = [found["date"], *([f"seeds {', '.join(map(str, seeds))}"] if seeds else [])]
    threads = f"{where['threads']} thread{'s' if where['threads'] > 1 else ''} on {where['cores']} cores"
    parts += [f"{where['precision']}, {threads} ({where['processor']})", f"torch {where['torch']}"]
    parts += [f"transformers {where['transformers']}", f"Python {where['python']}"]
    return f"[{name}.json](results/{name}.json): {'; '.join(parts)}.\n\n    {found['command']}\n"
