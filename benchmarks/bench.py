"""The speed of Stillhouse beside what people use today: one table of ratios, measured side by side.

    python benchmarks/bench.py [--data FOLDER] [--corpus FILE] [--quick] [--parts textbrewer,finetune,...] [--json FILE]

Parts: `textbrewer`, logit + hidden matching against TextBrewer 0.2.1.post1 and against a naive loop; `base`, the same with a
teacher of BERT-base's shape; `finetune`, distillation from the store and the Hugging Face Trainer against plain fine-tuning;
`compile`, what torch.compile would bring; `methods`, each method's step against one of `logit`, and memory by length; `peak`,
the share of the machine's matrix products at their fastest; `store`, writing and reading; `profile`, where a step's time goes;
`corpus`, learning from plain text: preparing it, steps on it beside masked-LM training, and memory of scores over a vocabulary.
The contenders of a part run in turn, each in a process of its own, `--rounds` times; a ratio is taken within a round, and the
median of the rounds is what is reported, their range beside it.

TextBrewer is installed, by pip, into an environment of its own below `--out`, which otherwise sees this one's packages: both
sides use the same torch and transformers.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import workload

from stillhouse.config import EngineConfig
from stillhouse.files import write_json
from stillhouse.machine.engine import build_accelerator, environment

HERE = Path(__file__).parent
TEXTBREWER = "textbrewer==0.2.1.post1"
SLOW_PARTS = ("base", "compile", "store", "profile", "corpus")  # which --quick leaves out
Found = dict[str, float]


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: How often.
        rows: Of our epochs.
        base_rows: With the large teacher.
        steps: By contender, of those that are slow.
        is_quick: Whether what takes long is left out.
    """

    rounds: int
    rows: int
    base_rows: int
    steps: Mapping[str, int]
    is_quick: bool = False


WHOLE = Size(3, 6400, 3200, {"padded": 10, "dynamic": 20, "sorted": 60, "base": 10, "naive": 10, "profile": 60, "corpus": 12})
QUICK = Size(
    1, 640, 320, {"padded": 3, "dynamic": 6, "sorted": 10, "base": 4, "naive": 3, "profile": 10, "corpus": 2}, is_quick=True
)


@dataclass(frozen=True)
class Ratio:
    """A line of the table.

    Attributes:
        what: Is compared.
        values: Of every round.
        target: What it is to reach, in words.
    """

    what: str
    values: Sequence[float]
    target: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


class Bench:
    """Runs contenders and gathers what they say.

    Args:
        folder: For the workload, the store and TextBrewer's environment.
        size: How much is measured.
    """

    def __init__(self, folder: Path, size: Size) -> None:
        self.folder, self.size = folder, size
        self.raw: dict[str, list[Found]] = {}
        self.stores = folder / "stores"
        shutil.rmtree(self.stores, ignore_errors=True)  # what an earlier measurement has kept
        self.stores.mkdir(parents=True)

    def in_turn(self, contenders: Mapping[str, Callable[[], Found]]) -> dict[str, list[Found]]:
        """Every contender once a round."""
        found: dict[str, list[Found]] = {name: [] for name in contenders}
        for number in range(self.size.rounds):
            for name, run in contenders.items():
                print(f"  round {number + 1} of {self.size.rounds}: {name}", file=sys.stderr, flush=True)
                found[name].append(run())
        self.raw |= found
        return found

    def ours(self, do: str, **options: object) -> Found:
        """Stillhouse's loop."""
        arguments = [f"--do={do}", *(f"--{name}={value}" for name, value in options.items())]
        return _run(sys.executable, "stillhouse_loop.py", self.folder / "workload", *arguments)

    def textbrewer(self, batches: str, steps: int, models: str = "") -> Found:
        """TextBrewer's, in its environment."""
        python = textbrewer_environment(self.folder / "textbrewer")
        arguments = ["--batches", batches, "--steps", str(steps), f"--models={models}"]
        return _run(python, "textbrewer_loop.py", self.folder / "workload", *arguments)

    def new_store(self) -> str:
        """A folder in which nothing is kept yet."""
        return tempfile.mkdtemp(dir=self.stores)

    def other(self, script: str, *arguments: str) -> Found:
        """Another contender, in this environment."""
        return _run(sys.executable, script, self.folder / "workload", *arguments)


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="pydocs", help="folder with classification data, or a built-in name")
    parser.add_argument("--corpus", type=Path, help="plain text, gzipped or not; without it that of --data again and again")
    parser.add_argument("--quick", action="store_true", help="one round of little")
    parser.add_argument("--parts", default="", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--json", type=Path, help="[bench.json in --out]")
    options = parser.parse_args()
    usual = [part for part in PARTS if part not in SLOW_PARTS or not options.quick]
    chosen = options.parts.split(",") if options.parts else usual
    if unknown := set(chosen) - PARTS.keys():
        sys.exit(f"there is no part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    if not Path(options.data).exists() and "/" in options.data:
        sys.exit(f"{options.data} is not here: give --data a folder with classification data, or a built-in name")
    size = QUICK if options.quick else WHOLE
    size = replace(size, rounds=options.rounds or size.rounds)
    about = workload.prepare(options.out / "workload", options.data, size.rows, options.corpus)
    bench = Bench(options.out, size)
    machine = environment(build_accelerator(EngineConfig()))
    print(f"machine: {machine['processor']}, {machine['threads']} threads, {machine['precision']}, torch {machine['torch']}")
    if machine["precision"] == "fp32":
        print("no bf16 here: trained in fp32; the targets are those of two cores with AVX512-BF16")
    print(
        f"data: {about['data']}, {about['rows']} rows, {about['mean_tokens']:.1f} tokens on average; batch 32; "
        f"{size.rounds} rounds\n",
        flush=True,
    )
    given = f" --corpus {options.corpus.name}" if options.corpus else ""
    given += f"{' --quick' * options.quick}{f' --rounds {options.rounds}' if options.rounds else ''}"
    command = f"benchmarks/bench.py --data {about['data']} --parts {','.join(chosen)}{given}"
    record: dict[str, Any] = {"command": command, "date": time.strftime("%Y-%m-%d")}
    record |= {"machine": machine, "workload": about, "ratios": [], "seconds": {}}
    print(f"{'what':<104}{'median':>9}  {'range':>18}   target")
    for part in chosen:
        started = time.perf_counter()
        for ratio in PARTS[part](bench):
            span = f"{min(ratio.values):.2f} to {max(ratio.values):.2f}"
            print(f"{ratio.what:<104}{ratio.median:>9.2f}  {span:>18}   {ratio.target}", flush=True)
            record["ratios"].append({"what": ratio.what, "values": list(ratio.values), "target": ratio.target})
        record["seconds"][part] = round(time.perf_counter() - started, 1)
        # After every part: the whole takes long.
        write_json(options.json or options.out / "bench.json", {**record, "raw": bench.raw})


def against_textbrewer(bench: Bench) -> list[Ratio]:
    """Throughput of logit + hidden matching over theirs, after four epochs and in the first."""
    steps = bench.size.steps
    found = bench.in_turn(
        {
            "stillhouse, 4 epochs, store written": lambda: bench.ours("match", store=bench.new_store(), epochs=4),
            "stillhouse, first epoch, store written": lambda: bench.ours("match", store=bench.new_store()),
            "textbrewer, padded": lambda: bench.textbrewer("padded", steps["padded"]),
            "textbrewer, dynamic": lambda: bench.textbrewer("dynamic", steps["dynamic"]),
            "textbrewer, sorted": lambda: bench.textbrewer("sorted", steps["sorted"]),
            "naive loop, padded": lambda: bench.other("naive_loop.py", "--steps", str(steps["naive"])),
        }
    )
    ratios = []
    for epochs, targets in (("4 epochs", (30, 10, 4)), ("first epoch", (20, 7, 2.8))):
        ours = found[f"stillhouse, {epochs}, store written"]
        for batches, target in zip(("padded", "dynamic", "sorted"), targets, strict=True):
            values = _ratios(ours, found[f"textbrewer, {batches}"])
            ratios.append(
                Ratio(f"logit + hidden matching, {epochs}: throughput over TextBrewer {batches}", values, f">= {target:g}")
            )
        ratios.append(
            Ratio(f"logit + hidden matching, {epochs}: over a naive loop", _ratios(ours, found["naive loop, padded"]))
        )
    return ratios


def with_a_large_teacher(bench: Bench) -> list[Ratio]:
    """The same with a teacher of 12 layers and width 768."""
    rows, steps = bench.size.base_rows, bench.size.steps["base"]
    options: dict[str, object] = {"rows": rows, "models": "-base"}
    found = bench.in_turn(
        {
            "stillhouse, base, 4 epochs": lambda: bench.ours("match", store=bench.new_store(), epochs=4, **options),
            "textbrewer, base, sorted": lambda: bench.textbrewer("sorted", steps, "-base"),
        }
    )
    values = _ratios(found["stillhouse, base, 4 epochs"], found["textbrewer, base, sorted"])
    return [Ratio("the same, teacher of BERT-base's shape, 4 epochs: over TextBrewer sorted", values, ">= 7")]


def against_finetuning(bench: Bench) -> list[Ratio]:
    """Time of an epoch from a full store, opening it included, and of the Trainer's, over that of plain fine-tuning."""
    targets = {"logit": 1.1, "pkd": 1.1, "tinybert": 1.35, "minilmv2": 1.25}
    full = bench.new_store()
    for method in targets:
        bench.ours(method, store=full, epochs=0.01)  # fills it
    contenders: dict[str, Callable[[], Found]] = {"finetune": lambda: bench.ours("finetune")}
    for method in targets:
        contenders[method] = lambda method=method: bench.ours(method, store=full)  # type: ignore[misc]
    contenders["Hugging Face Trainer"] = lambda: bench.other("trainer_loop.py")
    found = bench.in_turn(contenders)
    plain = found["finetune"]
    ratios = [
        Ratio(
            f"first stage of {method} from the store: time over plain fine-tuning",
            _ratios(plain, found[method]),
            f"<= {target}",
        )
        for method, target in targets.items()
    ]
    theirs = found["Hugging Face Trainer"]
    return [*ratios, Ratio("plain fine-tuning: throughput over the Hugging Face Trainer", _ratios(plain, theirs), ">= 1.0")]


def compiled(bench: Bench) -> list[Ratio]:
    """A bare loop through torch.compile beside the same loop without."""
    steps = str(bench.size.steps["sorted"])
    found = bench.in_turn(
        {
            "bare loop, compiled": lambda: bench.other("compiled_loop.py", "--steps", steps),
            "bare loop": lambda: bench.other("compiled_loop.py", "--steps", steps, "--eager"),
        }
    )
    compiled = found["bare loop, compiled"]
    return [
        Ratio("a bare loop through torch.compile: throughput over the same without", _ratios(compiled, found["bare loop"])),
        Ratio("its warm-up, seconds", [one["warm_up_seconds"] for one in compiled]),
    ]


def steps_and_memory(bench: Bench) -> list[Ratio]:
    """Each method's step beside one of `logit`, and memory by length from the store."""
    record = bench.folder / "methods.json"
    command = [sys.executable, str(HERE / "methods.py"), "--rounds", str(bench.size.rounds), "--json", str(record)]
    subprocess.run([*command, *(["--quick"] if bench.size.is_quick else [])], check=True, stdout=sys.stderr)
    found = json.loads(record.read_text(encoding="utf-8"))
    bench.raw["methods"] = [found]
    seconds = found["time"]["seconds_a_step"]
    targets = {"pkd": "<= 1.1", "tinybert": "<= 1.35", "minilmv2": "<= 1.3"}
    ratios = [
        Ratio(
            f"a step of {name}, first stage, teacher online, 128 tokens: time over logit",
            [own / other for own, other in zip(values, seconds["logit"], strict=True)],
            targets.get(name, ""),
        )
        for name, values in seconds.items()
        if name != "logit"
    ]
    for length, methods in found["memory"]["store"].items():
        for name in methods:
            if name == "finetune":
                continue
            target = "<= 1.3" if length == "512" and name in ("tinybert", "minilmv2") else ""
            what = f"a step of {name} from the store, {length} tokens, batch 8: peak memory over plain fine-tuning"
            ratios += _memory_ratios(what, methods[name], methods["finetune"], target)
    for length, methods in found["memory"]["online"].items():
        for name in ("tinybert", "minilmv2"):
            what = f"a step of {name}, teacher online, {length} tokens, batch 8: peak memory over logit"
            ratios += _memory_ratios(what, methods[name], methods["logit"], "<= 2")
    return ratios


def _memory_ratios(what: str, own: Found, other: Found, target: str) -> list[Ratio]:
    """Of the whole process, and of what training took beyond libraries and the teacher, where the system tells them apart."""
    beyond = [one["peak_mib"] - one["before_mib"] for one in (own, other)]
    whole = Ratio(what, [own["peak_mib"] / other["peak_mib"]], target)
    return [whole, Ratio(f"{what}, beyond what was there", [beyond[0] / beyond[1]])] if min(beyond) > 0 else [whole]


def share_of_peak(bench: Bench) -> list[Ratio]:
    """How much of the fastest matrix product a step of BERT-base's shape makes use of."""
    found = bench.in_turn({"share of peak": lambda: bench.other("peak.py")})
    values = [one["share"] for one in found["share of peak"]]
    return [Ratio("fine-tuning BERT-base's shape, 128 tokens: share of the matrix peak", values, ">= 0.45")]


def store_rates(bench: Bench) -> list[Ratio]:
    """MiB a second, and the time of a read beside that of a step."""
    found = bench.in_turn({"store": lambda: bench.other("store_rates.py")})["store"]
    lines = [
        Ratio(f"store, {what}: MiB a second", [one[f"{what}_mib_a_second"] for one in found]) for what in ("writing", "reading")
    ]
    for name in ("minilmv2", "tinybert"):
        what = f"reading a batch of {name} from the store: share of the time of a training step"
        lines.append(Ratio(what, [one[f"{name}_share"] for one in found], "<= 0.03"))
    return lines


def profile(bench: Bench) -> list[Ratio]:
    """Shares of a profiled step of logit + hidden matching from the store."""
    steps = str(bench.size.steps["profile"])
    found = bench.in_turn({"profile": lambda: bench.other("step_profile.py", "--steps", steps)})["profile"]
    shares = [name for name in found[0] if name.startswith("share of ")]
    shares.sort(key=lambda name: -found[0][name])
    what = "logit + hidden matching from the store: a step"
    lines = [Ratio(f"{what}, milliseconds", [one["step_ms"] for one in found])]
    lines.append(Ratio(f"{what} while it is profiled, milliseconds", [one["profiled_step_ms"] for one in found]))
    return [*lines, *(Ratio(f"  {name} in it", [one[name] for one in found]) for name in shares)]


def on_a_corpus(bench: Bench) -> list[Ratio]:
    """Preparing plain text, a step on it beside masked-LM training, and the memory of scores over the vocabulary."""
    steps = f"--steps={bench.size.steps['corpus']}"
    trained = ("finetune", "distilbert", "minilmv2", "tinybert", "encoder", "transformers")
    contenders = {name: (f"--do={name}", steps) for name in trained} | {"prepare": ("--do=prepare",)}
    contenders |= {f"memory, {name}": (f"--do={name}", "--memory") for name in ("encoder", "distilbert")}
    found = bench.in_turn(
        {
            f"corpus, {name}": lambda arguments=arguments: bench.other("corpus_loop.py", *arguments)  # type: ignore[misc]
            for name, arguments in contenders.items()
        }
    )

    def of(name: str) -> list[Found]:
        return found[f"corpus, {name}"]

    pairs = zip(of("memory, distilbert"), of("memory, encoder"), strict=True)
    beside = {
        ("distilbert", "transformers"): ("masked-LM training by transformers, which scores every position", "<= 1.6"),
        ("distilbert", "finetune"): ("our own masked-LM training, which scores masked positions", "<= 3.8"),
        ("minilmv2", "encoder"): ("the teacher's forward pass and masked-LM training without its head", "<= 1.35"),
        ("tinybert", "encoder"): ("the teacher's forward pass and masked-LM training without its head", "<= 1.35"),
    }
    return [
        Ratio("preparing a corpus: MB of text a second", [one["mb_a_second"] for one in of("prepare")], ">= 1.5"),
        *(
            Ratio(
                f"reading a batch for {name} from a corpus: share of the time of a training step",
                [one["read_seconds"] / one["seconds"] for one in of(name)],
                "<= 0.03",
            )
            for name in ("finetune", "distilbert", "minilmv2", "tinybert")
        ),
        *(
            Ratio(f"{own} on a corpus: time over {said}", _ratios(of(other), of(own)), target)
            for (own, other), (said, target) in beside.items()
        ),
        Ratio(
            "distilbert, 8 blocks of 512: peak MiB of a pass over that of both models without scores",
            [own["peak_mib"] - other["peak_mib"] for own, other in pairs],
            "<= 400",
        ),
    ]


PARTS: dict[str, Callable[[Bench], list[Ratio]]] = {
    "textbrewer": against_textbrewer,
    "base": with_a_large_teacher,
    "finetune": against_finetuning,
    "compile": compiled,
    "methods": steps_and_memory,
    "peak": share_of_peak,
    "store": store_rates,
    "profile": profile,
    "corpus": on_a_corpus,
}


def _ratios(ours: Sequence[Found], theirs: Sequence[Found]) -> list[float]:
    """Our throughput over theirs, round by round."""
    return [_throughput(own) / _throughput(other) for own, other in zip(ours, theirs, strict=True)]


def _throughput(found: Found) -> float:
    return found["examples"] / (found["seconds"] + found.get("teacher_seconds", 0.0))


def textbrewer_environment(folder: Path) -> Path:
    """The Python of an environment that has TextBrewer beside the packages of this one; made if it is not there."""
    python = folder / "bin" / "python"
    if not any((folder / "lib").glob("python*/site-packages/textbrewer/__init__.py")):  # none, or one that was interrupted
        print(f"  installing {TEXTBREWER} into {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True)
        packages = next((folder / "lib").glob("python*/site-packages"))
        own = [path for path in sys.path if path.endswith("site-packages")]
        (packages / "beside.pth").write_text("\n".join(own), encoding="utf-8")
        subprocess.run([python, "-m", "pip", "install", "--quiet", TEXTBREWER], check=True)
    return python


def _run(python: str | Path, script: str, *arguments: object) -> Found:
    command = [str(python), str(HERE / "contenders" / script), *map(str, arguments)]
    beside = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    variables = os.environ | {"PYTHONPATH": beside}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
