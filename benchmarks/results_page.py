"""The tables of `docs/results.md`: every record, whole."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from records import (
    BENCHES,
    NARROW,
    RUNS,
    SEEDS,
    SETS,
    STEPS,
    THROUGHPUT,
    Record,
    environment,
    gain,
    labels_of,
    millions,
    points,
    ratio,
    record,
    seeds_of,
    signed,
    source,
    table,
)
from stillhouse.report.words import metric_name

NOTHING = "–"


def sets() -> str:
    """A table a comparison."""
    return "\n".join(_comparison(name, title, record(name)) for name, title in {**SETS, **NARROW}.items())


def _comparison(name: str, title: str, found: Record) -> str:
    gains = {one["line"]: gain(one, "minus_baseline") for one in found["pairs"]}
    starts = list(dict.fromkeys(one["start"] for one in found["summary"]))
    letters = dict(zip(starts, "abcdefgh", strict=False))
    teacher = found["teacher"]
    first = ["teacher", "", points(teacher["score"]), "", "", "", "", millions(teacher["parameters"])]
    rows = [[*first, f"{teacher['latency_ms_p50']:.1f}"]]
    for one in found["summary"]:
        spread = one["standard_deviation"]
        mean = points(one["mean"]) + ("" if spread is None else f" ({points(spread)})")
        row = [one["method"], letters[one["start"]], mean]
        row += [gains.get(one["line"], NOTHING), f"{one['learning_rate']:g}", points(one["agreement"])]
        row += [f"{one['train_seconds']:,.0f}", millions(one["parameters"]), f"{one['latency_ms_p50']:.1f}"]
        rows.append(row)
    score = f"{metric_name(found['metric'])} (sd)"
    columns = ["", "start", score, "gain", "rate", "agreement", "seconds", "M parameters", "ms"]
    about = f"Labels: {labels_of(found)}; rows scored: {found['splits']['validation']:,}."
    about += f" Starts: {'; '.join(f'{letter}, {start}' for start, letter in letters.items())}."
    title = f"### {title}, student {found['summary'][0]['student']}"
    made = source(name, found, found["environment"], seeds_of(found))
    return f"{title}\n\n{about}\n\n{table(columns, rows)}\n{made}"


def starts() -> str:
    """A narrower student that starts as a slice of its teacher, beside one that starts fresh."""
    found = record("starts")
    rows = []
    for one in found["pairs"]:
        sides = (points(one[f"{start}_mean"]) for start in ("fresh", "slice"))
        seeds = ", ".join(map(str, one["seeds"]))
        rows.append([one["set"], metric_name(one["metric"]), f"`{one['method']}`", seeds, *sides, gain(one)])
    columns = ["set", "metric", "method", "seeds", "fresh", "slice", "difference"]
    return f"{table(columns, rows)}\n{source('starts', found, environment(found))}"


def pool() -> str:
    """The gains over several sets."""
    found = record("pool")
    rows = [[one["method"], *map(signed, one["by_set"]), gain(one, "pooled")] for one in found["methods"]]
    made = "pooled by `benchmarks/pool.py` from the runs behind the comparisons above"
    return f"{table(['', *found['sets'], 'pooled'], rows)}\n[pool.json](results/pool.json): {found['date']}; {made}.\n"


def seeds() -> str:
    """Runs of one method with several seeds."""
    parts = []
    for name, title in SEEDS.items():
        found = record(name)
        runs = sorted(found["seeds"], key=lambda one: one["seed"])
        rows = [[str(one["seed"]), *map(points, (found["teacher"], one["student"], one["baseline"]))] for one in runs]
        total = _about(found, gain(found["student_minus_baseline"]))
        made = source(name, found, environment(found), [one["seed"] for one in runs])
        parts.append(f"### {title}, `logit`\n\n{total}\n\n{table(['seed', 'teacher', 'student', 'alone'], rows)}\n{made}")
    return "\n".join(parts)


def _about(found: Record, gained: str) -> str:
    scored = f"Labels: {labels_of(found)}; rows scored: {found['splits']['validation']:,}."
    return f"{scored} Gain: {gained} points of {metric_name(found['metric'])}."


def runs() -> str:
    """Single runs: every metric of every model."""
    parts = []
    for name, title in RUNS.items():
        found = record(name)
        roles = {role: said for role, said in (("teacher",) * 2, ("student",) * 2, ("baseline", "alone")) if found.get(role)}
        metrics = found["student"]["scores"]
        rows = [[metric_name(one), *(points(found[role]["scores"][one]) for role in roles)] for one in metrics]
        total = _about(found, gain(found["comparisons"]["student_minus_baseline"]))
        made = source(name, found, found["environment"], [found["seed"]])
        parts.append(f"### {title}, one seed, `{found['method']}`\n\n{total}\n\n{table(['', *roles.values()], rows)}\n{made}")
    return "\n".join(parts)


def bench() -> str:
    """Every ratio of the benchmarks."""
    parts = []
    for name in BENCHES:
        found = record(name)
        rows, above = [], ""
        for one in found["ratios"]:
            what = one["what"].strip()
            is_below = what.startswith("the same, beyond")  # what was there before
            above = above if is_below else what
            rows.append([f"{above}; {what}" if is_below else what, ratio(one["values"]), one["target"] or NOTHING])
        made = source(name, found, environment(found))
        parts.append(f"### {name}\n\n{table(['what', 'median (range)', 'wanted'], rows)}\n{made}")
    return "\n".join(parts)


def steps() -> str:
    """A step of each method beside one of `logit`."""
    parts = []
    for name in STEPS:
        found = record(name)
        time, memory = found["time"], found["memory"]
        seconds = {method: statistics.median(values) for method, values in time["seconds_a_step"].items()}
        peaks = {method: one["peak_mib"] for method, one in memory["methods"].items()}
        rows = []
        for method, own in seconds.items():
            peak = peaks[method]
            beside = (own / seconds["logit"], peak / peaks["logit"])
            rows.append([method, f"{own:.3f}", f"{beside[0]:.2f}", f"{peak:,.0f}", f"{beside[1]:.2f}"])
        columns = ["first stage of", "seconds a step", "of `logit`'s", "peak MiB", "of `logit`'s"]
        said = (
            f"Time: {time['length']} tokens, batch {time['batch']}; memory: {memory['length']} tokens, batch {memory['batch']}."
        )
        parts.append(f"### {name}\n\n{said}\n\n{table(columns, rows)}\n{source(name, found, environment(found))}")
    return "\n".join(parts)


def throughput() -> str:
    """Examples a second."""
    found = {name: record(name) for name in THROUGHPUT}
    speeds = [one["examples_per_second"] for one in found.values()]
    rows = [[what, *(ratio(one[what]) for one in speeds)] for what in speeds[0]]
    columns = ["examples a second", *(environment(one)["precision"] for one in found.values())]
    made = "\n".join(source(name, one, environment(one)) for name, one in found.items())
    return f"{table(columns, rows)}\n{made}"


def precision() -> str:
    """What bf16 and kept features cost in accuracy."""
    found = record("precision")
    rows = []
    for one in found["lines"]:
        sides = (points(statistics.mean(one[side])) for side in ("bf16_from_the_store", "fp32_online"))
        rows.append([one["set"], metric_name(one["metric"]), one["line"], *sides, gain(one)])
    columns = ["set", "metric", "line", "bf16, features from the store", "fp32, teacher online", "difference"]
    made = source("precision", found, found["sets"][0]["environments"][0], found["lines"][0]["seeds"])
    return f"Products of bf16: {found['bf16_products']}.\n\n{table(columns, rows)}\n{made}"


def products() -> str:
    """Products of bf16 matrices by way of float32, beside torch's own."""
    found = record("bf16-products")
    rows = [[name, *(f"{value:.2g}" for value in one.values())] for name, one in found["products"].items()]
    columns = ["product", *(name.replace("_", " ") for name in next(iter(found["products"].values())))]
    return f"{table(columns, rows)}\n{source('bf16-products', found, environment(found))}"


PAGE: dict[str, Callable[[], str]] = {
    part.__name__: part for part in (sets, starts, pool, seeds, runs, bench, steps, throughput, precision, products)
}
