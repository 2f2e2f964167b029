"""What the documentation says of measurements, made from the records in `docs/results`: tables and a picture.

    python benchmarks/tables.py             # writes them anew: between `<!-- generated: NAME -->` and `<!-- end -->`
    python benchmarks/tables.py --check     # writes nothing; names the files that differ from their records, and leaves with 1
    python benchmarks/tables.py --demo RUN  # first takes the record of the demo from a finished run of it

A gain is a student minus the same student from the same start without a teacher, in points (hundredths of the metric), with
its 95 % interval.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from general_page import page
from picture import Scores, picture
from results_page import PAGE

from records import (
    BENCHES,
    DEMO,
    RESULTS,
    SETS,
    Record,
    dates,
    gain,
    millions,
    pair,
    paragraph,
    points,
    processors,
    ratio,
    record,
    seeds_of,
    summary,
    table,
)
from stillhouse.files import METRICS, REPORT, STUDENT, write_json, write_text
from stillhouse.report import summary_lines, time_lines
from stillhouse.report.words import metric_name

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "guide.md", ROOT / "docs" / "results.md")
PICTURE = ROOT / "docs" / "results.svg"
PLACE = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
BEST = "tinybert"  # of the picture and the speed: the largest pooled gain


def results() -> str:
    """Every set and method."""
    found = {name: record(name) for name in SETS}
    pooled = record("pool")
    methods = [one["method"] for one in pooled["methods"]]
    rows = []
    for name, title in SETS.items():
        one = found[name]
        pairs = [pair(one, method) for method in methods]
        alone = dict.fromkeys(points(summary(one, two["baseline"])["mean"]) for two in pairs)
        name = f"{title}, {metric_name(one['metric']).removesuffix(' correlation')}"
        row = [name + ("" if len(seeds_of(one)) > 1 else ", one seed"), points(one["teacher"]["score"]), ", ".join(alone)]
        rows.append([*row, *(gain(two, "minus_baseline") for two in pairs)])
    rows.append([f"mean of {len(pooled['sets'])} sets", "", "", *(gain(one, "pooled") for one in pooled["methods"])])
    left_out = [title for name, title in SETS.items() if not _is_pooled(found[name], pooled)]
    teacher, student = found["methods-mrpc"]["teacher"], found["methods-mrpc"]["summary"][0]
    speeds = [one["teacher"]["latency_ms_p50"] / one["summary"][0]["latency_ms_p50"] for one in found.values()]
    seeds = max(map(seeds_of, found.values()), key=len)
    said = (
        "Gains over the student alone in points, 95 % intervals (paired, over rows and seeds, one seed: over rows); bold "
        "where 0 lies outside. The student alone has three starts: layers 1, 4, 6 of the teacher (`logit`, `tinybert`, "
        "`minilmv2`), layers 1, 2, 3 (`pkd`), those and the head of the fine-tuned teacher (`theseus`). "
        f"Teacher: 6 layers, {millions(teacher['parameters'])} M parameters; student: 3, {millions(student['parameters'])} M, "
        f"{min(speeds):.1f} to {max(speeds):.1f} times as fast. The mean leaves out {' and '.join(left_out)}. "
        f"Seeds {', '.join(map(str, seeds))}; {dates(found.values())}; {processors(found.values())}."
    )
    columns = ["set, metric", "teacher", "student alone", *(f"`{method}`" for method in methods)]
    return f"{table(columns, rows)}\n{paragraph(said)}"


def _is_pooled(found: Record, pooled: Record) -> bool:
    """Whether a comparison is among those over which gains are pooled."""
    first = pooled["methods"][0]
    return pair(found, first["method"])["minus_baseline"] in first["by_set"]


def speed() -> str:
    """Four rows: the benchmark with and without bf16."""
    bf16, again, fp32 = ({one["what"]: one["values"] for one in record(name)["ratios"]} for name in BENCHES)
    beside = "logit + hidden matching, 4 epochs: throughput over TextBrewer"
    store = "first stage of {} from the store: time over plain fine-tuning"
    asked = (
        ("throughput over TextBrewer, sorted by length", bf16, f"{beside} sorted"),
        ("throughput over TextBrewer, padded by batch", bf16, f"{beside} dynamic"),
        ("epoch time over fine-tuning, `logit`", again, store.format("logit")),
        (f"epoch time over fine-tuning, `{BEST}`", again, store.format(BEST)),
    )
    rows = [[said, ratio(own[what]), ratio(fp32[what])] for said, own, what in asked]
    found = [record(name) for name in BENCHES]
    work = found[0]["workload"]
    said = (
        f"Medians and ranges of three rounds; SST-2, {work['mean_tokens']:.0f} tokens on average, student 3x384. TextBrewer: "
        "logit + hidden matching, four epochs, the teacher's work included; it computes in float32. Epochs: features of the "
        f"teacher are kept. {dates(found[:2])}: {processors(found[:2])}; {dates(found[2:])}: {processors(found[2:])}."
    )
    return f"{table(['ratio', 'with AVX512-BF16, bf16', 'with AVX2, fp32'], rows)}\n{paragraph(said)}"


def demo() -> str:
    """What the demo prints at its end."""
    found = record(DEMO)
    folder = Path("runs") / found["student"]["name"]
    places = ["", f"student: {folder / STUDENT}", f"report:  {folder / REPORT}"]
    lines = "\n".join([*summary_lines(found), *time_lines(found), *places])
    return f"```text\n{lines}\n```\n\nSeed {found['seed']}; {found['date']}; {processors([found])}.\n"


def scores() -> str:
    """The picture: the sets of the table, with the method of the largest pooled gain."""
    rows = []
    for name, title in SETS.items():
        found = record(name)
        two = pair(found, BEST)
        alone, student = (100 * summary(found, two[key])["mean"] for key in ("baseline", "line"))
        ends = (alone + 100 * two[key] for key in ("low", "high"))
        said = f"{title} ({metric_name(found['metric'])})"
        rows.append(Scores(said, 100 * found["teacher"]["score"], alone, student, *ends))
    names = {
        "teacher": "teacher, 6 layers",
        "student": f"student, 3 layers, distilled with {BEST}",
        "baseline": "the same student from the same start, without a teacher",
    }
    return picture(rows, names)


PARTS: dict[str, Callable[[], str]] = {part.__name__: part for part in (results, speed, demo)} | PAGE


def filled(text: str) -> str:
    """A document with its parts made anew."""
    return PLACE.sub(lambda found: found[1] + PARTS[found[2]]() + found[3], text)


def made() -> dict[Path, str]:
    """Every file that has a generated part, as it should be."""
    general = {RESULTS / "general.md": page(record("general"))} if (RESULTS / "general.json").exists() else {}
    return {path: filled(path.read_text(encoding="utf-8")) for path in DOCUMENTS} | {PICTURE: scores()} | general


def _take_demo(run: Path) -> None:
    """The metrics of a finished demo as a record, with the day on which it was finished."""
    metrics = run / METRICS
    about = {"command": "stillhouse distill", "date": time.strftime("%Y-%m-%d", time.localtime(metrics.stat().st_mtime))}
    write_json(RESULTS / f"{DEMO}.json", about | json.loads(metrics.read_text(encoding="utf-8")))


def main() -> int:
    """Writes, or checks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; leave with 1 where something differs")
    parser.add_argument("--demo", type=Path, metavar="RUN", help="take the record of the demo from this finished run")
    options = parser.parse_args()
    if options.demo:
        _take_demo(options.demo)
    old = {path: text for path, text in made().items() if not path.exists() or path.read_text(encoding="utf-8") != text}
    for path, text in old.items():
        print(f"{path.relative_to(ROOT)} {'differs from its records' if options.check else 'written'}")
        if not options.check:
            write_text(path, text)
    return int(options.check and bool(old))


if __name__ == "__main__":
    sys.exit(main())
