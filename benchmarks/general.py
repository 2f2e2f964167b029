"""What language that is learnt from plain text before any task is worth, on real data.

    python benchmarks/general.py --corpus FOLDER --data FOLDER [--words 500000] [--out runs/general] [--blocks 3x312,probe]
    python benchmarks/general.py --out runs/general --write docs/results

`--corpus` is a text file or a folder of them, of which the first `--words` words are taken, in whole documents; `--data` is a
folder with `stsb` and `sst2`. Blocks, in order: `3x312` and `3x384`, a general student of each method and its fine-tuning on
STS-B beside that of a student that has learnt from no corpus; `probe`, all of these after the same steps of masked LM; `sst2`,
their fine-tuning on 2,000 labels; `task`, tinybert's task phase after its general phase and without it; `assistant`, a general
student that learns from an assistant and one that does not. Every run is a folder below `--out`: given again, the command goes
on with what is missing. `--write` makes `general.json` and `general.md` of what is there.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from general_page import page
from general_record import general_record
from sets import SETS, stage_settings

import stillhouse
from stillhouse.files import METRICS, STUDENT, write_json, write_text

METHODS = ("minilmv2", "tinybert", "distilbert")
NARROW, WIDE = "3x312", "3x384"
SHORT, ASSISTANT = "2x312", "6x312"
FRESH = "student.start=fresh"  # of the narrow and the short one, whatever the methods' own is
NONE = "none"  # what a student is called that has learnt from no corpus
SST2 = {"max_train": 12000, "max_labels": 2000}
TASK_RATE = 1e-4  # of tinybert's last stage, as it was chosen for the comparison on STS-B
SETTINGS = "settings.json"


@dataclass(frozen=True)
class Settings:
    """What is the same for all runs of a folder.

    Attributes:
        words: Of the corpus.
        heldout_share: Of its documents.
        epochs: On the corpus.
        batch_size: Blocks a step.
        task_epochs: Of fine-tuning.
        probe_steps: Of masked LM in the probe.
        seeds: Of fine-tuning on STS-B.
        precision: Of the arithmetic.
    """

    words: int = 500_000
    heldout_share: float = 0.05
    epochs: float = 1
    batch_size: int = 32
    task_epochs: float = 3
    probe_steps: int = 500
    seeds: tuple[int, ...] = (0, 1, 2)
    precision: str = "auto"


@dataclass(frozen=True)
class Part:
    """One run.

    Attributes:
        folder: Below `--out`.
        options: Of `distill`.
        changes: Single settings.
    """

    folder: str
    options: Mapping[str, Any]
    changes: Sequence[str] = ()

    def settings(self) -> list[str]:
        """All changes."""
        return [*self.changes, *([FRESH] if self.options["student"] in (NARROW, SHORT) else [])]


@dataclass(frozen=True)
class Plan:
    """All runs.

    Attributes:
        out: Folder of the runs.
        corpus: The text.
        data: Folder of the sets.
        settings: Of all runs.
    """

    out: Path
    corpus: Path
    data: Path
    settings: Settings

    def block(self, name: str) -> list[Part]:
        """The runs of a block, the most telling first."""
        return list(BLOCKS[name](self))

    def both_phases(self, student: str) -> Iterator[Part]:
        """General students of one shape, each with its first seed on STS-B, then the other seeds."""
        first, *others = self.settings.seeds
        for method in (NONE, *METHODS):
            if method != NONE:
                yield self._general(method, student)
            yield self._tuned("stsb", method, student, first)
        for seed in others:
            yield from (self._tuned("stsb", method, student, seed) for method in (NONE, *METHODS))

    def probe(self) -> Iterator[Part]:
        """Masked LM from every start."""
        steps = [f"method.stages.masked_lm.steps={self.settings.probe_steps}"]
        for student in (NARROW, WIDE):
            for method in (NONE, *METHODS):
                options = self._on_corpus("finetune", self._start(method, student)) | {"epochs": None}
                yield Part(f"probe/{method}-{student}", options, [*self._corpus_changes(), *steps])

    def sst2(self) -> Iterator[Part]:
        """Fine-tuning on few labels."""
        for student in (NARROW, WIDE):
            yield from (self._tuned("sst2", method, student, 0, **SST2) for method in (NONE, *METHODS))

    def task(self) -> Iterator[Part]:
        """The task phase of tinybert from both starts."""
        changes = [one.replace("methods.tinybert.", "method.") for one in stage_settings(SETS["stsb"], ["tinybert"])]
        for seed in self.settings.seeds:
            for start in (NONE, "tinybert"):
                options = self._on_task("stsb", "tinybert", self._start(start, NARROW), seed) | {"learning_rate": TASK_RATE}
                yield Part(f"task/{start}-{NARROW}/seed{seed}", options, changes)

    def assistant(self) -> Iterator[Part]:
        """A short student with an assistant and without."""
        for name, helper in (("minilm", None), ("minilm-assistant", ASSISTANT)):
            options = self._on_corpus("minilm", SHORT) | {"assistant": helper}
            yield Part(f"general/{name}-{SHORT}", options, self._corpus_changes())
        for seed in self.settings.seeds:
            yield from (self._tuned("stsb", name, SHORT, seed) for name in ("minilm", "minilm-assistant"))

    def _general(self, method: str, student: str) -> Part:
        changes = self._corpus_changes()
        if method == "distilbert" and student == NARROW:
            changes.append("method.projection=true")
        return Part(f"general/{method}-{student}", self._on_corpus(method, student), changes)

    def _tuned(self, data: str, method: str, student: str, seed: int, **more: Any) -> Part:
        options = self._on_task(data, "finetune", self._start(method, student), seed) | {"epochs": self.settings.task_epochs}
        return Part(f"{data}/{method}-{student}/seed{seed}", options | more)

    def _start(self, method: str, student: str) -> str:
        return student if method == NONE else str(self.out / "general" / f"{method}-{student}" / STUDENT)

    def _on_corpus(self, method: str, student: str) -> dict[str, Any]:
        given, about = {"corpus": [str(self.corpus)], "method": method, "student": student}, self.settings
        return given | {"epochs": about.epochs, "batch_size": about.batch_size, "precision": about.precision}

    def _on_task(self, data: str, method: str, student: str, seed: int) -> dict[str, Any]:
        given = {"data": str(self.data / data), "method": method, "student": student, "seed": seed}
        return given | {"precision": self.settings.precision}

    def _corpus_changes(self) -> list[str]:
        return [f"corpus.heldout_share={self.settings.heldout_share}"]


BLOCKS = {
    NARROW: lambda plan: plan.both_phases(NARROW),
    WIDE: lambda plan: plan.both_phases(WIDE),
    "probe": Plan.probe,
    "sst2": Plan.sst2,
    "task": Plan.task,
    "assistant": Plan.assistant,
}


def main() -> int:
    """Runs what is missing, or writes what is there."""
    usual = Settings()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="plain text: a file, or a folder of them")
    parser.add_argument("--data", type=Path, help="folder with stsb and sst2")
    parser.add_argument("--out", type=Path, default=Path("runs/general"))
    parser.add_argument("--blocks", default=",".join(BLOCKS), help="some of them, in the wanted order")
    parser.add_argument("--words", type=int, default=usual.words)
    parser.add_argument("--heldout-share", type=float, default=usual.heldout_share)
    parser.add_argument("--epochs", type=float, default=usual.epochs, help="on the corpus")
    parser.add_argument("--batch-size", type=int, default=usual.batch_size, help="blocks a step")
    parser.add_argument("--task-epochs", type=float, default=usual.task_epochs, help="of fine-tuning")
    parser.add_argument("--probe-steps", type=int, default=usual.probe_steps)
    parser.add_argument("--seeds", default=",".join(map(str, usual.seeds)))
    parser.add_argument("--precision", default=usual.precision)
    parser.add_argument("--threads", type=int, help="[all]")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="run nothing; write general.json and general.md there")
    options = parser.parse_args()
    blocks = options.blocks.split(",")
    if unknown := set(blocks) - BLOCKS.keys():
        sys.exit(f"there is no block {', '.join(sorted(unknown))}: there are {', '.join(BLOCKS)}")
    if options.write:
        return _write(options.out, options.write)
    if not (options.corpus and options.data):
        sys.exit("--corpus and --data are needed, or --write")
    seeds = tuple(map(int, options.seeds.split(",")))
    given = {name: getattr(options, name) for name in asdict(usual) if name != "seeds"}
    settings = Settings(**given, seeds=seeds)
    _keep(settings, options.out)
    if options.threads:
        torch.set_num_threads(options.threads)
    corpus = options.out / "corpus" / f"wiki-{settings.words}-words.txt"
    if not corpus.exists():
        write_text(corpus, first_words(options.corpus, settings.words))
    plan = Plan(options.out, corpus, options.data, settings)
    failed = [part.folder for block in blocks for part in plan.block(block) if not _run(options.out, block, part)]
    print(f"\nnot finished: {', '.join(failed)}" if failed else "\nall is finished")
    return bool(failed)


def first_words(source: Path, count: int) -> str:
    """So many words of text at the least, in whole documents, which empty lines part."""
    files = sorted(path for path in source.iterdir() if ".txt" in path.suffixes) if source.is_dir() else [source]
    documents, words = [], 0
    for path in files:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
        for document in text.split("\n\n"):
            documents.append(document)
            words += len(document.split())
            if words >= count:
                return "\n\n".join(documents) + "\n"
    sys.exit(f"{source} has {words:,} words, not {count:,}")


def _keep(settings: Settings, out: Path) -> None:
    """A folder holds runs of one kind."""
    path, given = out / SETTINGS, json.loads(json.dumps(asdict(settings)))
    if path.exists() and (kept := json.loads(path.read_text(encoding="utf-8"))) != given:
        sys.exit(f"the runs in {out} have other settings: {kept}; give another --out")
    write_json(path, given)


def _run(out: Path, block: str, part: Part) -> bool:
    """Whether a run is finished; one that fails takes no other along."""
    if (out / part.folder / METRICS).exists():
        return True
    print(f"\n=== {block}: {part.folder}", flush=True)
    given = {name: value for name, value in part.options.items() if value is not None}
    try:
        stillhouse.distill(**given, changes=part.settings(), out=out / part.folder, quiet=False)
    except (stillhouse.StillhouseError, RuntimeError, OSError) as error:
        print(f"failed: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _write(out: Path, where: Path) -> int:
    settings = json.loads((out / SETTINGS).read_text(encoding="utf-8"))
    plan = Plan(out, Path("corpus.txt"), Path("data"), Settings(**settings | {"seeds": tuple(settings["seeds"])}))
    planned = {block: [part.folder for part in plan.block(block)] for block in BLOCKS}
    record = general_record(out, settings, planned)
    write_json(where / "general.json", record)
    write_text(where / "general.md", page(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
