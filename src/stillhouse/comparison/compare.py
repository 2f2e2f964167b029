"""Runs a comparison: the lines that are missing, one run folder each; a run that fails takes no other along."""

from __future__ import annotations

import shutil
import traceback
from pathlib import Path

from stillhouse.comparison.config import BASELINE, CompareConfig
from stillhouse.comparison.folder import COMPARISON, REPORT, RUNS, TABLE, TEACHER, ComparisonFolder
from stillhouse.comparison.plan import Line, Plan, comparison_out, make_plan
from stillhouse.comparison.record import Key, Progress, Record
from stillhouse.console import Console
from stillhouse.errors import StillhouseError, UserError
from stillhouse.files import write_json, write_text
from stillhouse.report import comparison_markdown, comparison_text, write_comparison_report
from stillhouse.run import execute
from stillhouse.run_folder import STUDENT, RunFolder
from stillhouse.training.engine import is_main_process


def execute_comparison(config: CompareConfig, console: Console, *, overwrite: bool = False) -> ComparisonFolder:
    """Runs what is missing of a comparison; a finished one is shown and left alone.

    Raises:
        UserError: A mistake in what was given; what was finished stays.
        StillhouseError: Not one method's run was finished.
    """
    folder = ComparisonFolder(Path(comparison_out(config)))
    folder.check(config, overwrite=overwrite)
    if folder.is_finished and not overwrite:
        if not (folder / REPORT).exists():
            write_comparison_report(folder.path)
        console.say("this comparison is finished; --overwrite runs it again, another --out keeps both\n")
    else:
        _Comparison(config, make_plan(config, console), folder, console).go(overwrite=overwrite)
    console.say(comparison_text(folder.result()))
    console.say(f"table:  {folder / TABLE}\nreport: {folder / REPORT}")
    if not any(row["status"] == "done" and row["method"] != BASELINE for row in folder.result()["rows"]):
        raise StillhouseError(f"not one method's run was finished; the reasons are in {folder / COMPARISON}")
    return folder


class _Comparison:
    """The runs of a comparison in order: first the tries of every line on the first seed, then the other seeds."""

    def __init__(self, config: CompareConfig, plan: Plan, folder: ComparisonFolder, console: Console) -> None:
        self.config, self.plan, self.folder, self.console = config, plan, folder, console
        self.lines = [line for line in plan.lines if not line.refusal]
        self.progress = Progress()
        self.tries: tuple[float | None, ...] = config.grid or (None,)
        self.runs = len(self.lines) * (len(self.tries) + len(config.seeds) - 1)
        self.number = 0

    def go(self, *, overwrite: bool) -> None:
        for note in self.plan.notes:
            self.console.say(f"  {note}")
        self.console.say(f"  {len(self.lines)} lines, {self.runs} runs")
        if is_main_process():
            self.folder.create(self.config, overwrite=overwrite)
        first, *others = self.config.seeds
        try:
            for line in self.lines:
                for rate in self.tries:
                    self._run(line, first, rate)
                self._choose(line, first)
            for seed in others:
                for line in self.lines:
                    if line.folder in self.progress.rates:
                        self._run(line, seed, self.progress.rates[line.folder])
                    else:
                        self.number += 1
            self._write(whole=True)
        finally:
            self.folder.release()

    def _run(self, line: Line, seed: int, rate: float | None) -> None:
        self.number += 1
        key: Key = (line.folder, seed, rate)
        config = line.run(seed, rate, str(self.folder / RUNS))
        run = RunFolder(Path(str(config.out)))
        said = f"[{self.number}/{self.runs}] {line.folder}, seed {seed}"
        self.console.say(said + ("" if rate is None else f", learning rate {rate:g}"))
        if not run.is_finished:
            try:
                execute(config, self.console.only_progress())
            except UserError:
                raise  # not this run's alone: no space, a teacher that knows nothing
            except Exception as error:  # whatever it is, the other runs go on
                reason = str(error) if isinstance(error, StillhouseError) else f"{type(error).__name__}: {error}"
                self.console.say(f"  failed: {reason}")
                self.progress.failed[key] = reason
                if is_main_process():
                    write_text(_failure(run), traceback.format_exc())
                self._write()
                return
        metrics = run.result()
        self._tidy(run)
        self.progress.done[key] = run
        self.progress.selection[key] = metrics["stages"][-1]["selection"]
        self._write()

    def _choose(self, line: Line, seed: int) -> None:
        """The rate with the best score on the selection rows, the lowest of equals; the other students are dropped."""
        keys = [key for rate in self.tries if (key := (line.folder, seed, rate)) in self.progress.done]
        scores = {rate: self.progress.selection[line.folder, seed, rate] or 0.0 for _, _, rate in keys}
        if not scores:
            return
        best = max(scores, key=scores.__getitem__)
        self.progress.rates[line.folder] = best
        for rate in scores:
            if rate != best and is_main_process():
                shutil.rmtree(self.progress.done[line.folder, seed, rate] / STUDENT, ignore_errors=True)
        self._write()

    def _tidy(self, run: RunFolder) -> None:
        """Keeps one copy of the teacher, which all runs share."""
        if not is_main_process():
            return
        _failure(run).unlink(missing_ok=True)
        run.forget_checkpoints()
        kept = self.folder / TEACHER
        if (run / TEACHER).exists():
            if kept.exists():
                shutil.rmtree(run / TEACHER)
            else:
                (run / TEACHER).rename(kept)

    def _write(self, *, whole: bool = False) -> None:
        """The record of what is finished so far; the table and the report when everything is."""
        if not is_main_process():
            return
        content = Record(self.config, self.plan, self.progress, self.folder).content()
        write_json(self.folder / COMPARISON, content)
        if whole:
            write_text(self.folder / TABLE, comparison_markdown(content))
            write_comparison_report(self.folder.path)


def _failure(run: RunFolder) -> Path:
    """Where the traceback of a failed run is, beside its folder."""
    return run.path.with_name(f"{run.path.name}.failed.txt")
